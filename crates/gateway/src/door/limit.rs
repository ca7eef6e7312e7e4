//! How fast one account may call.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::GatewayError;

/// Full buckets are forgotten when there are more than this.
const KEEP: usize = 10_000;

/// A bucket of tokens for each account; a call takes one.
#[derive(Debug)]
pub(crate) struct Buckets {
    per_second: f64,
    burst: f64,
    levels: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Buckets {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second: per_second.max(0.1), burst: burst.max(1.0), levels: Mutex::default() }
    }

    pub(crate) fn take(&self, account: &str) -> Result<(), GatewayError> {
        self.take_at(account, Instant::now())
    }

    fn take_at(&self, account: &str, now: Instant) -> Result<(), GatewayError> {
        let mut levels = self.levels.lock();
        if levels.len() > KEEP {
            levels.retain(|_, (left, at)| self.level(*left, *at, now) < self.burst);
        }
        let (left, at) = levels.entry(account.to_owned()).or_insert((self.burst, now));
        let level = self.level(*left, *at, now);
        if level < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - level) / self.per_second);
            return Err(GatewayError::TooFast { account: account.to_owned(), wait });
        }
        (*left, *at) = (level - 1.0, now);
        Ok(())
    }

    fn level(&self, left: f64, at: Instant, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        (left + gained).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_refills_and_is_nobody_elses() {
        let buckets = Buckets::new(2.0, 3.0);
        let start = Instant::now();
        for _ in 0..3 {
            buckets.take_at("1", start).unwrap();
        }
        let refused = buckets.take_at("1", start).unwrap_err();
        assert!(
            matches!(refused, GatewayError::TooFast { wait, .. } if wait == Duration::from_millis(500))
        );
        buckets.take_at("2", start).unwrap();
        buckets.take_at("1", start + Duration::from_millis(500)).unwrap();
        assert!(buckets.take_at("1", start + Duration::from_millis(501)).is_err());
    }
}
