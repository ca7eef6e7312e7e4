//! What the door answers to those who do not speak gRPC.
//!
//! Faces that speak HTTP (the EC2 protocols, the console) are added here, by
//! method, content type and path.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tonic::body::Body;

use super::Door;

impl Door {
    pub(super) fn plain(&self, request: &Request<Incoming>, grpc: bool) -> Response<Body> {
        if grpc {
            return text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2 here\n");
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" if reads => {
                let (method, path) = (request.method(), request.uri().path());
                vmint_daemon::ops::respond(method, path, &self.metrics, &self.readiness)
                    .map(Body::new)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "This is a vmint gateway. It speaks gRPC here (reflection is on: try \
                 `grpcurl -plaintext HOST:PORT list`) and EC2's protocols (set a client's \
                 endpoint URL to this address), and answers GET /healthz and GET /readyz.\n",
            ),
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
