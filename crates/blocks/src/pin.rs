//! What must not be swept although no root list names it: open trees, sessions under way, and
//! results not yet recorded by who asked for them.

use std::{
    collections::{HashMap, HashSet},
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

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: HashMap<u64, Held>,
    /// While a collection marks: every root held at any moment since it began. One that was let
    /// go may have been built upon, and the result recorded after the roots were listed.
    seen: Option<HashSet<(Domain, Root)>>,
}

#[derive(Debug)]
pub(crate) struct Pins {
    epoch: AtomicU32,
    state: Mutex<State>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { epoch: AtomicU32::new(1), state: Mutex::default() }
    }
}

impl Pins {
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    fn hold(self: &Arc<Self>, held: impl FnOnce(&Self) -> Held) -> Pin {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        let held = held(self);
        if let (Some(seen), Some(root)) = (&mut state.seen, held.root) {
            seen.insert(root);
        }
        state.held.insert(number, held);
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
    /// From now on held roots are remembered.
    pub(crate) fn advance(&self) -> (u32, u32) {
        let mut state = self.state.lock();
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        state.seen = Some(state.held.values().filter_map(|held| held.root).collect());
        (epoch, state.held.values().filter_map(|held| held.since).fold(epoch, u32::min))
    }

    /// The roots held at any moment since `advance`; ends the remembering.
    pub(crate) fn seen(&self) -> HashSet<(Domain, Root)> {
        self.state.lock().seen.take().unwrap_or_default()
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
        self.pins.state.lock().held.remove(&self.number);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}
