//! Connections at the door.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use vmint_daemon::Listener;
use vmint_rpc::MAX_FRAME_BYTES;

use super::Door;

/// Who connects must ask for something within this.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
const HEADERS: u32 = 16 << 10;

/// Serves until the door drains; then gives what runs `drain` to end.
pub(crate) async fn serve(
    listener: Listener,
    door: Arc<Door>,
    connections_at_most: usize,
    streams_at_most: u32,
    drain: Duration,
) {
    let builder = Arc::new(protocols(streams_at_most));
    let open = Arc::new(Semaphore::new(connections_at_most));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let permit = open.clone().acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = door.draining.cancelled() => break,
            next = next => next,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely; they come back.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let source: Arc<str> =
            from.map_or_else(|| "unix".to_owned(), |from| from.ip().to_string()).into();
        let (door, asked) = (door.clone(), Arc::new(AtomicBool::new(false)));
        let seen = asked.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            let (door, source) = (door.clone(), source.clone());
            async move { Ok::<_, Infallible>(door.answer(request, &source).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(socket), answer).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let _permit = permit;
            let mut connection = std::pin::pin!(connection);
            let done = timeout(FIRST_REQUEST, &mut connection).await;
            if done.is_err() && asked.load(Ordering::Relaxed) {
                // Whoever hangs up, hangs up.
                let _ = connection.await;
            }
        });
    }
    drop(listener);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("calls still running are cut off");
    }
    connections.shutdown().await;
}

fn protocols(streams_at_most: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_REQUEST)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(streams_at_most)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(64)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
