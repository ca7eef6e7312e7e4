//! How streams end, and what is counted of them.
#![allow(clippy::unwrap_used)] // a helper may fail its test

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn};
use vmint_rpc::{Caller, ContextSigner, ContextVerifier, GuardLayer, Observer, Peer, Policies};

const WATCH: &str = "/vmint.launcher.v1.LauncherService/WatchInstance";

#[derive(Default)]
struct Counts(Mutex<Vec<Code>>);

impl Observer for Counts {
    fn started(&self, _: &str) {}
    fn handled(&self, _: &str, code: Code, _: Duration) {
        self.0.lock().unwrap().push(code);
    }
}

impl Counts {
    fn seen(&self) -> Vec<Code> {
        self.0.lock().unwrap().clone()
    }
}

fn data() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"message"))
}

fn trailers(code: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    Frame::trailers(trailers)
}

/// The guarded answer of a handler that streams what `frame` makes of 0, 1, 2…
async fn watch(counts: &Arc<Counts>, frame: fn(u32) -> Option<Frame<Bytes>>) -> Body {
    let signer = ContextSigner::new(&[7; 32]);
    let verifier = ContextVerifier::new(&signer.public(), "launcher").unwrap();
    let layer = GuardLayer::new(Policies::ours().clone(), verifier).observed_by(counts.clone());
    let handler = service_fn(move |_: Request<Body>| async move {
        let frames = stream::iter(0..).map(frame).take_while(|f| std::future::ready(f.is_some()));
        let body = Body::new(StreamBody::new(
            frames.map(|frame| frame.ok_or_else(|| Status::internal("no frame"))),
        ));
        Ok::<_, Infallible>(Response::new(body))
    });
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = WATCH.parse().unwrap();
    let peer = Peer { service: Some("gateway".to_owned()), address: String::new() };
    request.extensions_mut().insert(peer);
    let action = &Policies::ours().of(WATCH).unwrap().action;
    let alice = Caller::account("111111111111", "alice");
    signer.stamp(request.headers_mut(), &alice, "launcher", action);
    layer.layer(handler).oneshot(request).await.unwrap().into_body()
}

#[tokio::test]
async fn a_stream_is_counted_when_it_ends_by_its_code() {
    let counts = Arc::new(Counts::default());
    let frame = |n| match n {
        0 | 1 => Some(data()),
        2 => Some(trailers("5")),
        _ => None,
    };
    let body = watch(&counts, frame).await;
    assert_eq!(counts.seen(), []);
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 14);
    assert_eq!(counts.seen(), [Code::NotFound]);
}

#[tokio::test]
async fn a_stream_that_is_left_is_counted_as_cancelled() {
    let counts = Arc::new(Counts::default());
    let mut body = watch(&counts, |_| Some(data())).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(counts.seen(), [Code::Cancelled]);
}

#[tokio::test]
async fn a_panic_midway_ends_the_stream_with_a_status() {
    let counts = Arc::new(Counts::default());
    let frame = |n| {
        assert!(n < 2, "secret words");
        Some(data())
    };
    let collected = watch(&counts, frame).await.collect().await.unwrap();
    let status = Status::from_header_map(collected.trailers().unwrap()).unwrap();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("secret"));
    assert_eq!(collected.to_bytes().len(), 14);
    assert_eq!(counts.seen(), [Code::Internal]);
}
