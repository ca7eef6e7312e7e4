//! A running service over a data directory, and what is asked of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

pub mod child;
mod content;
pub mod files;
pub mod nbd;
mod remote;
pub mod sealed;

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
};

use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Server},
};
use vmint_api::{
    storage::v1 as pb,
    storage::v1::{
        block_service_client::BlockServiceClient, block_service_server::BlockServiceServer,
        bundle_internal_service_client::BundleInternalServiceClient,
        bundle_internal_service_server::BundleInternalServiceServer,
        export_service_client::ExportServiceClient, export_service_server::ExportServiceServer,
        import_snapshot_request::Part, instance_bundle_service_client::InstanceBundleServiceClient,
        instance_bundle_service_server::InstanceBundleServiceServer,
        key_service_client::KeyServiceClient, key_service_server::KeyServiceServer,
        object_service_client::ObjectServiceClient, object_service_server::ObjectServiceServer,
        snapshot_service_client::SnapshotServiceClient,
        snapshot_service_server::SnapshotServiceServer,
        storage_internal_service_client::StorageInternalServiceClient,
        storage_internal_service_server::StorageInternalServiceServer,
        storage_service_client::StorageServiceClient, storage_service_server::StorageServiceServer,
        transfer_internal_service_client::TransferInternalServiceClient,
        transfer_internal_service_server::TransferInternalServiceServer,
        transfer_service_client::TransferServiceClient,
        transfer_service_server::TransferServiceServer, upkeep_service_client::UpkeepServiceClient,
        upkeep_service_server::UpkeepServiceServer,
        volume_internal_service_client::VolumeInternalServiceClient,
        volume_internal_service_server::VolumeInternalServiceServer,
        volume_service_client::VolumeServiceClient, volume_service_server::VolumeServiceServer,
    },
    types::v1::SagaStep,
};
use vmint_blocks::{BlockStore, Stats};
use vmint_daemon::ServiceConfig;
use vmint_rpc::{Caller, Fault};
use vmint_storage::{
    Blocks, Bundles, Config, Exports, InstanceBundles, Internal, Keys, Objects, Public, Quota,
    Snapshots, Storage, Transfer, TransferInternal, Upkeep, Volumes, VolumesInternal,
};
use vmint_store::Store;

pub use content::*;
use nbd::Nbd;
pub use remote::*;

pub const ANN: &str = "100000000001";
pub const BOB: &str = "200000000002";
pub const MIB: usize = 1 << 20;

/// A data directory; survives the service.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("storage")
    }

    pub fn volume_dir(&self, n: u64) -> PathBuf {
        self.data().join("volumes").join(volume(n))
    }

    /// Starts the service on what is there.
    pub async fn start(&self) -> Running {
        self.start_with(Quota::default()).await
    }

    /// Starts it with such quotas.
    pub async fn start_with(&self, quota: Quota) -> Running {
        Running::start_with(self.path(), |config| config.quota = quota).await
    }

    /// Starts it with other settings.
    pub async fn start_as(&self, change: impl FnOnce(&mut Config)) -> Running {
        Running::start_with(self.path(), change).await
    }
}

impl Running {
    /// Starts the service on what lies under `place`.
    pub async fn start(place: &Path) -> Self {
        Self::start_with(place, |_| {}).await
    }

    async fn start_with(place: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let data = place.join("storage");
        std::fs::create_dir_all(&data).unwrap();
        let mut config = Config::new(ServiceConfig::under("storage", place, place, place));
        config.exports_dir = place.join("e");
        config.max_import_bytes = 80 << 30;
        config.max_disk_bytes = 1 << 40;
        config.trash_seconds = 0;
        change(&mut config);
        let store = Store::open(&data.join("records"), vmint_store::Options::default()).unwrap();
        let blocks = open_blocks(place, data.join("blocks")).await;
        let storage = Storage::new(store, blocks.clone(), &[7; 32], config);
        storage.restore().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::builder()
            .add_service(StorageServiceServer::with_interceptor(Public(storage.clone()), believe))
            .add_service(KeyServiceServer::with_interceptor(Keys(storage.clone()), believe))
            .add_service(StorageInternalServiceServer::new(Internal(storage.clone())))
            .add_service(ExportServiceServer::with_interceptor(Exports(storage.clone()), believe))
            .add_service(TransferServiceServer::with_interceptor(
                Transfer(storage.clone()),
                believe,
            ))
            .add_service(TransferInternalServiceServer::new(TransferInternal(storage.clone())))
            .add_service(BundleInternalServiceServer::new(Bundles(storage.clone())))
            .add_service(SnapshotServiceServer::with_interceptor(
                Snapshots(storage.clone()),
                believe,
            ))
            .add_service(VolumeServiceServer::with_interceptor(Volumes(storage.clone()), believe))
            .add_service(BlockServiceServer::with_interceptor(Blocks(storage.clone()), believe))
            .add_service(UpkeepServiceServer::with_interceptor(Upkeep(storage.clone()), believe))
            .add_service(VolumeInternalServiceServer::new(VolumesInternal(storage.clone())))
            .add_service(ObjectServiceServer::with_interceptor(Objects(storage.clone()), believe))
            .add_service(InstanceBundleServiceServer::with_interceptor(
                InstanceBundles(storage.clone()),
                believe,
            ))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                drop(stopped.await);
            });
        let server = tokio::spawn(async { server.await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Running {
            users: StorageServiceClient::new(channel.clone()),
            keys: KeyServiceClient::new(channel.clone()),
            internal: StorageInternalServiceClient::new(channel.clone()),
            exports: ExportServiceClient::new(channel.clone()),
            transfer: TransferServiceClient::new(channel.clone()),
            transfer_internal: TransferInternalServiceClient::new(channel.clone()),
            address: address.to_string(),
            snapshots: SnapshotServiceClient::new(channel.clone()),
            volumes: VolumeServiceClient::new(channel.clone()),
            direct: BlockServiceClient::new(channel.clone()),
            upkeep: UpkeepServiceClient::new(channel.clone()),
            bundles: BundleInternalServiceClient::new(channel.clone()),
            plugs: VolumeInternalServiceClient::new(channel.clone()),
            objects: ObjectServiceClient::new(channel.clone()),
            instance_bundles: InstanceBundleServiceClient::new(channel),
            storage,
            blocks,
            server,
            stop,
        }
    }
}

/// Stands in for the guard: believes what the test says of the caller.
fn believe(mut request: Request<()>) -> Result<Request<()>, Status> {
    let account = request.metadata().get("test-account").and_then(|v| v.to_str().ok());
    let caller = Caller::account(account.unwrap_or_default().to_owned(), "someone");
    request.extensions_mut().insert(caller);
    Ok(request)
}

pub struct Running {
    pub users: StorageServiceClient<Channel>,
    pub keys: KeyServiceClient<Channel>,
    pub internal: StorageInternalServiceClient<Channel>,
    pub exports: ExportServiceClient<Channel>,
    pub transfer: TransferServiceClient<Channel>,
    pub transfer_internal: TransferInternalServiceClient<Channel>,
    pub address: String,
    pub snapshots: SnapshotServiceClient<Channel>,
    pub volumes: VolumeServiceClient<Channel>,
    pub direct: BlockServiceClient<Channel>,
    pub upkeep: UpkeepServiceClient<Channel>,
    pub bundles: BundleInternalServiceClient<Channel>,
    pub plugs: VolumeInternalServiceClient<Channel>,
    pub objects: ObjectServiceClient<Channel>,
    pub instance_bundles: InstanceBundleServiceClient<Channel>,
    pub storage: Storage,
    blocks: BlockStore,
    server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Running {
    /// Ends it, so that its directory can be opened again.
    pub async fn stop(self) {
        let Self { storage, blocks, server, stop, .. } = self;
        storage.stop_transfers();
        drop((self.users, self.keys, self.internal, self.exports));
        drop((self.transfer, self.transfer_internal, stop));
        drop((self.snapshots, self.volumes, self.direct, self.upkeep, self.plugs, self.bundles));
        drop((self.objects, self.instance_bundles));
        server.await.unwrap();
        storage.close().await;
        drop((storage, blocks));
    }

    pub fn stats(&self) -> Stats {
        self.blocks.stats()
    }

    /// Collects until nothing more comes free, and answers what is stored then.
    pub async fn collect(&self) -> Stats {
        // The trash is emptied one round after it was filled.
        for _ in 0..3 {
            self.storage.collect().await.unwrap();
        }
        let stats = self.stats();
        assert_eq!(stats.trash_reads, 0, "something live was collected");
        stats
    }

    pub async fn send(
        &mut self,
        account: &str,
        parts: Vec<pb::ImportSnapshotRequest>,
    ) -> Result<pb::ImportSnapshotResponse, Status> {
        let parts = tokio_stream::iter(parts);
        Ok(self.users.import_snapshot(from(account, parts)).await?.into_inner())
    }

    /// Imports a raw disk of Ann's.
    pub async fn import(&mut self, disk: &[u8]) -> pb::Snapshot {
        let parts = pieces(header("raw", disk.len()), disk);
        self.send(ANN, parts).await.unwrap().snapshot.unwrap()
    }

    /// A volume of Ann's at instance `n`, or the same again.
    pub async fn attach(&mut self, n: u64, snapshot: &str, goes: bool) -> pb::ExportedVolume {
        let mut request = volumes(n, snapshot);
        request.volumes[0].delete_on_termination = goes;
        let mut made = self.internal.ensure_volumes(request).await.unwrap().into_inner().volumes;
        assert_eq!(made.len(), 1);
        made.remove(0)
    }

    pub async fn freeze(&mut self, n: u64, into: u64) -> pb::Snapshot {
        let request = freeze(&[(n, into)]);
        let made = self.internal.ensure_volume_snapshots(request).await.unwrap();
        made.into_inner().snapshots.remove(0)
    }

    pub async fn release(&mut self, n: u64, undo: bool) -> Vec<String> {
        let request =
            pb::ReleaseVolumesRequest { saga: saga(1), instance_ids: vec![instance(n)], undo };
        let answer = self.internal.release_volumes(request).await.unwrap();
        answer.into_inner().deleted_volume_ids
    }

    pub async fn delete(&mut self, snapshot: &str) -> Result<(), Status> {
        let request = pb::DeleteSnapshotRequest {
            snapshot_id: snapshot.to_owned(),
            request_id: String::new(),
            dry_run: false,
        };
        self.users.delete_snapshot(from(ANN, request)).await.map(|_| ())
    }

    /// What a snapshot holds, read as a machine would: by a volume over it.
    pub async fn content(&mut self, snapshot: &str) -> Vec<u8> {
        let n = 0xfff_0000;
        let made = self.attach(n, snapshot, true).await;
        let content = Nbd::connect(&made.export_path).read_all();
        assert_eq!(self.release(n, false).await, [volume(n)]);
        content
    }

    /// Waits until a snapshot is no longer pending.
    pub async fn settled(&mut self, account: &str, snapshot: &str) -> pb::Snapshot {
        for _ in 0..3000 {
            let request = pb::GetSnapshotRequest { snapshot_id: snapshot.to_owned() };
            let found = self.users.get_snapshot(from(account, request)).await.unwrap();
            let found = found.into_inner().snapshot.unwrap();
            if found.state() != pb::SnapshotState::Pending {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{snapshot} stays pending");
    }

    /// Shares a snapshot as a saga would.
    pub async fn share(&mut self, snapshot: &str, public: bool, with: &[&str], revision: u64) {
        let request = pb::EnsureSnapshotSharingRequest {
            saga: saga(1),
            snapshot_id: snapshot.to_owned(),
            public,
            account_ids: with.iter().map(ToString::to_string).collect(),
            revision,
        };
        self.plugs.ensure_snapshot_sharing(request).await.unwrap();
    }

    /// What an account has, as it would be listed.
    pub async fn volume(&mut self, n: u64) -> Option<pb::Volume> {
        let request = from(ANN, pb::ListVolumesRequest::default());
        let all = self.users.list_volumes(request).await.unwrap().into_inner().volumes;
        all.into_iter().find(|found| found.volume_id == volume(n))
    }
}

pub fn from<T>(account: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("test-account", MetadataValue::from_str(account).unwrap());
    request
}

pub fn saga(epoch: u64) -> Option<SagaStep> {
    Some(SagaStep { saga_id: "0123456789abcdef".repeat(2), step: "test".into(), epoch })
}

pub fn reason(status: &Status) -> String {
    let seen = Fault::from_status(status);
    assert_eq!(seen.domain, "storage.vmint", "{status:?}");
    seen.reason
}

pub fn volume(n: u64) -> String {
    format!("vol-{n:017x}")
}

pub fn instance(n: u64) -> String {
    format!("i-{n:017x}")
}

pub fn snap(n: u64) -> String {
    format!("snap-{n:017x}")
}

pub fn image(n: u64) -> String {
    format!("ami-{n:017x}")
}

/// Asks for volume `n` at instance `n`.
pub fn volumes(n: u64, snapshot: &str) -> pb::EnsureVolumesRequest {
    pb::EnsureVolumesRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        volumes: vec![pb::NewVolume {
            volume_id: volume(n),
            snapshot_id: snapshot.to_owned(),
            size_gib: 0,
            instance_id: instance(n),
            device_name: "/dev/sda1".to_owned(),
            delete_on_termination: true,
            product_codes: Vec::new(),
            boot: true,
            ..Default::default()
        }],
    }
}

/// Asks for snapshots of volumes, for an image with the number of the first.
pub fn freeze(pairs: &[(u64, u64)]) -> pb::EnsureVolumeSnapshotsRequest {
    let wanted = |(n, into): &(u64, u64)| pb::VolumeSnapshot {
        volume_id: volume(*n),
        snapshot_id: snap(*into),
    };
    pb::EnsureVolumeSnapshotsRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        snapshots: pairs.iter().map(wanted).collect(),
        image_id: image(pairs[0].1),
        description: "frozen".to_owned(),
        ..Default::default()
    }
}
