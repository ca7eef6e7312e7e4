//! Calls of one service's public methods, passed on as bytes.

use http::{HeaderMap, Request, Response};
use tonic::{Status, body::Body};
use tower::{Service as _, ServiceExt as _};
use vmint_rpc::Caller;

use crate::{GatewayError, peers::Peers};

/// What concerns one connection and no further one.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Passes `request` on to `service` for `caller`, and its answer back, both as
/// they come: streams, trailers and all.
pub(super) async fn forward(
    peers: &Peers,
    service: &'static str,
    caller: &Caller,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let mut onward = Request::new(body);
    // The channel says to whom; only the path is the caller's.
    *onward.uri_mut() =
        parts.uri.path().parse().map_err(|_| Status::invalid_argument("the path can't be read"))?;
    *onward.version_mut() = http::Version::HTTP_2;
    *onward.method_mut() = parts.method;
    strip(&mut parts.headers);
    *onward.headers_mut() = parts.headers;
    let missing = || GatewayError::Unreachable { service, text: "it is not configured".to_owned() };
    let mut channel = peers.acting(service, caller).ok_or_else(missing)?;
    let mut response = channel.ready().await?.call(onward).await?;
    strip(response.headers_mut());
    Ok(response)
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
