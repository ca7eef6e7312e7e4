//! The call being served by the running task.

use std::{future::Future, sync::Arc};

use tokio::time::{Duration, Instant};

/// The metadata key a request id travels under, both ways.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

#[derive(Debug, Clone)]
struct Current {
    request_id: Arc<str>,
    deadline: Option<Instant>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// Runs `work` as part of the request `request_id`, which must end by `deadline`.
///
/// Faults made and calls sent inside carry the id; calls sent inside end by the
/// deadline. Tasks spawned inside do not inherit it.
pub async fn within<F: Future>(request_id: &str, deadline: Option<Instant>, work: F) -> F::Output {
    CURRENT.scope(Current { request_id: request_id.into(), deadline }, work).await
}

/// The id of the request that this task serves.
#[must_use]
pub fn request_id() -> Option<String> {
    CURRENT.try_with(|c| c.request_id.to_string()).ok()
}

/// How long the request that this task serves may still take.
#[must_use]
pub fn time_left() -> Option<Duration> {
    let deadline = CURRENT.try_with(|c| c.deadline).ok().flatten()?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

/// Draws a request id: 32 hexadecimal digits, not all zero.
#[must_use]
pub fn new_request_id() -> String {
    hex::encode((rand::random::<u128>() | 1).to_be_bytes())
}

/// Whether a text from outside may serve as a request id.
pub(crate) fn is_request_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
