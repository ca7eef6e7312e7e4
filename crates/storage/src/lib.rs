//! The storage service: snapshots, volumes and the blocks they share.
//!
//! Trees: `snapshots.v1` by id, with indexes by account and by the images that
//! need it and whom it is shared with; `volumes.v1` by id, with indexes by
//! account and by instance; `keys.v1`, `default-keys.v1` and `lineages.v1`, what
//! data at rest are encrypted under; `uploads.v1`, `imports.v1` and `exports.v1`,
//! what is on its way in or out, with indexes by account; `held.v1`, how much
//! each account has; `requests.v1`, answers already given; `epochs.v1`, which gateway speaks.
//!
//! Invariants: a completed snapshot's content never changes and is in the
//! block store; a snapshot that an image needs is not deleted; every attached
//! volume is served at its socket while the service runs; a volume's product
//! codes are those of its snapshot and more, never fewer; no account has more
//! than its quota, however many ask at once; a block that was acknowledged is
//! in its snapshot; a file in `uploads/`, `fetches/` or `exports/` has its record,
//! or goes at the next start.

mod block_token;
mod config;
mod content_label;
mod data_keys;
mod error;
mod export_task;
mod filter;
mod grpc;
mod import_task;
mod import_url;
mod key;
mod live;
mod ops;
mod pattern;
mod progress;
mod provider;
mod quota;
mod ranges;
mod regions;
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
mod volume_type;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use vmint_api::storage::v1::{
    block_service_server::BlockServiceServer,
    copy_internal_service_server::CopyInternalServiceServer,
    export_service_server::ExportServiceServer, key_service_server::KeyServiceServer,
    snapshot_service_server::SnapshotServiceServer,
    storage_internal_service_server::StorageInternalServiceServer,
    storage_service_server::StorageServiceServer,
    transfer_internal_service_server::TransferInternalServiceServer,
    transfer_service_server::TransferServiceServer,
    volume_internal_service_server::VolumeInternalServiceServer,
    volume_service_server::VolumeServiceServer,
};
use vmint_blocks::BlockStore;
use vmint_daemon::{Daemon, DaemonError};
use vmint_store::Store;

pub use config::{BucketConfig, Config, Fetch, Region};
pub use content_label::BadLabel;
pub use error::{BlockError, Lack, Result, StorageError};
pub use filter::BadFilter;
pub use grpc::{
    Blocks, Copies, Exports, Internal, Keys, Public, Snapshots, Transfer, TransferInternal,
    Volumes, VolumesInternal,
};
pub use import_task::TaskId;
pub use import_url::BadUrl;
pub use key::{BadChange, Key, KeyState};
pub use ops::Storage;
pub use provider::{FileKeys, KeyProvider};
pub use quota::{OverQuota, Quota};
pub use sharing::Sharing;
pub use snapshot::{
    Blocks as SentBlocks, Consistency, Content, Far, Making, Remote, Seal, Snapshot, SnapshotState,
};
pub use tag::{BadTag, MAX_TAGS, Tags};
pub use volume::{Attachment, BadSize, MAX_VOLUME_BYTES, Modification, Plug, Volume};
pub use volume_type::{BadPerformance, Performance, VolumeType};

/// How often what nobody came back to is looked for.
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
    let opening = config.clone();
    let (store, blocks, secret) = tokio::task::spawn_blocking(move || {
        let data = &opening.service.data;
        let secret = domain_secret(data)?;
        let store = Store::open(&data.join("records"), vmint_store::Options::default())?;
        let options = vmint_blocks::Options {
            cache_bytes: opening.cache_bytes,
            ..vmint_blocks::Options::default()
        };
        let dir = data.join("blocks");
        let blocks = match &opening.bucket {
            None => BlockStore::open(&dir, options)?,
            Some(bucket) => BlockStore::open_objects(&dir, options, &bucket.options())?,
        };
        Ok::<_, StorageError>((store, blocks, secret))
    })
    .await
    .map_err(StorageError::from)??;
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
            if let Err(error) = expiring.expire_sent(ops::now_ms()).await {
                tracing::error!(error = %vmint_rpc::chain(&error), "no snapshot was given up");
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
        .service(TransferInternalServiceServer::new(TransferInternal(storage.clone())))
        .service(SnapshotServiceServer::new(Snapshots(storage.clone())))
        .service(VolumeServiceServer::new(Volumes(storage.clone())))
        .service(VolumeInternalServiceServer::new(VolumesInternal(storage.clone())))
        .service(BlockServiceServer::new(Blocks(storage.clone())))
        .task("collect", collect)
        .task("expire", expire)
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    storage.close().await;
    Ok(ended?)
}

/// What deduplication domains are derived from, made at the first start.
/// Without it no block can be read, so it lies beside them and not with the
/// certificates, which may be made anew.
fn domain_secret(data: &Path) -> Result<[u8; 32]> {
    fs::create_dir_all(data)?;
    let path = data.join("domains.key");
    match fs::read(&path) {
        Ok(bytes) => bytes.as_slice().try_into().map_err(|_| StorageError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|e| io::Error::other(e.to_string()))?;
            let new = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(data)?.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}
