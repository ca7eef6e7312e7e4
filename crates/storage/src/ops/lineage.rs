//! Lineages: begun with a data key, ended with its destruction.

use std::time::{SystemTime, UNIX_EPOCH};

use vmint_blocks::Domain;
use vmint_ids::{AccountId, KmsKeyId, LineageId, SnapshotId, VolumeId};
use vmint_store::{Asked, TxError};

use crate::{
    Content, Result, Seal, Snapshot, Storage, StorageError, Volume,
    key::KeyState,
    snapshot::SnapshotState,
    store::{LEDGER, exports, instance_bundles, keys, snapshots, uploads, volumes},
};

/// Records changed in one transaction.
const STEP: usize = 40;

/// What goes with a data key.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) snapshots: Vec<SnapshotId>,
    pub(crate) volumes: Vec<VolumeId>,
}

/// What the ledger keeps of a destruction.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, repeated, tag = "1")]
    snapshots: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    volumes: Vec<String>,
}

impl Storage {
    /// A new lineage under an account's key.
    pub(crate) async fn begin_lineage(&self, account: AccountId, key: KmsKeyId) -> Result<Seal> {
        let (data_keys, lineage) = (self.keys.clone(), LineageId::random());
        Self::blocking(move || {
            let made = data_keys.provider.new_data_key(key, lineage);
            made.map(drop).map_err(StorageError::Provider)
        })
        .await?;
        self.records
            .commit(move |tx| {
                keys::usable(tx, key).map_err(TxError::Refused)?;
                keys::put_lineage(tx, lineage, key, account)
            })
            .await?;
        Ok(Seal { lineage, key })
    }

    /// The deduplication domain of what an account brings in, encrypted with
    /// the data key of a lineage if there is one.
    pub(crate) fn domain(&self, account: AccountId, lineage: Option<LineageId>) -> Result<Domain> {
        let open = self.open_domain(account, lineage);
        let Some(id) = lineage else { return Ok(open) };
        if let Some(key) = self.keys.known(id) {
            return Ok(open.sealed(key));
        }
        let key = keys::key_of(self.records.store(), id)?;
        let key = key.ok_or(StorageError::DataKeyGone { id })?;
        Ok(open.sealed(self.keys.get(Seal { lineage: id, key })?))
    }

    /// The same without the data key: enough to follow a tree, not to read it.
    pub(crate) fn open_domain(&self, account: AccountId, lineage: Option<LineageId>) -> Domain {
        let label = lineage.map_or_else(|| account.to_string(), |lineage| lineage.to_string());
        Domain::derive(&self.secret, &label)
    }

    /// Destroys the data key of a snapshot of one's own, and all it encrypts.
    pub(crate) async fn destroy_data(
        &self,
        id: SnapshotId,
        account: AccountId,
        dry_run: bool,
        asked: Asked,
    ) -> Result<Lost> {
        let check = move |read: &vmint_store::Store| {
            let snapshot = snapshots::owned(read, id, account)?;
            let seal = snapshot.seal.ok_or(StorageError::NotEncrypted { id })?;
            Ok::<_, StorageError>(seal.lineage)
        };
        if dry_run {
            let lineage = check(self.records.store())?;
            return lost(self.records.store(), lineage, account);
        }
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let snapshot = snapshots::owned(tx, id, account).map_err(TxError::Refused)?;
                    let seal = snapshot.seal.ok_or(StorageError::NotEncrypted { id });
                    let lineage = seal.map_err(TxError::Refused)?.lineage;
                    let lost = lost(tx, lineage, account).map_err(TxError::Refused)?;
                    keys::doom(tx, lineage, false)?;
                    Ok(Answer {
                        snapshots: lost.snapshots.iter().map(ToString::to_string).collect(),
                        volumes: lost.volumes.iter().map(ToString::to_string).collect(),
                    })
                })
            })
            .await?;
        self.finish_doomed().await?;
        let bad = |_| StorageError::Damaged;
        Ok(Lost {
            snapshots: answer
                .snapshots
                .iter()
                .map(|id| id.parse().map_err(bad))
                .collect::<Result<_>>()?,
            volumes: answer
                .volumes
                .iter()
                .map(|id| id.parse().map_err(bad))
                .collect::<Result<_>>()?,
        })
    }

    /// Carries out what was decided when the last that needed a data key went;
    /// what fails is tried again with the next tending of keys.
    pub(super) async fn finish_let_go(&self) {
        if let Err(error) = self.finish_doomed().await {
            tracing::error!(error = %vmint_rpc::chain(&error), "a data key stays for now");
        }
    }

    /// Carries out what was decided: data keys that are to go do, and what
    /// they encrypted says so. Whatever a crash left undone is done here.
    pub(crate) async fn finish_doomed(&self) -> Result<()> {
        for lineage in self.records.doomed()? {
            self.forget_lineage(lineage).await?;
            let data_keys = self.keys.clone();
            Self::blocking(move || data_keys.destroy(lineage)).await?;
            self.records.commit(move |tx| keys::doom(tx, lineage, true)).await?;
            tracing::info!(%lineage, "its data key is destroyed");
        }
        Ok(())
    }

    async fn forget_lineage(&self, lineage: LineageId) -> Result<()> {
        loop {
            let more = self
                .records
                .commit(move |tx| {
                    let found: Vec<Snapshot> =
                        snapshots::of_lineage(tx, lineage, STEP).map_err(TxError::Refused)?;
                    for mut snapshot in found.iter().cloned() {
                        let why = "its data key was destroyed".to_owned();
                        snapshot.state = SnapshotState::Error(why);
                        snapshots::put(tx, &snapshot)?;
                    }
                    Ok(found.len() == STEP)
                })
                .await?;
            if !more {
                break;
            }
        }
        loop {
            let found: Vec<Volume> = volumes::of_lineage(self.records.store(), lineage, STEP)?;
            let ids: Vec<VolumeId> = found.iter().map(|volume| volume.id).collect();
            if ids.is_empty() {
                return Ok(());
            }
            self.records
                .commit(move |tx| {
                    found.iter().try_for_each(|volume| volumes::remove(tx, volume.id))
                })
                .await?;
            let storage = self.clone();
            Self::blocking(move || {
                for id in ids {
                    storage.live.close(id, None);
                    storage.live.delete(id)?;
                }
                Ok(())
            })
            .await?;
        }
    }

    /// Destroys keys whose time has come, unless an attached volume needs one.
    pub async fn tend_keys(&self) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.tend_keys_at(now).await
    }

    /// The same as of a moment, in milliseconds since 1970.
    pub async fn tend_keys_at(&self, now: u64) -> Result<()> {
        self.finish_doomed().await?;
        'keys: for mut key in self.records.keys_due(now)? {
            let id = key.id;
            loop {
                let lineages = self.records.lineages_under(id)?;
                if lineages.is_empty() {
                    break;
                }
                for lineage in lineages {
                    if attached(self.records.store(), lineage)?.is_some() {
                        tracing::warn!(key = %id, %lineage, "in use; not destroyed yet");
                        continue 'keys;
                    }
                    self.records.commit(move |tx| keys::doom(tx, lineage, false)).await?;
                }
                self.finish_doomed().await?;
            }
            let data_keys = self.keys.clone();
            Self::blocking(move || data_keys.provider.destroy(id).map_err(StorageError::Provider))
                .await?;
            key.state = KeyState::Destroyed;
            self.records.commit(move |tx| keys::put(tx, &key)).await?;
            tracing::info!(key = %id, "destroyed");
        }
        Ok(())
    }

    /// Refuses to begin anything new with an encrypted content whose key may
    /// not be used or is gone.
    pub(crate) fn may_use(read: &impl vmint_store::Read, content: Option<Content>) -> Result<()> {
        let Some(id) = content.and_then(|content| content.lineage) else { return Ok(()) };
        let key = keys::key_of(read, id)?.ok_or(StorageError::DataKeyGone { id })?;
        keys::usable(read, key)
    }
}

/// Has data keys go that what went was the last to need. Asked in the
/// commit that removes a snapshot or volume, after the removal.
pub(super) fn let_go(
    tx: &mut vmint_store::Tx<'_>,
    of: impl IntoIterator<Item = LineageId>,
) -> Result<(), TxError<StorageError>> {
    of.into_iter().try_for_each(|lineage| let_one_go(tx, lineage))
}

fn let_one_go(
    tx: &mut vmint_store::Tx<'_>,
    lineage: LineageId,
) -> Result<(), TxError<StorageError>> {
    let needed = |read: &vmint_store::Tx<'_>| {
        Ok::<_, StorageError>(
            !snapshots::of_lineage(read, lineage, 1)?.is_empty()
                || !volumes::of_lineage(read, lineage, 1)?.is_empty()
                || uploads::any_over(read, lineage)?
                || exports::any_of(read, lineage)?
                || instance_bundles::any_of(read, lineage)?,
        )
    };
    if needed(tx).map_err(TxError::Refused)? { Ok(()) } else { keys::doom(tx, lineage, false) }
}

/// What would be lost with a lineage, if nothing stands against it.
fn lost(read: &impl vmint_store::Read, lineage: LineageId, account: AccountId) -> Result<Lost> {
    let snapshots = snapshots::of_lineage(read, lineage, 1000)?;
    let volumes = volumes::of_lineage(read, lineage, 1000)?;
    let needed = snapshots.iter().find_map(|found| Some((found.id, *found.images.first()?)));
    if let Some((id, image)) = needed {
        return Err(StorageError::InUse { id, image });
    }
    let in_use = |volume: &&Volume| volume.attachment.is_some() || volume.account != account;
    if let Some(volume) = volumes.iter().find(in_use) {
        return Err(StorageError::DataInUse { id: volume.id });
    }
    Ok(Lost {
        snapshots: snapshots.iter().map(|found| found.id).collect(),
        volumes: volumes.iter().map(|found| found.id).collect(),
    })
}

fn attached(read: &impl vmint_store::Read, lineage: LineageId) -> Result<Option<VolumeId>> {
    let volumes = volumes::of_lineage(read, lineage, 1000)?;
    Ok(volumes.iter().find(|volume| volume.attachment.is_some()).map(|volume| volume.id))
}
