//! A running marketplace and whoever calls it.
#![allow(dead_code, unreachable_pub, clippy::pedantic, reason = "each test uses some of it")]

use std::str::FromStr as _;

use tokio::{net::TcpListener, sync::oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Server},
};
use vmint_api::marketplace::v1::{
    marketplace_internal_service_client::MarketplaceInternalServiceClient,
    marketplace_internal_service_server::MarketplaceInternalServiceServer,
    marketplace_service_client::MarketplaceServiceClient,
    marketplace_service_server::MarketplaceServiceServer,
};
use vmint_api::types::v1::SagaStep;
use vmint_marketplace::{Grpc, Internal, Marketplace};
use vmint_rpc::{Caller, CallerKind, Fault, Seen};

pub struct Running {
    pub users: MarketplaceServiceClient<Channel>,
    pub internal: MarketplaceInternalServiceClient<Channel>,
    pub market: Marketplace,
    _stop: oneshot::Sender<()>,
}

/// Stands in for the guard: believes what the test says of the caller.
fn believe(mut request: Request<()>) -> Result<Request<()>, Status> {
    let text = |name| request.metadata().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut caller = Caller::account(text("test-account").unwrap_or_default(), "alice");
    if text("test-operator").is_some() {
        caller.kind = CallerKind::Operator;
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

pub async fn start(market: Marketplace) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let grpc = Grpc::new(market.clone());
    let server = Server::builder()
        .add_service(MarketplaceServiceServer::with_interceptor(grpc, believe))
        .add_service(MarketplaceInternalServiceServer::new(Internal::new(market.clone())))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            drop(stopped.await);
        });
    tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    Running {
        users: MarketplaceServiceClient::new(channel.clone()),
        internal: MarketplaceInternalServiceClient::new(channel),
        market,
        _stop: stop,
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

pub fn saga(id: &str, epoch: u64) -> Option<SagaStep> {
    Some(SagaStep { saga_id: id.into(), step: "test".into(), epoch })
}

pub fn seen(status: &Status) -> Seen {
    let seen = Fault::from_status(status);
    assert_eq!(seen.domain, "marketplace.vmint", "{status:?}");
    seen
}

pub fn reason(status: &Status) -> String {
    seen(status).reason
}
