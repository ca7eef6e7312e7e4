//! Snapshots made of blocks that are sent one by one.

use std::sync::atomic::Ordering;

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Asked, TxError};

use super::{attach::now_ms, create_snapshot::Labels};
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::{Blocks, Consistency, Making, SnapshotState, gib},
    store::{LEDGER, boot_sets, held, snapshots},
    volume::BadSize,
};

/// What a started snapshot is to be.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) size_gib: i32,
    pub(crate) parent: Option<SnapshotId>,
    pub(crate) labels: Labels,
    /// 0 for the default.
    pub(crate) timeout_minutes: i32,
    pub(crate) wish: Wish,
}

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Made {
    #[prost(string, tag = "1")]
    snapshot: String,
}

impl Storage {
    /// Begins a snapshot that blocks will be sent for.
    pub(crate) async fn start_snapshot(
        &self,
        account: AccountId,
        start: Start,
        asked: Asked,
    ) -> Result<Snapshot> {
        let size_bytes = match u64::try_from(start.size_gib) {
            Ok(gib @ 1..=65536) => gib << 30,
            _ => return Err(BadSize::OutOfRange { asked: start.size_gib }.into()),
        };
        let timeout_ms = match start.timeout_minutes {
            0 => 60,
            minutes @ 10..=4320 => u64::from(minutes.unsigned_abs()),
            other => {
                return Err(StorageError::Invalid {
                    field: "timeout_minutes",
                    what: "timeout",
                    value: other.to_string(),
                    rule: "use 10 to 4320 minutes, or 0 for 60".to_owned(),
                });
            }
        } * 60_000;
        let mut cover = None;
        let mut seal = None;
        if let Some(id) = start.parent {
            let parent = snapshots::readable(self.records.store(), id, account)?;
            let wish = self.wished(account, start.wish)?;
            cover = Some(self.cover(&parent, account, wish).await?);
        } else {
            seal = self.seal_of_new(account, start.wish).await?;
        }
        let under = cover.as_ref().map(|cover| (cover.content, cover.seal, cover.boot.clone()));
        let _listed = self.listing.read().await;
        let quota = self.config.quota;
        let made = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let parent = start.parent.map(|id| snapshots::readable(tx, id, account));
                    let parent = parent.transpose().map_err(TxError::Refused)?;
                    let id = SnapshotId::random();
                    let mut snapshot =
                        Snapshot::pending(id, account, size_bytes, Consistency::Imported);
                    snapshot.seal = seal;
                    let mut base = None;
                    if let Some((parent, (content, seal, boot))) = parent.zip(under) {
                        fits(&snapshot, &parent).map_err(TxError::Refused)?;
                        boot_sets::inherit(tx, &content, boot.as_ref())?;
                        base = Some(content);
                        snapshot.seal = seal;
                        snapshot.parent = Some(parent.id);
                        snapshot.product_codes = parent.product_codes;
                    }
                    snapshot.description = start.labels.description;
                    snapshot.tags = start.labels.tags;
                    snapshot.created_ms = tx.now_ms();
                    let complete = false;
                    snapshot.making = Some(Making::Blocks(Blocks { base, timeout_ms, complete }));
                    snapshots::put(tx, &snapshot)?;
                    held::within(tx, account, &quota)?;
                    Ok(Made { snapshot: id.to_string() })
                })
            })
            .await?;
        drop(cover);
        let id = made.snapshot.parse().map_err(|_| StorageError::Damaged)?;
        let snapshot = self.snapshot(id, account)?;
        if takes_blocks(&snapshot) && self.sent.get(id).is_none() {
            self.open_sent(&snapshot).await?;
        }
        Ok(snapshot)
    }

    /// Opens the file of one that was under way, and goes on with it if all of
    /// its blocks have come.
    pub(super) async fn resume_blocks(&self, snapshot: Snapshot, blocks: &Blocks) -> Result<()> {
        self.open_sent(&snapshot).await?;
        if blocks.complete {
            self.tasks.spawn(self.clone().make_of_blocks(snapshot));
        }
        Ok(())
    }

    async fn open_sent(&self, snapshot: &Snapshot) -> Result<()> {
        let (id, size_bytes, seal) = (snapshot.id, snapshot.size_bytes, snapshot.seal);
        let storage = self.clone();
        Self::blocking(move || {
            let key = seal.map(|seal| storage.keys.get(seal)).transpose()?;
            let key = key
                .and_then(|key| key.derive(&format!("sent for {id}")).first_chunk::<32>().copied());
            storage.sent.open(id, size_bytes, key, now_ms())
        })
        .await
    }

    /// Gives up those for which no block has come for their timeout as
    /// of `now_ms`; answers how many.
    pub async fn expire_sent(&self, now_ms: u64) -> Result<usize> {
        let mut given_up = 0;
        for (id, sent) in self.sent.all() {
            let found = snapshots::find(self.records.store(), id)?;
            let Some(snapshot) = found.filter(takes_blocks) else { continue };
            let Some(Making::Blocks(blocks)) = &snapshot.making else { continue };
            let idle = now_ms.saturating_sub(sent.touched_ms.load(Ordering::Acquire));
            if idle < blocks.timeout_ms {
                continue;
            }
            let minutes = blocks.timeout_ms / 60_000;
            self.fail_snapshot(id, format!("no block came for {minutes} minutes")).await?;
            let storage = self.clone();
            Self::blocking(move || Ok(storage.sent.remove(id)?)).await?;
            tracing::info!(snapshot = %id, minutes, "given up: no block came");
            given_up += 1;
        }
        Ok(given_up)
    }
}

/// That `snapshot` is not smaller than what it is begun over.
fn fits(snapshot: &Snapshot, parent: &Snapshot) -> Result<()> {
    if snapshot.size_bytes < parent.size_bytes {
        let (asked, least) = (gib(snapshot.size_bytes), gib(parent.size_bytes));
        return Err(BadSize::Smaller { asked, least }.into());
    }
    Ok(())
}

/// Whether blocks may be sent for it.
pub(super) fn takes_blocks(snapshot: &Snapshot) -> bool {
    let making = snapshot.making.as_ref();
    snapshot.state == SnapshotState::Pending
        && matches!(making, Some(Making::Blocks(blocks)) if !blocks.complete)
}
