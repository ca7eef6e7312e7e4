//! Whether a process wants work.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

/// Says whether a process wants work, and if not, why. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ready: AtomicBool,
    reason: RwLock<String>,
}

impl Readiness {
    /// Not ready yet.
    #[must_use]
    pub fn new() -> Self {
        let readiness = Self::default();
        readiness.not_ready("starting");
        readiness
    }

    pub fn set_ready(&self) {
        self.shared.ready.store(true, Ordering::Release);
    }

    /// Takes the process out of service for `reason`.
    pub fn not_ready(&self, reason: &str) {
        reason.clone_into(&mut self.shared.reason.write().unwrap_or_else(PoisonError::into_inner));
        self.shared.ready.store(false, Ordering::Release);
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// Why not; of no meaning while ready.
    #[must_use]
    pub fn reason(&self) -> String {
        self.shared.reason.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
