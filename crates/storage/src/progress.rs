//! How far snapshots are that are being made.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use vmint_ids::SnapshotId;

use crate::snapshot::Far;

/// Of each snapshot that this process is making.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllProgress(Arc<Mutex<HashMap<SnapshotId, Weak<Progress>>>>);

/// How far one of them is, in bytes.
#[derive(Debug)]
pub(crate) struct Progress {
    whole: AtomicU64,
    reached: AtomicU64,
    started: Instant,
}

impl AllProgress {
    /// Where whoever makes `id` notes how far it is; forgotten when dropped.
    pub(crate) fn of(&self, id: SnapshotId) -> Arc<Progress> {
        let progress = Arc::new(Progress::new());
        let mut all = self.0.lock();
        all.retain(|_, one| one.strong_count() > 0);
        all.insert(id, Arc::downgrade(&progress));
        progress
    }

    /// How far it is; nothing for what nobody makes.
    pub(crate) fn far(&self, id: SnapshotId) -> Far {
        let progress = self.0.lock().get(&id).and_then(Weak::upgrade);
        progress.map(|progress| progress.far()).unwrap_or_default()
    }
}

impl Progress {
    fn new() -> Self {
        let (whole, reached) = Default::default();
        Self { whole, reached, started: Instant::now() }
    }

    pub(crate) fn whole(&self, bytes: u64) {
        self.whole.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn reached(&self, more: u64) {
        self.reached.fetch_add(more, Ordering::Relaxed);
    }

    /// Says how far it is, in bytes from the start.
    pub(crate) fn at(&self, bytes: u64) {
        self.reached.store(bytes, Ordering::Relaxed);
    }

    fn far(&self) -> Far {
        let whole = self.whole.load(Ordering::Relaxed).max(1);
        // What is read twice counts twice.
        let done_bytes = self.reached.load(Ordering::Relaxed).min(whole);
        let percent = u8::try_from((done_bytes.saturating_mul(100) / whole).min(99)).unwrap_or(99);
        let seconds_left = match done_bytes {
            0 => 0,
            done => {
                let took = self.started.elapsed().as_millis();
                let left = took * u128::from(whole - done) / u128::from(done);
                u64::try_from(left.div_ceil(1000)).unwrap_or(u64::MAX)
            }
        };
        Far { percent, done_bytes, seconds_left }
    }
}
