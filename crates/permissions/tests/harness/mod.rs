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
use vmint_api::permissions::v1::{
    permissions_internal_service_client::PermissionsInternalServiceClient,
    permissions_internal_service_server::PermissionsInternalServiceServer,
    permissions_service_client::PermissionsServiceClient,
    permissions_service_server::PermissionsServiceServer,
};
use vmint_api::types::v1::SagaStep;
use vmint_permissions::{Grpc, Internal, Permissions, WrappingKey};
use vmint_rpc::{Caller, CallerKind, Fault};
use vmint_store::Store;

pub struct Running {
    pub users: PermissionsServiceClient<Channel>,
    pub internal: PermissionsInternalServiceClient<Channel>,
    server: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Running {
    /// Ends it, so that its store can be opened again.
    pub async fn stop(self) {
        let Self { users, internal, server, stop } = self;
        drop((users, internal, stop));
        server.await.unwrap();
    }
}

/// Stands in for the guard: believes what the test says of the caller.
fn believe(mut request: Request<()>) -> Result<Request<()>, Status> {
    let text = |name| request.metadata().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut caller = Caller::account(text("test-account").unwrap_or_default(), "alice");
    if text("test-operator").is_some() {
        caller.kind = CallerKind::Operator;
    }
    caller.session = text("test-session").unwrap_or_default();
    request.extensions_mut().insert(caller);
    Ok(request)
}

pub async fn start(store: Store) -> Running {
    start_with(store, WrappingKey::random()).await
}

pub async fn start_with(store: Store, wrapping: WrappingKey) -> Running {
    let permissions = Permissions::open(store, wrapping, 2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let grpc = Grpc::new(permissions.clone());
    let server = Server::builder()
        .add_service(PermissionsServiceServer::with_interceptor(grpc, believe))
        .add_service(PermissionsInternalServiceServer::new(Internal::new(permissions)))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            drop(stopped.await);
        });
    let server = tokio::spawn(async { server.await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    Running {
        users: PermissionsServiceClient::new(channel.clone()),
        internal: PermissionsInternalServiceClient::new(channel),
        server,
        stop,
    }
}

pub fn from<T>(account: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("test-account", MetadataValue::from_str(account).unwrap());
    request
}

pub fn operator<T>(account: &str, message: T) -> Request<T> {
    let mut request = from(account, message);
    request.metadata_mut().insert("test-operator", MetadataValue::from_static("yes"));
    request
}

pub fn saga(epoch: u64) -> Option<SagaStep> {
    Some(SagaStep { saga_id: "0".repeat(32), step: "test".into(), epoch })
}

pub fn reason(status: &Status) -> String {
    let seen = Fault::from_status(status);
    assert_eq!(seen.domain, "permissions.vmint", "{status:?}");
    seen.reason
}
