//! The one public door: gRPC and plain HTTP on one port.

mod auth;
mod forward;
mod http;
mod limit;
mod reflection;
mod serve;
#[cfg(test)]
mod tests;
mod trace;
mod watched;

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
    time::Duration,
};

use ::http::{HeaderMap, HeaderValue, Request, Response, Version, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, service::Routes};
use tower::{Service as _, ServiceExt as _};
use tracing::Instrument as _;
use vmint_api::gateway::v1::{
    gateway_service_server::GatewayServiceServer, region_service_server::RegionServiceServer,
};
use vmint_daemon::{Metrics, Readiness};
use vmint_rpc::{Caller, Observer, Policies, Policy, REQUEST_ID_HEADER, Refusal};

pub(crate) use auth::Sessions;
pub(crate) use limit::Buckets;
pub(crate) use reflection::{open_routes, public_services};
pub(crate) use serve::serve;

use crate::{GatewayError, ec2::Front, grpc::Grpc, ops::nearest, peers::Peers};
use watched::Watched;

/// The package the gateway serves itself.
const OWN: &str = "gateway";
/// What it serves to other regions.
const REGIONS: &str = "/vmint.gateway.v1.RegionService/";

/// What stands between a connection and the services. Shared by all of them.
pub(crate) struct Door {
    pub(crate) peers: Peers,
    pub(crate) own: GatewayServiceServer<Grpc>,
    /// What other regions ask.
    pub(crate) regions: RegionServiceServer<Grpc>,
    /// Reflection and health: no token needed.
    pub(crate) open: Routes,
    pub(crate) sessions: Sessions,
    pub(crate) buckets: Arc<Buckets>,
    /// Takes what speaks EC2's protocols.
    pub(crate) ec2: Arc<Front>,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    /// Cancelled at shutdown; streams end then.
    pub(crate) draining: CancellationToken,
    /// What a unary call may take.
    pub(crate) longest: Duration,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Door {
    /// Answers one request that came from `source`.
    pub(crate) async fn answer(&self, request: Request<Incoming>, source: &str) -> Response<Body> {
        let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        if !grpc && Front::takes(&request) {
            let request_id = trace::request_id(request.headers());
            return self.ec2.answer(request, request_id, source).await;
        }
        if !grpc || request.version() != Version::HTTP_2 {
            return self.plain(&request, grpc);
        }
        let mut request = request.map(Body::new);
        let request_id = trace::request_id(request.headers());
        clean(request.headers_mut());
        let path = request.uri().path().to_owned();
        let span = tracing::info_span!("call", %request_id, method = %path, %source);
        let work = self.grpc(request, &path, &request_id, source);
        let mut response = work.instrument(span).await;
        response.headers_mut().remove("x-vmint-caller-bin");
        if let Ok(value) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert(REQUEST_ID_HEADER, value);
        }
        response
    }

    async fn grpc(
        &self,
        request: Request<Body>,
        path: &str,
        request_id: &str,
        source: &str,
    ) -> Response<Body> {
        if reflection::is_open(path) {
            return answered(self.open.clone().oneshot(request).await);
        }
        let Some((service, policy)) = public(path) else {
            let nearest = nearest(path, PUBLIC_PATHS.iter().map(String::as_str));
            let (path, nearest) = (path.chars().take(200).collect(), nearest.map(str::to_owned));
            let unknown = async { GatewayError::UnknownMethod { path, nearest }.into() };
            return Status::into_http(vmint_rpc::within(request_id, None, unknown).await);
        };
        let allowed = trace::allowed_time(request.headers(), self.longest, policy.streaming);
        let deadline = allowed.map(|time| Instant::now() + time);
        self.metrics.started(path);
        let begun = std::time::Instant::now();
        let work = async {
            let answer = self.admitted(request, service, &policy, request_id, source);
            let answer = match deadline {
                None => answer.await,
                Some(deadline) => match timeout_at(deadline, answer).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        Err(Refusal::Deadline { allowed: allowed.unwrap_or_default() }.into())
                    }
                },
            };
            answer.unwrap_or_else(Status::into_http)
        };
        let response = vmint_rpc::within(request_id, deadline, work).await;
        let draining = policy.streaming.then(|| self.draining.clone());
        Watched::over(response, self.metrics.clone(), path, begun, draining)
    }

    /// Answers a call of a public method, if its caller may make it.
    async fn admitted(
        &self,
        mut request: Request<Body>,
        service: &'static str,
        policy: &Policy,
        request_id: &str,
        source: &str,
    ) -> Result<Response<Body>, Status> {
        let path = policy.path.as_str();
        let session = self.sessions.of(&self.peers, request.headers(), request_id).await;
        let caller = match session {
            Ok(session) => {
                if policy.operator_only && !session.operator {
                    return Err(GatewayError::OperatorOnly { path: path.to_owned() }.into());
                }
                if policy.mutates && session.read_only {
                    return Err(GatewayError::ReadOnly { path: path.to_owned() }.into());
                }
                session.caller(request_id, source)
            }
            Err(_) if policy.open => Caller {
                request_id: request_id.to_owned(),
                source: source.to_owned(),
                ..Caller::service(vmint_rpc::GATEWAY)
            },
            Err(status) => return Err(status),
        };
        self.buckets.take(&caller.account)?;
        request.headers_mut().remove(::http::header::AUTHORIZATION);
        let (parts, body) = request.into_parts();
        let (body, oversize) = vmint_rpc::bounded(body);
        let mut request = Request::from_parts(parts, body);
        if service == OWN {
            request.extensions_mut().insert(caller);
            let answer = if path.starts_with(REGIONS) {
                self.regions.clone().call(request).await
            } else {
                self.own.clone().call(request).await
            };
            return Ok(answered(answer));
        }
        let answer = forward::forward(&self.peers, service, &caller, request).await;
        // What the service makes of a request that was cut off says nothing.
        if let Some(refusal) = oversize.refusal() {
            return Err(refusal.into());
        }
        let answer = answer?;
        match path.strip_prefix("/vmint.permissions.v1.PermissionsService/") {
            Some("RevokeSession") => self.sessions.forget_all(),
            Some("UpdateAccessKey" | "DeleteAccessKey") => self.ec2.keys.forget_all(),
            _ => {}
        }
        Ok(answer)
    }
}

/// The service that serves a public method, and the method's policy.
fn public(path: &str) -> Option<(&'static str, Arc<Policy>)> {
    let policy = Policies::ours().of(path)?;
    let (full, _) = path.strip_prefix('/')?.split_once('/')?;
    if !reflection::is_public(full) {
        return None;
    }
    let package = full.strip_prefix("vmint.")?.split('.').next()?;
    let known = crate::peers::SERVICES.into_iter().chain([OWN]);
    Some((known.into_iter().find(|name| *name == package)?, policy.clone()))
}

/// The paths of all public methods, to guess from.
static PUBLIC_PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = Policies::ours().iter().map(|policy| policy.path.clone());
    all.filter(|path| public(path).is_some()).collect()
});

/// Takes out whatever speaks of identity, so that nobody can lend one.
fn clean(headers: &mut HeaderMap) {
    const PREFIXES: [&str; 6] =
        ["x-vmint-", "x-caller-", "x-account", "x-principal", "x-amzn-", "x-forwarded-"];
    let forged = headers.keys().filter(|name| {
        PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
            || name.as_str() == REQUEST_ID_HEADER
    });
    for name in forged.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn answered(answer: Result<Response<Body>, Infallible>) -> Response<Body> {
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
