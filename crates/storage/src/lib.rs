//! The storage service: snapshots, volumes and the blocks they share.
//!
//! Trees: `snapshots.v1` by id, with indexes by account and by the images that
//! need it and whom it is shared with; `volumes.v1` by id, with indexes by
//! account and by instance; `keys.v1`, `default-keys.v1` and `lineages.v1`, what
//! data at rest are encrypted under; `uploads.v1`, `imports.v1` and `exports.v1`,
//! what is on its way in or out, with indexes by account; `instance-bundles.v1`,
//! disks on their way into a bucket; `boot-sets.v1`, what a
//! boot reads of a content; `scrubs.v1`, the last scrub; `held.v1`, how much each
//! account has; `requests.v1`, answers already given; `epochs.v1`, which gateway
//! speaks.
//!
//! Invariants: a completed snapshot's content never changes and is in the
//! block store; a snapshot that an image needs is not deleted; every attached
//! volume is served at its socket while the service runs; a volume's product
//! codes are those of its snapshot and more, never fewer; no account has more
//! than its quota, however many ask at once; a block that was acknowledged is
//! in its snapshot; a file in `uploads/`, `fetches/` or `exports/` has its record,
//! or goes at the next start.

mod block_token;
mod boot_set;
mod bundle_seal;
mod config;
mod content_label;
mod damage;
mod data_keys;
mod error;
mod export_task;
mod filter;
mod grpc;
mod import_task;
mod import_url;
mod instance_bundle;
mod instance_bundle_fault;
mod key;
mod live;
mod object;
mod object_fault;
mod opening;
mod ops;
mod pattern;
mod progress;
mod provider;
mod quota;
mod ranges;
mod regions;
mod scrub;
mod sent;
mod sharing;
mod slot;
mod snapshot;
mod staged;
mod store;
mod stored;
mod tag;
mod transfer_fault;
mod transfers;
mod upload;
mod volume;

use std::time::Duration;

use vmint_api::storage::v1::{
    block_service_server::BlockServiceServer,
    bundle_internal_service_server::BundleInternalServiceServer,
    copy_internal_service_server::CopyInternalServiceServer,
    export_service_server::ExportServiceServer,
    instance_bundle_service_server::InstanceBundleServiceServer,
    key_internal_service_server::KeyInternalServiceServer, key_service_server::KeyServiceServer,
    object_internal_service_server::ObjectInternalServiceServer,
    object_service_server::ObjectServiceServer, snapshot_service_server::SnapshotServiceServer,
    storage_internal_service_server::StorageInternalServiceServer,
    storage_service_server::StorageServiceServer,
    transfer_internal_service_server::TransferInternalServiceServer,
    transfer_service_server::TransferServiceServer, upkeep_service_server::UpkeepServiceServer,
    volume_internal_service_server::VolumeInternalServiceServer,
    volume_service_server::VolumeServiceServer,
};
use vmint_daemon::{Daemon, DaemonError};

use opening::Opened;

pub use config::{BucketConfig, Config, Fetch, Region};
pub use content_label::BadLabel;
pub use damage::{Damage, DamagedDisk, Disk};
pub use error::{BlockError, Lack, Result, StorageError};
pub use export_task::ExportName;
pub use filter::BadFilter;
pub use grpc::{
    Blocks, Bundles, Copies, Exports, Files, InstanceBundles, Internal, Keys, KeysInternal,
    Objects, Public, Snapshots, Transfer, TransferInternal, Upkeep, Volumes, VolumesInternal,
};
pub use import_task::TaskId;
pub use import_url::BadUrl;
pub use instance_bundle_fault::InstanceBundleError;
pub use key::{BadChange, Key, KeyState};
pub use object_fault::ObjectError;
pub use ops::{Checked, CheckedOffline, Storage, check_offline};
pub use provider::{FileKeys, KeyProvider};
pub use quota::{OverQuota, Quota};
pub use sharing::Sharing;
pub use snapshot::{
    Blocks as SentBlocks, Consistency, Content, Copied, Far, Making, Remote, Seal, Snapshot,
    SnapshotState,
};
pub use tag::{BadTag, MAX_TAGS, Tags};
pub use vmint_performance::{BadPerformance, Performance, VolumeType};
pub use volume::{Attachment, BadSize, MAX_VOLUME_BYTES, Modification, Plug, Volume};

/// How often what nobody came back to is looked for, and whether a scrub is due.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// Why the process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the data directory does not serve")]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

/// Serves storage until `shutdown`.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let daemon = Daemon::new("storage", &config.service)?;
    let opened = config.clone();
    let opened = tokio::task::spawn_blocking(move || opening::open(&opened)).await;
    let Opened { store, blocks, secret } = opened.map_err(StorageError::from)??;
    let poisoned = store.clone();
    let storage = Storage::new(store, blocks, &secret, config.clone());
    storage.restore().await?;
    let (stop, collecting) = (daemon.stop_token(), storage.clone());
    let collect = async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok::<_, RunError>(()),
                () = tokio::time::sleep(config.collect_every()) => {}
            }
            if let Err(error) = collecting.tend_keys().await {
                tracing::error!(error = %vmint_rpc::chain(&error), "keys were not tended");
            }
            match collecting.collect().await {
                Ok(0) => {}
                Ok(bytes) => tracing::info!(bytes, "collected"),
                Err(error) => {
                    tracing::error!(error = %vmint_rpc::chain(&error), "nothing was collected");
                }
            }
        }
    };
    let (draining, expiring) = (daemon.draining(), storage.clone());
    let expire = async move {
        loop {
            tokio::select! {
                () = draining.cancelled() => break,
                () = tokio::time::sleep(EXPIRE_EVERY) => {}
            }
            if let Err(error) = expiring.expire_transfers().await {
                tracing::error!(error = %vmint_rpc::chain(&error), "nothing expired");
            }
            if let Err(error) = expiring.expire_multiparts().await {
                tracing::error!(error = %vmint_rpc::chain(&error), "no upload was given up");
            }
            if let Err(error) = expiring.expire_sent(ops::now_ms()).await {
                tracing::error!(error = %vmint_rpc::chain(&error), "no snapshot was given up");
            }
            if let Err(error) = expiring.tend_scrub().await {
                tracing::error!(error = %vmint_rpc::chain(&error), "no scrub was begun");
            }
        }
        // Before the calls that follow one are waited for.
        expiring.stop_transfers();
        Ok::<_, RunError>(())
    };
    let public = StorageServiceServer::new(Public(storage.clone()));
    let transfer = TransferServiceServer::new(Transfer(storage.clone()));
    let ended = daemon
        .service(public)
        .service(KeyServiceServer::new(Keys(storage.clone())))
        .service(ExportServiceServer::new(Exports(storage.clone())))
        .service(transfer)
        .service(StorageInternalServiceServer::new(Internal(storage.clone())))
        .service(CopyInternalServiceServer::new(Copies(storage.clone())))
        .service(BundleInternalServiceServer::new(Bundles(storage.clone())))
        .service(TransferInternalServiceServer::new(TransferInternal(storage.clone())))
        .service(SnapshotServiceServer::new(Snapshots(storage.clone())))
        .service(VolumeServiceServer::new(Volumes(storage.clone())))
        .service(VolumeInternalServiceServer::new(VolumesInternal(storage.clone())))
        .service(BlockServiceServer::new(Blocks(storage.clone())))
        .service(UpkeepServiceServer::new(Upkeep(storage.clone())))
        .service(ObjectServiceServer::new(Objects(storage.clone())))
        .service(ObjectInternalServiceServer::new(Files(storage.clone())))
        .service(InstanceBundleServiceServer::new(InstanceBundles(storage.clone())))
        .service(KeyInternalServiceServer::new(KeysInternal(storage.clone())))
        .task("collect", collect)
        .task("expire", expire)
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    storage.close().await;
    Ok(ended?)
}
