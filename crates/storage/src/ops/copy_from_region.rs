//! A snapshot of another region, copied for its own sake: recorded at once,
//! fetched after the answer.

use std::time::Duration;

use vmint_api::{gateway::v1 as peer, storage::v1 as pb};
use vmint_ids::{AccountId, SnapshotId};
use vmint_store::Asked;

use super::{attach::now_ms, create_snapshot::Labels, pull_disk::Remotely};
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::{Consistency, Making, Remote},
    store::{LEDGER, held, snapshots},
    transfer_fault::told,
};

/// How long another region may be away.
const PATIENCE: Duration = Duration::from_hours(24);
/// How long to wait before asking it again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Made {
    #[prost(string, tag = "1")]
    snapshot: String,
}

impl Storage {
    /// Begins a copy of a snapshot of another region that `account` may read
    /// there. Product codes stay.
    pub(crate) async fn copy_from_region(
        &self,
        account: AccountId,
        remote: Remote,
        wish: Wish,
        labels: Labels,
        asked: Asked,
    ) -> Result<Snapshot> {
        let before = asked.clone();
        let answered: Option<Made> =
            self.records.commit(move |tx| LEDGER.answered(tx, &before)).await?;
        let made = if let Some(made) = answered {
            made
        } else {
            let mut new = self.remote_snapshot(account, &remote, wish).await?;
            (new.description, new.tags) = (labels.description, labels.tags);
            new.making = Some(Making::Remote(remote));
            self.begin_remote(new, asked).await?
        };
        let id = made.snapshot.parse().map_err(|_| StorageError::Damaged)?;
        self.snapshot(id, account)
    }

    /// The copy as it is to be recorded.
    async fn remote_snapshot(
        &self,
        account: AccountId,
        remote: &Remote,
        wish: Wish,
    ) -> Result<Snapshot> {
        let bad = || StorageError::Sequence("the region sent a snapshot of no use");
        let request = peer::GetSourceSnapshotRequest {
            account_id: account.to_string(),
            snapshot_id: remote.snapshot.to_string(),
        };
        let answer = self.regions.client(&remote.region)?.get_source_snapshot(request).await;
        let answer = answer.map_err(|status| self.regions.refused(&remote.region, &status))?;
        let source: pb::Snapshot = answer.into_inner().snapshot.unwrap_or_default();
        let size_bytes = u64::try_from(source.size_bytes).map_err(|_| bad())?;
        if size_bytes == 0 || size_bytes > self.config.max_disk_bytes {
            return Err(bad());
        }
        let codes = source.product_codes.iter().map(|code| code.parse().map_err(|_| bad()));
        let codes = codes.collect::<Result<_>>()?;
        let id = SnapshotId::random();
        let mut new = Snapshot::pending(id, account, size_bytes, Consistency::Imported);
        new.seal = self.seal_for(account, source.encrypted, wish, remote.snapshot).await?;
        new.product_codes = codes;
        Ok(new)
    }

    async fn begin_remote(&self, mut new: Snapshot, asked: Asked) -> Result<Made> {
        let _listed = self.listing.read().await;
        let (quota, drawn) = (self.config.quota, new.id);
        let record = new.clone();
        let (made, created_ms) = self
            .records
            .commit(move |tx| {
                let made = LEDGER.once(tx, &asked, |tx| {
                    let mut new = record;
                    new.created_ms = tx.now_ms();
                    snapshots::put(tx, &new)?;
                    held::within(tx, new.account, &quota)?;
                    Ok(Made { snapshot: new.id.to_string() })
                })?;
                Ok((made, tx.now_ms()))
            })
            .await?;
        if made.snapshot == drawn.to_string() {
            new.created_ms = created_ms;
            self.tasks.spawn(self.clone().make_of_remote(new));
        }
        Ok(made)
    }

    /// Fetches a snapshot, however often the other region goes away; what ends
    /// that shows in its state.
    pub(super) async fn make_of_remote(self, snapshot: Snapshot) {
        let (id, name) = (snapshot.id, format!("copy {}", snapshot.id));
        let Some(Making::Remote(remote)) = &snapshot.making else { return };
        let Some(job) = self.transfers.begin(&name) else { return };
        let given_up =
            snapshot.created_ms + u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let mut pause = PAUSE.0;
        let ended = loop {
            let tell = |_| ();
            let what = Remotely { remote, snapshot: &snapshot, job: &job, tell: &tell };
            let error = match self.pull_disk(what).await {
                Ok(()) => break None,
                Err(error) => error,
            };
            let again = matches!(error, StorageError::RegionAway { .. } | StorageError::DiskFull);
            // What was begun goes on at the next start.
            if self.transfers.stop.is_cancelled() || !again || now_ms() > given_up {
                break Some(error);
            }
            tracing::info!(snapshot = %id, error = vmint_rpc::chain(&error), "a copy was cut");
            tokio::select! {
                () = job.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        };
        self.transfers.end(&name);
        let Some(error) = ended.filter(|_| !self.transfers.stop.is_cancelled()) else { return };
        if matches!(error, StorageError::Cancelled) {
            tracing::info!(snapshot = %id, "was deleted before it was here");
            return;
        }
        tracing::info!(snapshot = %id, error = vmint_rpc::chain(&error), "could not be copied");
        if let Err(error) = self.fail_snapshot(id, told(&error)).await {
            let error = vmint_rpc::chain(&error);
            tracing::error!(snapshot = %id, error, "stays pending until the next start");
        }
    }
}
