//! Who reads ahead, and how far who asks has come.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::Key;

/// How many chunks may be asked for out of turn: a boot does not read twice in the same order.
const SLACK: u64 = 64;

/// What was read ahead for one reader, in order.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    next: AtomicU64,
    /// Behind the last one that was asked for.
    reached: AtomicU64,
    held: Mutex<VecDeque<(u64, Key)>>,
}

impl Lease {
    /// The next one's place in the order.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn hold(&self, order: u64, key: Key) {
        self.held.lock().push_back((order, key));
    }

    pub(super) fn asked(&self, order: u64) {
        self.reached.fetch_max(order + 1, Ordering::Relaxed);
    }

    /// Those that were passed by: others, long behind them, have been asked for.
    pub(super) fn passed_by(&self) -> Vec<Key> {
        let reached = self.reached.load(Ordering::Relaxed);
        let mut held = self.held.lock();
        let mut passed = Vec::new();
        while held.front().is_some_and(|(order, _)| *order + SLACK < reached) {
            passed.extend(held.pop_front().map(|(_, key)| key));
        }
        passed
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Key> {
        self.held.lock().drain(..).map(|(_, key)| key).collect()
    }
}
