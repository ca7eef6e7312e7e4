//! How far snapshots are that are being made.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use vmint_ids::SnapshotId;

/// Of each snapshot that this process is making.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllProgress(Arc<Mutex<HashMap<SnapshotId, Weak<Progress>>>>);

/// How far one of them is, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    whole: AtomicU64,
    reached: AtomicU64,
}

impl AllProgress {
    /// Where whoever makes `id` notes how far it is; forgotten when dropped.
    pub(crate) fn of(&self, id: SnapshotId) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        let mut all = self.0.lock();
        all.retain(|_, one| one.strong_count() > 0);
        all.insert(id, Arc::downgrade(&progress));
        progress
    }

    /// In percent, 0 to 99; 0 for what nobody makes.
    pub(crate) fn percent(&self, id: SnapshotId) -> u8 {
        let progress = self.0.lock().get(&id).and_then(Weak::upgrade);
        progress.map_or(0, |progress| progress.percent())
    }
}

impl Progress {
    pub(crate) fn whole(&self, bytes: u64) {
        self.whole.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn reached(&self, more: u64) {
        self.reached.fetch_add(more, Ordering::Relaxed);
    }

    fn percent(&self) -> u8 {
        let whole = self.whole.load(Ordering::Relaxed).max(1);
        // What is read twice counts twice.
        let percent = self.reached.load(Ordering::Relaxed).saturating_mul(100) / whole;
        u8::try_from(percent.min(99)).unwrap_or(99)
    }
}
