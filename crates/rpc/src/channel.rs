//! How a service is reached.

use std::{
    error::Error,
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::{
    Status, TimeoutExpired,
    body::Body,
    transport::{Channel as Transport, Endpoint},
};
use tower::{Service, service_fn};

use crate::{
    Caller, ContextSigner, Identity, MAX_FRAME_BYTES, Policies, REQUEST_ID_HEADER, Refusal,
    ServiceAddress, Socket, chain, current, dns_name, peer_name,
};

/// What a call may take unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a connection may take, handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How much may be under way in one stream, and in all of them.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A connection to one service, made when first used and again when lost.
///
/// Generated clients take it: `CatalogServiceClient::new(channel)`. Each unary
/// call gets a deadline, 10 s unless told, never later than that of the call
/// being served; streams have one only if the request sets it. Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    inner: Transport,
    service: Arc<str>,
    deadline: Duration,
    acting: Option<Arc<(ContextSigner, Caller)>>,
    bearer: Option<HeaderValue>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A channel to the service named `expected`, as `identity`, over mTLS.
///
/// It connects lazily. A server whose certificate names another service is
/// refused.
#[must_use]
pub fn connect(address: &ServiceAddress, identity: &Identity, expected: &str) -> Channel {
    let connector = TlsConnector::from(identity.client());
    let (address, service) = (address.clone(), Arc::<str>::from(expected));
    let name = service.clone();
    let dial = move |_: Uri| {
        let (connector, address, name) = (connector.clone(), address.clone(), name.clone());
        in_time(async move { shake_hands(&connector, address.dial().await?, &name).await })
    };
    let inner = endpoint(expected).connect_with_connector_lazy(service_fn(dial));
    Channel { inner, service, deadline: DEADLINE, acting: None, bearer: None }
}

/// A channel without TLS, for the gateway's public port on a trusted network.
#[must_use]
pub fn connect_plain(address: &ServiceAddress, service: &str) -> Channel {
    let dialled = address.clone();
    let dial = move |_: Uri| {
        let address = dialled.clone();
        in_time(async move { address.dial().await })
    };
    let inner = endpoint(service).connect_with_connector_lazy(service_fn(dial));
    Channel { inner, service: service.into(), deadline: DEADLINE, acting: None, bearer: None }
}

impl Channel {
    /// Calls for `caller`: each gets a context signed for this service and the
    /// method's action, and the caller's request id.
    #[must_use]
    pub fn acting(&self, signer: &ContextSigner, caller: &Caller) -> Self {
        let acting = Some(Arc::new((signer.clone(), caller.clone())));
        Self { acting, ..self.clone() }
    }

    /// Calls with this session token, as the gateway's public port wants it.
    ///
    /// None if `token` has characters that no token has.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Option<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self { bearer: Some(value), ..self.clone() })
    }

    /// Unary calls may take this long.
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The service at the other end.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Puts what every call carries into its headers.
    fn prepare(&self, path: &str, headers: &mut HeaderMap) {
        let policy = Policies::ours().of(path);
        if let Some((signer, caller)) = self.acting.as_deref() {
            let action = policy.map_or("", |policy| policy.action.as_str());
            signer.stamp(headers, caller, &self.service, action);
        }
        if let Some(bearer) = &self.bearer {
            headers.insert(http::header::AUTHORIZATION, bearer.clone());
        }
        let of_caller = self.acting.as_ref().map(|acting| acting.1.request_id.clone());
        if let Some(id) = of_caller.or_else(current::request_id)
            && let Ok(value) = HeaderValue::try_from(id)
        {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        if headers.contains_key("grpc-timeout") || policy.is_some_and(|p| p.streaming) {
            return;
        }
        let left = current::time_left().map_or(self.deadline, |left| left.min(self.deadline));
        // At most eight digits; a day is enough for anyone.
        let millis = left.as_millis().min(86_400_000);
        if let Ok(value) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert("grpc-timeout", value);
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(|error| fault_of(&self.service, &error))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        self.prepare(&path, request.headers_mut());
        let service = self.service.clone();
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(|error| fault_of(&service, &error)) })
    }
}

/// A transport's error as a status that says which service it was.
fn fault_of(service: &str, error: &(dyn Error + 'static)) -> Status {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return Refusal::TooSlow { service: service.to_owned() }.into();
        }
        cause = error.source();
    }
    Refusal::Unreachable { service: service.to_owned(), text: chain(error) }.into()
}

fn endpoint(service: &str) -> Endpoint {
    // TLS is the connector's business, so the scheme is plain.
    let uri = format!("http://{}", dns_name(service));
    Endpoint::from_shared(uri)
        .unwrap_or_else(|_| Endpoint::from_static("http://service.vmint.internal"))
        .connect_timeout(CONNECT)
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(false)
}

async fn in_time(dial: impl Future<Output = io::Result<Socket>>) -> io::Result<TokioIo<Socket>> {
    timeout(CONNECT, dial).await.map_err(|_| io::ErrorKind::TimedOut)?.map(TokioIo::new)
}

async fn shake_hands(
    connector: &TlsConnector,
    socket: Socket,
    expected: &str,
) -> io::Result<Socket> {
    let name = ServerName::try_from(dns_name(expected)).map_err(io::Error::other)?;
    let stream = connector.connect(name, socket).await?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(|chain| chain.first()).and_then(peer_name);
    if shown.as_deref() != Some(expected) {
        let text = format!("the server is not `{expected}` by its certificate");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(Box::new(stream))
}
