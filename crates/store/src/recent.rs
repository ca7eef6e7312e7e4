//! What is durable but not in the view yet.
//!
//! The view takes its time, so a commit does not wait for it: readers look
//! here first, and a thread of its own brings the view up.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    StoreError,
    layer::{self, Row, Writes, from, sealed::Raw},
    view::{self, Mark, View},
};

/// The writer waits for the view once this much has piled up.
const LONGEST: usize = 8 << 20;
/// So much is worth a batch at once; less waits for company for [`LINGER`].
const ENOUGH: usize = 256 << 10;
const LINGER: Duration = Duration::from_millis(3);

/// A view and the durable writes that it does not hold yet.
#[derive(Debug)]
pub(crate) struct Recent {
    view: Box<dyn View>,
    layers: RwLock<Layers>,
    state: Mutex<State>,
    /// Told of each change of `state`.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Layers {
    /// Not yet given to the view.
    newer: Writes,
    /// Just being applied to the view.
    older: Arc<Writes>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the view is to be; `None`: it is there, or on its way.
    wanted: Option<u64>,
    bytes: usize,
    /// Of the batch that the view is being brought up by.
    under_way: usize,
    busy: bool,
    closing: bool,
    failed: Option<StoreError>,
}

impl Recent {
    pub(crate) fn new(view: Box<dyn View>) -> Self {
        let (layers, state) = Default::default();
        Self { view, layers, state, changed: Condvar::new() }
    }

    pub(crate) fn view(&self) -> &dyn View {
        self.view.as_ref()
    }

    /// Makes `writes` visible; the last of them
    /// is of transaction `seq`.
    pub(crate) fn publish(&self, writes: Writes, seq: u64) -> Result<(), StoreError> {
        let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        let bytes: usize = writes.iter().map(size).sum();
        let mut state = self.state.lock();
        while state.bytes > LONGEST && state.failed.is_none() {
            self.changed.wait(&mut state);
        }
        // Under the lock, so that no batch holds more than it says.
        self.layers.write().newer.extend(writes);
        state.bytes += bytes;
        state.wanted = Some(seq);
        if !state.busy || state.bytes > ENOUGH {
            self.changed.notify_all();
        }
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Brings the view up, from `mark` on, until told to close; then once more.
    pub(crate) fn apply(&self, mut mark: Mark) {
        let mut state = self.state.lock();
        loop {
            if state.wanted.is_some() && !state.closing && state.bytes < ENOUGH {
                // One batch of many groups costs far less than many batches.
                state.busy = true;
                self.changed.wait_for(&mut state, LINGER);
                state.busy = false;
            }
            if let Some(seq) = state.wanted.take() {
                let older = {
                    let mut layers = self.layers.write();
                    layers.older = Arc::new(std::mem::take(&mut layers.newer));
                    Arc::clone(&layers.older)
                };
                state.under_way = std::mem::take(&mut state.bytes);
                state.busy = true;
                self.changed.notify_all();
                drop(state);
                let applied = view::advance(self.view(), &older, seq, &mut mark);
                if applied.is_ok() {
                    self.layers.write().older = Arc::default();
                }
                state = self.state.lock();
                state.busy = false;
                state.under_way = 0;
                if let Err(error) = applied {
                    state.failed = Some(error);
                }
                self.changed.notify_all();
            } else if state.closing {
                return;
            } else {
                self.changed.wait(&mut state);
            }
            if state.failed.is_some() {
                return;
            }
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Bytes that the view has yet to write.
    pub(crate) fn pending(&self) -> u64 {
        let state = self.state.lock();
        (state.bytes + state.under_way) as u64
    }

    /// Waits until the view holds all that was published; tests and scrub.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        while (state.busy || state.wanted.is_some()) && state.failed.is_none() && !state.closing {
            self.changed.wait(&mut state);
        }
    }
}

impl Raw for Recent {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        {
            let layers = self.layers.read();
            if let Some(value) = layers.newer.get(key).or_else(|| layers.older.get(key)) {
                return Ok(value.clone());
            }
        }
        // What left the layers since is in the view by now.
        self.view.get(key)
    }

    fn raw_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let over = {
            let layers = self.layers.read();
            let mut over = Writes::new();
            for layer in [layers.older.as_ref(), &layers.newer] {
                over.extend(from(layer, prefix, after).map(|(k, v)| (k.clone(), v.clone())));
            }
            over
        };
        layer::range(&over, prefix, after, limit, |p, a, l| self.view.range(p, a, l))
    }
}

impl Recent {
    /// The last row that starts with `prefix`.
    pub(crate) fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let recent = {
            let layers = self.layers.read();
            let last = |layer: &Writes| {
                let rows = from(layer, prefix, None).filter(|(_, v)| v.is_some());
                rows.last().map(|(k, v)| (k.clone(), v.clone().unwrap_or_default()))
            };
            last(&layers.newer).max(last(&layers.older))
        };
        // Good for rows that only come and go in order, as events do.
        Ok(recent.max(self.view.last(prefix)?))
    }
}
