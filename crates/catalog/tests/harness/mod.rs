//! A running service and whoever calls it.
#![allow(dead_code, unreachable_pub, clippy::pedantic, reason = "each test uses some of it")]

use std::str::FromStr as _;

use tokio::{net::TcpListener, sync::oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Server},
};
use vmint_api::catalog::v1 as pb;
use vmint_api::catalog::v1::{
    catalog_internal_service_client::CatalogInternalServiceClient,
    catalog_internal_service_server::CatalogInternalServiceServer,
    catalog_service_client::CatalogServiceClient, catalog_service_server::CatalogServiceServer,
    parameter_internal_service_client::ParameterInternalServiceClient,
    parameter_internal_service_server::ParameterInternalServiceServer,
    parameter_service_client::ParameterServiceClient,
    parameter_service_server::ParameterServiceServer,
};
use vmint_api::types::v1::{BlockDeviceMapping, EbsBlockDevice, SagaStep};
use vmint_catalog::{Catalog, Grpc, Internal};
use vmint_rpc::{Caller, Fault};
use vmint_store::Store;

pub struct Running {
    pub users: CatalogServiceClient<Channel>,
    pub internal: CatalogInternalServiceClient<Channel>,
    pub parameters: ParameterServiceClient<Channel>,
    pub own_parameters: ParameterInternalServiceClient<Channel>,
    server: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Running {
    /// Ends it, so that its store can be opened again.
    pub async fn stop(self) {
        let Self { users, internal, parameters, own_parameters, server, stop } = self;
        drop((users, internal, parameters, own_parameters, stop));
        server.await.unwrap();
    }
}

/// Stands in for the guard: believes what the test says of the caller.
fn believe(mut request: Request<()>) -> Result<Request<()>, Status> {
    let text = |name| request.metadata().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut caller = Caller::account(text("test-account").unwrap_or_default(), "alice");
    if caller.account == ROOT {
        caller.kind = vmint_rpc::CallerKind::Operator;
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

pub async fn start(store: Store) -> Running {
    let catalog = Catalog::open(store).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let grpc = Grpc::new(catalog.clone());
    let server = Server::builder()
        .add_service(CatalogServiceServer::with_interceptor(grpc, believe))
        .add_service(CatalogInternalServiceServer::new(Internal::new(catalog.clone())))
        .add_service(ParameterServiceServer::with_interceptor(Grpc::new(catalog.clone()), believe))
        .add_service(ParameterInternalServiceServer::with_interceptor(
            Internal::new(catalog),
            believe,
        ))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            drop(stopped.await);
        });
    let server = tokio::spawn(async { server.await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    Running {
        users: CatalogServiceClient::new(channel.clone()),
        internal: CatalogInternalServiceClient::new(channel.clone()),
        parameters: ParameterServiceClient::new(channel.clone()),
        own_parameters: ParameterInternalServiceClient::new(channel),
        server,
        stop,
    }
}

pub fn from<T>(account: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("test-account", MetadataValue::from_str(account).unwrap());
    request
}

pub fn saga(id: &str, epoch: u64) -> Option<SagaStep> {
    Some(SagaStep { saga_id: id.into(), step: "test".into(), epoch })
}

pub fn reason(status: &Status) -> String {
    let seen = Fault::from_status(status);
    assert_eq!(seen.domain, "catalog.vmint", "{status:?}");
    seen.reason
}

pub const ANN: &str = "100000000001";
pub const BOB: &str = "200000000002";
/// The operator.
pub const ROOT: &str = "000000000001";

pub fn image_id(n: u64) -> String {
    format!("ami-{n:017x}")
}

/// A whole image of Ann's.
pub fn image(n: u64, name: &str) -> pb::Image {
    let ebs = EbsBlockDevice { snapshot_id: format!("snap-{n:017x}"), ..Default::default() };
    pb::Image {
        image_id: image_id(n),
        name: name.into(),
        owner_id: ANN.into(),
        architecture: pb::Architecture::X8664.into(),
        root_device_name: "/dev/sda1".into(),
        block_device_mappings: vec![BlockDeviceMapping {
            device_name: "/dev/sda1".into(),
            ebs: Some(ebs),
            no_device: false,
        }],
        ..Default::default()
    }
}

pub fn ensure(image: pb::Image) -> pb::EnsureImageRequest {
    pb::EnsureImageRequest { saga: saga("maker", 1), image: Some(image), available: false }
}

/// The same for an image that is whole.
pub fn whole(image: pb::Image) -> pb::EnsureImageRequest {
    pb::EnsureImageRequest { available: true, ..ensure(image) }
}

pub fn state(n: u64, state: pb::ImageState) -> pb::EnsureImageStateRequest {
    pb::EnsureImageStateRequest {
        saga: saga("maker", 1),
        image_id: image_id(n),
        state: state.into(),
        ..Default::default()
    }
}

impl Running {
    /// Makes an image that can be launched.
    pub async fn available(&mut self, image: pb::Image) -> pb::Image {
        let id = image.image_id.clone();
        self.internal.ensure_image(ensure(image)).await.unwrap();
        let request =
            pb::EnsureImageStateRequest { image_id: id, ..state(0, pb::ImageState::Available) };
        self.internal.ensure_image_state(request).await.unwrap().into_inner().image.unwrap()
    }

    /// The names of the images that a query answers, all pages.
    pub async fn names(&mut self, request: pb::QueryImagesRequest) -> Vec<String> {
        let page = self.internal.query_images(request).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.images.into_iter().map(|image| image.name).collect()
    }
}
