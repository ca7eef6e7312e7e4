//! Refusals as they go out.

use http::{Method, Response};
use tonic::body::Body;
use vmint_ec2::{Reply, s3::S3Error};

use crate::ec2::{head::Head, sent};

/// A refusal; the answer to a HEAD has no body.
pub(super) fn refusal(error: &S3Error, head: &Head, request_id: &str) -> Response<Body> {
    let mut reply = Reply::s3_error(error, request_id);
    if head.parts.method == Method::HEAD {
        reply.body.clear();
    }
    let mut response = sent(reply);
    // What is left of a body that was not read is not worth waiting for.
    if head.parts.method == Method::PUT {
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert(http::header::CONNECTION, close);
    }
    response
}
