//! A content under another data key.

use std::sync::Arc;

use vmint_blocks::{ExtentKind, Pin, Sealed};
use vmint_ids::{AccountId, LineageId, SnapshotId};
use vmint_store::TxError;

use super::lineage::let_go;
use crate::{
    Content, Result, Seal, Snapshot, Storage, StorageError,
    boot_set::BootSet,
    key::{Cover, Wish},
    snapshot::{Copied, Making, SnapshotState},
    store::{boot_sets, keys, snapshots},
    transfer_fault::told,
    transfers::Job,
};

/// How much of a content is read at once.
const PIECE: usize = 1 << 20;

/// What a copy holds.
#[derive(Debug)]
pub(crate) struct Covered {
    pub(crate) content: Content,
    pub(crate) seal: Option<Seal>,
    /// What a new content begins with.
    pub(crate) boot: Option<BootSet>,
    /// Keeps a new content until it is recorded.
    pub(crate) _pin: Option<Pin>,
}

impl Storage {
    /// What a copy of `source` for `account` is to hold: the same content, or one encrypted anew
    /// under a data key that is made here.
    pub(crate) async fn covering(
        &self,
        source: &Snapshot,
        account: AccountId,
        wish: Wish,
    ) -> Result<Copied> {
        let id = source.id;
        let content = source.content().ok_or(StorageError::NotCompleted { id })?;
        let (under, own) = (source.seal.map(|seal| seal.key), source.account == account);
        let cover = wish.cover(under, own).map_err(|_| StorageError::DecryptionRefused { id })?;
        Self::may_use(self.records.store(), Some(content))?;
        match cover {
            Cover::Same => Ok(Copied::Same { content, seal: source.seal }),
            Cover::Under(key) => {
                let key = self.key_for(account, key).await?;
                let seal = self.begin_lineage(account, key).await?;
                Ok(Copied::Anew { source: content, seal })
            }
        }
    }

    /// As [`Self::covering`], done at once, which may cost as much as an import.
    pub(crate) async fn cover(
        &self,
        source: &Snapshot,
        account: AccountId,
        wish: Wish,
    ) -> Result<Covered> {
        let (source, seal) = match self.covering(source, account, wish).await? {
            Copied::Same { content, seal } => {
                return Ok(Covered { content, seal, boot: None, _pin: None });
            }
            Copied::Anew { source, seal } => (source, seal),
        };
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let (storage, lineage) = (self.clone(), seal.lineage);
        let sealed = Self::blocking(move || {
            storage.seal_anew(source, account, lineage, &mut |_| Ok::<_, StorageError>(()))
        });
        let sealed = sealed.await?;
        let (content, boot) = (anew(&source, account, lineage, &sealed), self.boot_set(&source));
        Ok(Covered { content, seal: Some(seal), boot, _pin: Some(sealed.pin) })
    }

    /// Encrypts anew what a pending copy is to hold, or waits until that is done by whoever has
    /// begun it; answers with the snapshot as it then is.
    pub(super) async fn cover_on(self, id: SnapshotId) -> Result<Snapshot> {
        let name = format!("copy {id}");
        let mut changes = self.transfers.follow();
        loop {
            changes.borrow_and_update();
            let found = snapshots::find(self.records.store(), id)?;
            let snapshot = found.ok_or(StorageError::NoSuchSnapshot { id })?;
            let (SnapshotState::Pending, Some(Making::Cover(source))) =
                (&snapshot.state, &snapshot.making)
            else {
                return Ok(snapshot);
            };
            if let Some(job) = self.transfers.begin(&name) {
                let done = self.cover_now(&snapshot, *source, &job).await;
                self.transfers.end(&name);
                if done.is_err() && self.transfers.stop.is_cancelled() {
                    // It goes on at the next start.
                    return Err(StorageError::Stopping);
                }
                done?;
                self.finish_let_go().await;
            } else if changes.changed().await.is_err() {
                return Err(StorageError::Stopping);
            }
        }
    }

    /// As [`Self::cover_on`], for a copy that nobody waits for: what hinders it shows in its
    /// state.
    pub(super) async fn cover_alone(self, id: SnapshotId) {
        let Err(error) = self.clone().cover_on(id).await else { return };
        if matches!(error, StorageError::Stopping) {
            return;
        }
        if matches!(error, StorageError::NoSuchSnapshot { .. } | StorageError::Cancelled) {
            tracing::info!(snapshot = %id, "was deleted before it was encrypted");
            return;
        }
        tracing::info!(snapshot = %id, error = vmint_rpc::chain(&error), "could not be encrypted");
        if let Err(error) = self.fail_snapshot(id, told(&error)).await {
            let error = vmint_rpc::chain(&error);
            tracing::error!(snapshot = %id, error, "stays pending until the next start");
        }
    }

    async fn cover_now(&self, snapshot: &Snapshot, source: Content, job: &Arc<Job>) -> Result<()> {
        let _turn = tokio::select! {
            () = job.stop.cancelled() => return Err(StorageError::Cancelled),
            turn = self.heavy.acquire() => turn.map_err(|_| StorageError::Damaged)?,
        };
        let (id, account) = (snapshot.id, snapshot.account);
        let seal = snapshot.seal.ok_or(StorageError::Damaged)?;
        keys::usable(self.records.store(), seal.key)?;
        let progress = self.progress.of(id);
        progress.whole(source.size_bytes);
        let (storage, job) = (self.clone(), job.clone());
        let sealed = Self::blocking(move || {
            storage.seal_anew(source, account, seal.lineage, &mut |at| {
                progress.at(at);
                // Deleted, so nobody waits for it.
                let gone = snapshots::find(storage.records.store(), id)?.is_none();
                if gone || job.stop.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
            })
        });
        let sealed = sealed.await?;
        let content = anew(&source, account, seal.lineage, &sealed);
        let boot = self.boot_set(&source);
        let (new_bytes, stored_bytes) = (sealed.new_bytes, sealed.stored_bytes);
        let kept = self.records.commit(move |tx| {
            let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
            let pending = found.filter(|found| found.state == SnapshotState::Pending);
            let mut snapshot = pending.ok_or(TxError::Refused(StorageError::Cancelled))?;
            snapshot.state = SnapshotState::Completed(content);
            snapshot.making = None;
            (snapshot.new_bytes, snapshot.stored_bytes) = (new_bytes, stored_bytes);
            snapshots::put(tx, &snapshot)?;
            boot_sets::inherit(tx, &content, boot.as_ref())?;
            let_go(tx, source.lineage)
        });
        kept.await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        tracing::info!(snapshot = %id, new_bytes, "encrypted anew");
        Ok(())
    }

    /// Reads a content and stores it under another data key; `reached` hears how far that is and
    /// may end it.
    fn seal_anew(
        &self,
        source: Content,
        account: AccountId,
        lineage: LineageId,
        reached: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Sealed> {
        let tree = self.tree(&source)?;
        let domain = self.domain(account, Some(lineage))?;
        let mut ingest = self.blocks.ingest(domain, source.size_bytes)?;
        let mut piece = vec![0; PIECE];
        for extent in tree.extents(0..source.size_bytes) {
            let (range, kind) = extent?;
            let mut at = range.start;
            while kind == ExtentKind::Data && at < range.end {
                let left = usize::try_from(range.end - at).unwrap_or(PIECE);
                let piece = &mut piece[..left.min(PIECE)];
                tree.read_at(at, piece)?;
                ingest.write(at, piece)?;
                at += piece.len() as u64;
                reached(at)?;
            }
        }
        Ok(ingest.finish()?)
    }
}

fn anew(source: &Content, account: AccountId, lineage: LineageId, sealed: &Sealed) -> Content {
    Content {
        domain: account,
        lineage: Some(lineage),
        root: sealed.root,
        size_bytes: source.size_bytes,
    }
}
