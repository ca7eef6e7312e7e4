//! A gateway among fake services, over real sockets.

pub(crate) mod fakes;
pub(crate) mod world;

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use vmint_api::{
    catalog::v1::catalog_internal_service_server::CatalogInternalServiceServer,
    launcher::v1::launcher_internal_service_server::LauncherInternalServiceServer,
    launcher::v1::launcher_service_server::LauncherServiceServer,
    marketplace::v1::marketplace_internal_service_server::MarketplaceInternalServiceServer,
    marketplace::v1::marketplace_service_server::MarketplaceServiceServer,
    permissions::v1::permissions_internal_service_server::PermissionsInternalServiceServer,
    permissions::v1::permissions_service_server::PermissionsServiceServer,
    permissions::v1::snapshot_internal_service_server::SnapshotInternalServiceServer,
    storage::v1::volume_internal_service_server::VolumeInternalServiceServer,
    storage::v1::{
        bundle_internal_service_server::BundleInternalServiceServer,
        copy_internal_service_server::CopyInternalServiceServer,
        storage_internal_service_server::StorageInternalServiceServer,
        transfer_internal_service_server::TransferInternalServiceServer,
    },
};
use vmint_rpc::{Caller, ContextSigner, ServiceAddress, connect_plain};
use vmint_store::Store;

use crate::{
    ops::{Gateway, kinds},
    peers::Peers,
    saga::{Executor, Interfere, Tuning},
};
use fakes::Fake;
use world::World;

const SECRET: [u8; 32] = [7; 32];

/// Fake services that listen on one unix socket.
pub(crate) struct Lab {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) dir: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::of(World::with_one_of_each())
    }

    pub(crate) fn of(world: World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(dir.path())).unwrap();
        let world = Arc::new(Mutex::new(world));
        let secret_of_gateway = ContextSigner::new(&SECRET).public();
        let fake = Fake { world: world.clone(), secret_of_gateway };
        let (health, health_service) = tonic_health::server::health_reporter();
        drop(health);
        let server = Server::builder()
            .add_service(health_service)
            .add_service(CatalogInternalServiceServer::new(fake.clone()))
            .add_service(PermissionsInternalServiceServer::new(fake.clone()))
            .add_service(PermissionsServiceServer::new(fake.clone()))
            .add_service(MarketplaceInternalServiceServer::new(fake.clone()))
            .add_service(MarketplaceServiceServer::new(fake.clone()))
            .add_service(StorageInternalServiceServer::new(fake.clone()))
            .add_service(TransferInternalServiceServer::new(fake.clone()))
            .add_service(VolumeInternalServiceServer::new(fake.clone()))
            .add_service(SnapshotInternalServiceServer::new(fake.clone()))
            .add_service(CopyInternalServiceServer::new(fake.clone()))
            .add_service(BundleInternalServiceServer::new(fake.clone()))
            .add_service(LauncherInternalServiceServer::new(fake.clone()))
            .add_service(LauncherServiceServer::new(fake))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self { world, dir, server }
    }

    pub(crate) fn peers(&self) -> Peers {
        peers_at(self.dir.path())
    }

    pub(crate) async fn gateway(&self, store: &Store, interfere: impl Interfere) -> Gateway {
        gateway_at(self.dir.path(), store, interfere).await
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn socket(dir: &Path) -> std::path::PathBuf {
    dir.join("services.sock")
}

/// The peers whose fakes listen in `dir`.
pub(crate) fn peers_at(dir: &Path) -> Peers {
    let address = ServiceAddress::Unix(socket(dir));
    let channel = |name: &'static str| Ok::<_, Infallible>(connect_plain(&address, name));
    match Peers::new(ContextSigner::new(&SECRET), channel) {
        Ok(peers) => peers,
        Err(never) => match never {},
    }
}

pub(crate) async fn gateway_at(dir: &Path, store: &Store, interfere: impl Interfere) -> Gateway {
    let tuning = Tuning {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        ..Tuning::default()
    };
    let peers = peers_at(dir);
    let (kinds, interfere) = (kinds(&peers), Arc::new(interfere));
    let sagas = Executor::open(store.clone(), kinds, tuning, interfere).await.unwrap();
    Gateway {
        peers,
        sagas,
        draining: tokio_util::sync::CancellationToken::new(),
        streams: tokio_util::task::TaskTracker::new(),
        test_mode: true,
    }
}

/// Waits until no saga is open.
pub(crate) async fn settle(gateway: &Gateway) {
    for _ in 0..6000 {
        if gateway.sagas.open_count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("sagas do not end: {:?}", gateway.sagas.list(10));
}

pub(crate) fn owner() -> Caller {
    Caller::account(world::OWNER, "me")
}

pub(crate) fn other() -> Caller {
    Caller::account(world::OTHER, "them")
}
