//! One job of opening an image: what it may cost, and whether it goes on.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{ImageError, Limits};

/// Asked now and then with the bytes worked through so far; `false` ends the job.
pub(crate) type Watch<'a> = &'a dyn Fn(u64) -> bool;

/// The limits of a job and the processor time it has had.
pub(crate) struct Work<'a> {
    pub(crate) limits: &'a Limits,
    watch: Option<Watch<'a>>,
    began: Duration,
    done: Cell<u64>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(limits: &'a Limits, watch: Option<Watch<'a>>) -> Self {
        Self { limits, watch, began: cpu(), done: Cell::new(0) }
    }

    /// Goes on, unless the time is up or nobody wants the result any more.
    ///
    /// Called once a table or a buffer, so that asking costs nothing beside the work.
    pub(crate) fn tick(&self, done: u64) -> Result<(), ImageError> {
        self.done.set(done);
        self.again()
    }

    /// As [`Self::tick`], where nothing is known of progress.
    pub(crate) fn again(&self) -> Result<(), ImageError> {
        if cpu().saturating_sub(self.began) > self.limits.max_cpu {
            return Err(ImageError::TooSlow { limit: self.limits.max_cpu });
        }
        match self.watch {
            Some(watch) if !watch(self.done.get()) => Err(ImageError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Accounts for `bytes` of tables held at once.
    pub(crate) fn afford(&self, bytes: u64, hint: &'static str) -> Result<(), ImageError> {
        let limit = self.limits.max_memory;
        if bytes > limit { Err(ImageError::TooComplex { limit, hint }) } else { Ok(()) }
    }
}

/// The processor time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
