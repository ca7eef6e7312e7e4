//! Blocks taken in, and made into a snapshot once all have come.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use vmint_blocks::Root;
use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Asked, TxError};

use super::{attach::now_ms, start_snapshot::takes_blocks};
use crate::{
    BlockError, Content, Result, Snapshot, Storage, StorageError,
    sent::{BLOCK, Sent, Sum, Written, sum},
    snapshot::{Making, SnapshotState},
    store::{LEDGER, boot_sets, snapshots},
};

/// A block as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct NewBlock {
    pub(crate) index: i32,
    pub(crate) content: Bytes,
    pub(crate) checksum: Bytes,
}

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

/// Where blocks of one snapshot go.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    sent: Arc<Sent>,
    id: SnapshotId,
    blocks: u64,
}

impl Storage {
    /// Where blocks of a started snapshot go, if they may be sent.
    pub(crate) fn sink(&self, id: SnapshotId, account: AccountId) -> Result<Sink> {
        let snapshot = writable(self.snapshot(id, account)?, account)?;
        if !takes_blocks(&snapshot) {
            return Err(refuse_blocks(&snapshot).into());
        }
        let sent = self.sent.get(id).ok_or(BlockError::NotPending { id })?;
        if sent.closed.load(Ordering::Acquire) {
            return Err(BlockError::NotPending { id }.into());
        }
        Ok(Sink { sent, id, blocks: snapshot.size_bytes / BLOCK })
    }

    /// Writes one block; it is on disk when this returns. Answers its sum.
    pub(crate) async fn put_block(
        &self,
        id: SnapshotId,
        account: AccountId,
        block: NewBlock,
        percent: i32,
    ) -> Result<Sum> {
        let sink = self.sink(id, account)?;
        if let Ok(percent @ 1..=100) = u8::try_from(percent) {
            sink.sent.percent.fetch_max(percent.min(99), Ordering::Relaxed);
        }
        let sums = self.put_blocks(sink, account, vec![block]).await?;
        sums.first().copied().ok_or(StorageError::Damaged)
    }

    /// Writes blocks; all are on disk when this returns. After a refusal those
    /// before the refused one may be too. Answers their sums.
    pub(crate) async fn put_blocks(
        &self,
        sink: Sink,
        account: AccountId,
        blocks: Vec<NewBlock>,
    ) -> Result<Vec<Sum>> {
        let storage = self.clone();
        Self::blocking(move || {
            let checked = blocks.iter().map(|block| sink.check(block));
            let checked = checked.collect::<Result<Vec<_>>>()?;
            // Nobody says that all have come until these have.
            let _writing = sink.sent.gate.read();
            storage.sink(sink.id, account)?;
            let mut written: Vec<Written> = Vec::new();
            let mut refused = None;
            for ((index, sum), block) in checked.iter().zip(&blocks) {
                match sink.sent.write(*index, &block.content, *sum) {
                    Ok(one) => written.extend(one),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
            sink.sent.settle(&written)?;
            sink.sent.touched_ms.store(now_ms(), Ordering::Release);
            match refused {
                Some(error) => Err(error),
                None => Ok(checked.into_iter().map(|(_, sum)| sum).collect()),
            }
        })
        .await
    }

    /// Says that all blocks have come; they are taken in after the answer.
    pub(crate) async fn complete_snapshot(
        &self,
        id: SnapshotId,
        account: AccountId,
        said: i32,
        checksum: Bytes,
        asked: Asked,
    ) -> Result<Snapshot> {
        let snapshot = writable(self.snapshot(id, account)?, account)?;
        let sent = self.sent.get(id);
        // What it is compared with must not change until the record says so.
        if let Some(sent) = sent.clone().filter(|_| takes_blocks(&snapshot)) {
            Self::blocking(move || {
                let _alone = sent.gate.write();
                compare(id, &sent, said, &checksum)?;
                sent.closed.store(true, Ordering::Release);
                Ok(())
            })
            .await?;
        }
        let completed = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let mut snapshot =
                        snapshots::owned(tx, id, account).map_err(TxError::Refused)?;
                    if !takes_blocks(&snapshot) {
                        return Err(TxError::Refused(refuse_blocks(&snapshot).into()));
                    }
                    if let Some(Making::Blocks(blocks)) = &mut snapshot.making {
                        blocks.complete = true;
                    }
                    snapshots::put(tx, &snapshot)?;
                    Ok(Done {})
                })
            })
            .await;
        let snapshot = self.snapshot(id, account)?;
        if let Err(error) = completed {
            // Refused as it was completed before, or it did not get to disk.
            if let Some(sent) = sent.filter(|_| takes_blocks(&snapshot)) {
                sent.closed.store(false, Ordering::Release);
            }
            return Err(error);
        }
        if snapshot.state == SnapshotState::Pending && sent.is_some() {
            self.tasks.spawn(self.clone().make_of_blocks(snapshot.clone()));
        }
        Ok(snapshot)
    }

    /// Makes the snapshot of the blocks that have come; what hinders it shows
    /// in its state.
    pub(super) async fn make_of_blocks(self, snapshot: Snapshot) {
        let id = snapshot.id;
        let made = self.take_in_blocks(snapshot).await;
        let ended = match made {
            Ok(()) | Err(StorageError::NoSuchSnapshot { .. }) => Ok(()),
            Err(error) => {
                let why = vmint_rpc::chain(&error);
                tracing::error!(snapshot = %id, error = why, "could not be made of its blocks");
                self.fail_snapshot(id, why).await
            }
        };
        let storage = self.clone();
        let removed = match ended {
            Ok(()) => Self::blocking(move || Ok(storage.sent.remove(id)?)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            let error = vmint_rpc::chain(&error);
            tracing::error!(snapshot = %id, error, "its blocks stay until the next start");
        }
    }

    async fn take_in_blocks(&self, snapshot: Snapshot) -> Result<()> {
        let id = snapshot.id;
        // Two calls may both have found it complete.
        let Some(sent) = self.sent.get(id) else { return Ok(()) };
        let Some(Making::Blocks(blocks)) = snapshot.making else { return Ok(()) };
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let (account, size_bytes) = (snapshot.account, snapshot.size_bytes);
        let lineage = snapshot.seal.map(|seal| seal.lineage);
        let none = Content { domain: account, lineage, root: Root::EMPTY, size_bytes };
        let base = blocks.base.unwrap_or(none);
        let storage = self.clone();
        let (sealed, content, boot) = Self::blocking(move || {
            // Whoever found the snapshot open before it was complete is done.
            let _alone = sent.gate.write();
            let mut cache = None;
            let sealed = storage.blocks.edit(
                &storage.tree(&base)?,
                size_bytes,
                &sent.ranges(),
                &mut |range, buffer| sent.read_at(range.start, buffer, &mut cache),
            )?;
            let content = Content { root: sealed.root, size_bytes, ..base };
            let boot = storage.inherited(&base, &content);
            Ok((sealed, content, boot))
        })
        .await?;
        let (new_bytes, stored_bytes) = (sealed.new_bytes, sealed.stored_bytes);
        self.records
            .commit(move |tx| {
                let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                let mut snapshot =
                    found.ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id }))?;
                if snapshot.state == SnapshotState::Pending {
                    snapshot.state = SnapshotState::Completed(content);
                    snapshot.making = None;
                    snapshot.new_bytes = new_bytes;
                    snapshot.stored_bytes = stored_bytes;
                    snapshots::put(tx, &snapshot)?;
                    boot_sets::inherit(tx, &content, boot.as_ref())?;
                }
                Ok(())
            })
            .await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        tracing::info!(snapshot = %id, new_bytes, "made of its blocks");
        Ok(())
    }
}

impl Sink {
    /// That a block is one of the snapshot's, whole, and as it was summed.
    fn check(&self, block: &NewBlock) -> Result<(u32, Sum)> {
        let (id, blocks) = (self.id, self.blocks);
        let index = u32::try_from(block.index).ok().filter(|n| u64::from(*n) < blocks);
        let index = index.ok_or(BlockError::Index { id, index: i64::from(block.index), blocks })?;
        if block.content.len() as u64 != BLOCK {
            return Err(BlockError::Length { bytes: block.content.len() }.into());
        }
        let seen = sum(&block.content);
        if block.checksum != seen.as_slice() {
            return Err(BlockError::Checksum { what: format!("block {index}") }.into());
        }
        Ok((index, seen))
    }
}

/// That `account` owns it, not merely may read it.
fn writable(snapshot: Snapshot, account: AccountId) -> Result<Snapshot> {
    let id = snapshot.id;
    if snapshot.account == account { Ok(snapshot) } else { Err(BlockError::NotOwner { id }.into()) }
}

/// Why it takes no blocks.
fn refuse_blocks(snapshot: &Snapshot) -> BlockError {
    let id = snapshot.id;
    match snapshot.state {
        SnapshotState::Error(_) => BlockError::TimedOut { id },
        SnapshotState::Pending | SnapshotState::Completed(_) => BlockError::NotPending { id },
    }
}

/// That as many blocks have come, and the same, as the sender says.
fn compare(id: SnapshotId, sent: &Sent, said: i32, checksum: &[u8]) -> Result<()> {
    let (there, seen) = sent.count();
    if i64::from(said) != i64::try_from(there).unwrap_or(i64::MAX) {
        return Err(BlockError::Count { id, there, said: i64::from(said) }.into());
    }
    if !checksum.is_empty() && checksum != seen {
        return Err(BlockError::Checksum { what: "all blocks together".to_owned() }.into());
    }
    Ok(())
}
