//! Answers that are watched to their end.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Bytes;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};
use vmint_daemon::Metrics;
use vmint_rpc::Observer as _;

use crate::GatewayError;

/// A body that says when and how it ended, and ends when all does.
pub(super) struct Watched {
    inner: Body,
    call: Option<Call>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

struct Call {
    metrics: Metrics,
    path: String,
    begun: Instant,
}

impl Call {
    fn end(self, code: Code) {
        self.metrics.handled(&self.path, code, self.begun.elapsed());
    }
}

impl Watched {
    /// Counts the call of `path` when `response` has ended; ends it, as
    /// unavailable, when `draining` is cancelled.
    pub(super) fn over(
        response: Response<Body>,
        metrics: Metrics,
        path: &str,
        begun: Instant,
        draining: Option<CancellationToken>,
    ) -> Response<Body> {
        let call = Call { metrics, path: path.to_owned(), begun };
        if let Some(code) = code_of(response.headers()) {
            call.end(code);
            return response;
        }
        let stop = draining.map(|token| Box::pin(token.cancelled_owned()));
        response.map(|inner| Body::new(Self { inner, call: Some(call), stop, ended: false }))
    }

    fn end(&mut self, code: Code) {
        self.ended = true;
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Whoever asked has gone.
        self.end(Code::Cancelled);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code = code_of(trailers).unwrap_or(Code::Unknown);
                    self.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                // A broken stream is told as gRPC tells it.
                let status = Status::new(status.code(), status.message());
                self.end(status.code());
                return Poll::Ready(Some(trailers(&status)));
            }
            Poll::Ready(None) => self.end(Code::Ok),
            Poll::Pending => {
                if let Some(stop) = self.stop.as_mut()
                    && stop.as_mut().poll(cx).is_ready()
                {
                    self.end(Code::Unavailable);
                    return Poll::Ready(Some(trailers(&GatewayError::Stopping.into())));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value: &HeaderValue| Code::from_bytes(value.as_bytes()))
}
