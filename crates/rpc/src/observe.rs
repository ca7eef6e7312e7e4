//! What may be counted about calls.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

/// Told about each call that reaches a method, let in or refused.
pub trait Observer: Send + Sync + 'static {
    /// A call to `path` began. Not told of paths that do not exist.
    fn started(&self, path: &str);
    /// It ended after `took`; for a stream, when its last message was sent.
    fn handled(&self, path: &str, code: Code, took: Duration);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn started(&self, _: &str) {}
    fn handled(&self, _: &str, _: Code, _: Duration) {}
}

/// A call that has begun; one that is dropped was cancelled.
pub(crate) struct Call {
    observer: Arc<dyn Observer>,
    path: String,
    began: Instant,
    ended: bool,
    span: tracing::Span,
}

impl Call {
    pub(crate) fn start(observer: Arc<dyn Observer>, path: &str, span: tracing::Span) -> Self {
        observer.started(path);
        Self { observer, path: path.to_owned(), began: Instant::now(), ended: false, span }
    }

    pub(crate) fn end(mut self, code: Code) {
        self.end_once(code);
    }

    fn end_once(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            let took = self.began.elapsed();
            tracing::debug!(parent: &self.span, ?code, ?took, "call ended");
            self.observer.handled(&self.path, code, took);
        }
    }

    /// Ends with the body, by the code in its trailers.
    pub(crate) fn watch(self, inner: Body) -> Body {
        Body::new(Watched { inner, call: self })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_once(Code::Cancelled);
    }
}

/// The code that a call ended with, if these headers or trailers say so.
pub(crate) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

struct Watched {
    inner: Body,
    call: Call,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.call.path).finish_non_exhaustive()
    }
}

impl http_body::Body for Watched {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.call.ended {
            return Poll::Ready(None);
        }
        // A handler's stream runs here, out of the guard's sight.
        let inner = &mut self.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let Ok(polled) = polled else {
            tracing::error!(method = %self.call.path, "a stream's handler panicked");
            self.call.end_once(Code::Internal);
            let mut trailers = HeaderMap::new();
            let status = Status::internal("an internal error occurred");
            drop(status.add_header(&mut trailers));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end_once(code);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                let code = status.code();
                self.call.end_once(code);
            }
            Poll::Ready(None) => self.call.end_once(Code::Ok),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.call.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
