//! Asking again.

use std::time::Duration;

use tonic::{Code, Status};

use crate::{Fault, current};

/// How often and how soon to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often to ask at most, the first time included.
    pub attempts: u32,
    /// The pause after the first refusal; it doubles after each.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    /// Five times within about a second.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_secs(1) }
    }
}

impl Retry {
    /// Until a restarted service is back: twelve times within about fifteen seconds.
    #[must_use]
    pub fn through_restart() -> Self {
        Self { attempts: 12, first: Duration::from_millis(50), longest: Duration::from_secs(2) }
    }

    /// The pause after refusal `n`, counted from 0, at most half of it shaved off by chance.
    fn pause(&self, n: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << n.min(20)).min(self.longest);
        doubled.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Makes a call again while the service is unavailable.
///
/// For calls that are idempotent only: reads, and mutations that carry a
/// `request_id` or a saga step. The last refusal is returned when the attempts
/// are used up, or when the call being served would end before the next one.
pub async fn retry<T, F, R>(plan: Retry, mut call: F) -> Result<T, Status>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, Status>>,
{
    let mut n = 0;
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let pause = plan.pause(n).max(Fault::from_status(&status).retry_after.unwrap_or_default());
        n += 1;
        let late = current::time_left().is_some_and(|left| left <= pause);
        if !passes(&status) || n >= plan.attempts || late {
            return Err(status);
        }
        tracing::debug!(code = ?status.code(), attempt = n, ?pause, "asking again");
        tokio::time::sleep(pause).await;
    }
}

/// Whether the refusal is one that passes.
fn passes(status: &Status) -> bool {
    // A status with a source was made here, from a connection that broke off.
    let broken = std::error::Error::source(status).is_some()
        && matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled);
    status.code() == Code::Unavailable || broken
}
