//! A catalog whose one method does what its request's description says.

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tonic::{Request, Response, Status};
use vmint_api::catalog::v1::{
    Image, UpdateImageRequest, UpdateImageResponse,
    catalog_service_client::CatalogServiceClient,
    catalog_service_server::{CatalogService, CatalogServiceServer},
};
use vmint_daemon::{Bound, Daemon, DaemonError, ServiceConfig, certs};
use vmint_rpc::{Caller, Channel, Identity, ServiceAddress, connect};

/// The catalog's face; it tells when a sleeping call has reached it.
#[derive(Clone, Default)]
pub(crate) struct Doing {
    asleep: Arc<Notify>,
}

#[tonic::async_trait]
impl CatalogService for Doing {
    async fn update_image(
        &self,
        request: Request<UpdateImageRequest>,
    ) -> Result<Response<UpdateImageResponse>, Status> {
        let caller = Caller::of_account(&request)?.clone();
        let what = request.into_inner().description.unwrap_or_default();
        assert_ne!(what, "panic");
        if let Some(millis) = what.strip_prefix("sleep ") {
            self.asleep.notify_one();
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
        }
        let image = Image { name: caller.account, description: what, ..Image::default() };
        Ok(Response::new(UpdateImageResponse { image: Some(image) }))
    }
}

/// A trust directory and what runs under it.
pub(crate) struct Deployment {
    dir: TempDir,
    doing: Doing,
}

pub(crate) struct Running {
    pub(crate) address: ServiceAddress,
    pub(crate) ops: Option<ServiceAddress>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), DaemonError>>,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certs::init(&dir.path().join("trust"), &["gateway", "catalog", "launcher"]).unwrap();
        Self { dir, doing: Doing::default() }
    }

    /// Ends when a sleeping call has reached the service.
    pub(crate) async fn asleep(&self) {
        self.doing.asleep.notified().await;
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> ServiceConfig {
        let root = self.dir.path();
        ServiceConfig::under("catalog", &root.join("run"), root, &root.join("trust"))
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.dir.path().join("trust").join(name)).unwrap()
    }

    pub(crate) fn catalog(&self, config: &ServiceConfig) -> Daemon {
        Daemon::new("catalog", config)
            .unwrap()
            .service(CatalogServiceServer::new(self.doing.clone()))
    }

    pub(crate) async fn start(&self) -> Running {
        Running::of(self.catalog(&self.config()).bind().await.unwrap())
    }

    /// A client that calls as `peer`, for no one.
    pub(crate) fn channel(&self, running: &Running, peer: &str) -> Channel {
        connect(&running.address, &self.identity(peer), "catalog")
    }

    /// A client that calls as the gateway, for alice.
    pub(crate) fn client(&self, running: &Running) -> CatalogServiceClient<Channel> {
        let gateway = self.identity("gateway");
        let alice = Caller::account("111111111111", "alice");
        let channel = connect(&running.address, &gateway, "catalog");
        CatalogServiceClient::new(channel.acting(&gateway.signer().unwrap(), &alice))
    }
}

impl Running {
    pub(crate) fn of(bound: Bound) -> Self {
        let (address, ops) = (bound.address().clone(), bound.ops_address().cloned());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(bound.run(async { drop(stopped.await) }));
        Self { address, ops, stop: Some(stop), ended }
    }

    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn end(mut self) -> Result<(), DaemonError> {
        self.ask_to_stop();
        self.ended.await.unwrap()
    }

    /// How it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), DaemonError> {
        let answer = self.ended.await.unwrap();
        drop(self.stop);
        answer
    }
}

pub(crate) fn doing(what: &str) -> UpdateImageRequest {
    UpdateImageRequest { description: Some(what.to_owned()), ..UpdateImageRequest::default() }
}
