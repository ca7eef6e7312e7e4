//! A catalog whose one method does what its request's description says.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Request, Response, Status};
use vmint_api::catalog::v1::{
    Image, UpdateImageRequest, UpdateImageResponse,
    catalog_service_client::CatalogServiceClient,
    catalog_service_server::{CatalogService, CatalogServiceServer},
};
use vmint_daemon::{Bound, Daemon, DaemonError, ServiceConfig, certs};
use vmint_rpc::{Caller, Channel, Identity, ServiceAddress, connect};

pub struct Doing;

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
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
        }
        let image = Image { name: caller.account, description: what, ..Image::default() };
        Ok(Response::new(UpdateImageResponse { image: Some(image) }))
    }
}

/// A trust directory and what runs under it.
pub struct Deployment {
    pub dir: TempDir,
}

pub struct Running {
    pub address: ServiceAddress,
    pub ops: Option<ServiceAddress>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), DaemonError>>,
}

impl Deployment {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certs::init(&dir.path().join("trust"), &["gateway", "catalog", "launcher"]).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> ServiceConfig {
        let root = self.dir.path();
        ServiceConfig::under("catalog", &root.join("run"), root, &root.join("trust"))
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.dir.path().join("trust").join(name)).unwrap()
    }

    pub fn catalog(&self, config: &ServiceConfig) -> Daemon {
        Daemon::new("catalog", config).unwrap().service(CatalogServiceServer::new(Doing))
    }

    pub async fn start(&self) -> Running {
        Running::of(self.catalog(&self.config()).bind().await.unwrap())
    }

    /// A client that calls as `peer`, for no one.
    pub fn channel(&self, running: &Running, peer: &str) -> Channel {
        connect(&running.address, &self.identity(peer), "catalog")
    }

    /// A client that calls as the gateway, for alice.
    pub fn client(&self, running: &Running) -> CatalogServiceClient<Channel> {
        let gateway = self.identity("gateway");
        let alice = Caller::account("111111111111", "alice");
        let channel = connect(&running.address, &gateway, "catalog");
        CatalogServiceClient::new(channel.acting(&gateway.signer().unwrap(), &alice))
    }
}

impl Running {
    pub fn of(bound: Bound) -> Self {
        let (address, ops) = (bound.address().clone(), bound.ops_address().cloned());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(bound.run(async { drop(stopped.await) }));
        Self { address, ops, stop: Some(stop), ended }
    }

    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn end(mut self) -> Result<(), DaemonError> {
        self.ask_to_stop();
        self.ended.await.unwrap()
    }

    /// How it ends by itself.
    pub async fn ended(self) -> Result<(), DaemonError> {
        let answer = self.ended.await.unwrap();
        drop(self.stop);
        answer
    }
}

pub fn doing(what: &str) -> UpdateImageRequest {
    UpdateImageRequest { description: Some(what.to_owned()), ..UpdateImageRequest::default() }
}
