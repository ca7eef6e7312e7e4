//! The small HTTP door for those who watch a process.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::JoinSet, time::timeout};

use crate::{Listener, Metrics, Readiness};

/// How many watchers are served at once.
const MOST: usize = 64;
/// How long one may stay.
const LONGEST: Duration = Duration::from_mins(1);

/// Serves `/metrics`, `/healthz` and `/readyz` over HTTP/1.1 until dropped.
pub async fn serve(listener: Listener, metrics: Metrics, readiness: Readiness) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MOST {
            connections.join_next().await;
        }
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response =
                    respond(request.method(), request.uri().path(), &metrics, &readiness);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(socket), answer);
            // Whoever hangs up, hangs up.
            let _ = timeout(LONGEST, connection).await;
        });
    }
}

/// The answer to one of these paths; 404 to others.
#[must_use]
pub fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, metrics.render()),
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if readiness.is_ready() => (StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", readiness.reason())),
        _ => (StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
