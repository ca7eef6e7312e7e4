//! What must not be swept although no root list names it: open trees, sessions under way, and
//! results not yet recorded by who asked for them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{Domain, Root};

#[derive(Debug)]
struct Held {
    /// Chunks touched in this epoch or later stay.
    since: Option<u32>,
    root: Option<(Domain, Root)>,
}

#[derive(Debug)]
pub(crate) struct Pins {
    epoch: AtomicU32,
    held: Mutex<(u64, HashMap<u64, Held>)>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { epoch: AtomicU32::new(1), held: Mutex::default() }
    }
}

impl Pins {
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    fn hold(self: &Arc<Self>, held: impl FnOnce(&Self) -> Held) -> Pin {
        let mut all = self.held.lock();
        all.0 += 1;
        let number = all.0;
        let held = held(self);
        all.1.insert(number, held);
        Pin(Arc::new(Hold { pins: self.clone(), number }))
    }

    /// Keeps everything touched from now on.
    pub(crate) fn session(self: &Arc<Self>) -> Pin {
        self.hold(|pins| Held { since: Some(pins.epoch()), root: None })
    }

    /// Keeps everything under a root.
    pub(crate) fn root(self: &Arc<Self>, domain: Domain, root: Root) -> Pin {
        self.hold(|_| Held { since: None, root: Some((domain, root)) })
    }

    /// Begins a new epoch: its number, and the earliest one a session under way still needs.
    pub(crate) fn advance(&self) -> (u32, u32) {
        let all = self.held.lock();
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        (epoch, all.1.values().filter_map(|held| held.since).fold(epoch, u32::min))
    }

    pub(crate) fn roots(&self) -> Vec<(Domain, Root)> {
        self.held.lock().1.values().filter_map(|held| held.root).collect()
    }
}

/// Keeps chunks from being collected while it lives. Clones share one hold.
#[derive(Clone)]
pub struct Pin(#[allow(dead_code, reason = "held for its drop")] Arc<Hold>);

struct Hold {
    pins: Arc<Pins>,
    number: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pins.held.lock().1.remove(&self.number);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}
