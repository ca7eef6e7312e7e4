//! Volumes made larger, or of another kind.

use vmint_ids::{AccountId, VolumeId};
use vmint_performance::{Performance, VolumeType};
use vmint_store::{Asked, TxError};

use crate::{
    Result, Storage, StorageError, Volume,
    snapshot::gib,
    store::{LEDGER, held, volumes},
    volume::{BadSize, MAX_VOLUME_BYTES, Modification},
};

/// What to change; 0 and none leave it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    pub(crate) size_gib: i32,
    pub(crate) kind: Option<VolumeType>,
    pub(crate) iops: i32,
    pub(crate) throughput: i32,
}

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

impl Storage {
    /// Changes a volume. Its record decides: the disk follows at once if it is
    /// open, else when it next is.
    pub(crate) async fn modify_volume(
        &self,
        id: VolumeId,
        account: AccountId,
        change: Change,
        asked: Asked,
    ) -> Result<Volume> {
        let quota = self.config.quota;
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let volume = volumes::owned(tx, id, account).map_err(TxError::Refused)?;
                    let now = tx.now_ms();
                    let volume = changed(volume, change, now).map_err(TxError::Refused)?;
                    volumes::put(tx, &volume)?;
                    held::within(tx, account, &quota)?;
                    Ok(Done {})
                })
            })
            .await?;
        let volume = volumes::owned(self.records.store(), id, account)?;
        let (storage, wanted) = (self.clone(), volume.clone());
        Self::blocking(move || {
            if storage.live.get(id).is_some() {
                storage.live.ensure(&wanted, |content| storage.tree(content))?;
            }
            Ok(())
        })
        .await?;
        Ok(volume)
    }
}

fn changed(mut volume: Volume, change: Change, now_ms: u64) -> Result<Volume> {
    let before = volume.performance;
    let size_bytes = match u64::try_from(change.size_gib) {
        Err(_) => return Err(BadSize::OutOfRange { asked: change.size_gib }.into()),
        Ok(0) => volume.size_bytes,
        Ok(gib) => gib << 30,
    };
    if size_bytes > MAX_VOLUME_BYTES {
        return Err(BadSize::OutOfRange { asked: change.size_gib }.into());
    }
    if size_bytes < volume.size_bytes {
        let least = gib(volume.size_bytes);
        return Err(BadSize::Shrinks { asked: change.size_gib, least }.into());
    }
    let kind = change.kind.unwrap_or(before.kind);
    // What was asked for stays; what a type gives of itself is its own.
    let kept = |asked: i32, was: i32| match asked {
        0 if kind == before.kind && kind != VolumeType::Gp2 => was,
        asked => asked,
    };
    let performance = Performance::new(
        kind,
        gib(size_bytes),
        kept(change.iops, before.iops),
        kept(change.throughput, before.throughput),
    )?;
    if size_bytes == volume.size_bytes && performance == before {
        return Err(StorageError::Invalid {
            field: "size_gib",
            what: "change",
            value: "nothing".to_owned(),
            rule: "ask for another size, type, iops or throughput than it has".to_owned(),
        });
    }
    volume.modification = Some(Modification {
        from_bytes: volume.size_bytes,
        from: before,
        to_bytes: size_bytes,
        to: performance,
        at_ms: now_ms,
    });
    volume.size_bytes = size_bytes;
    volume.performance = performance;
    Ok(volume)
}
