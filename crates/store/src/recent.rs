//! What is durable but not in the view yet.
//!
//! The view likes large batches, so a commit does not wait for it: readers look
//! here first, and a thread of its own brings the view up once enough has come
//! together. Whatever is here when the process ends is read again from the
//! journal.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    StoreError,
    layer::{self, Row, Writes, from, sealed::Raw},
    view::View,
};

/// The writer waits for the view once so many batches have piled up.
const LONGEST: usize = 3;
/// So many runs alike are merged while batches keep coming, ...
const FAN_BUSY: usize = 16;
/// ... and so many once none has come for [`QUIET`].
const FAN_QUIET: usize = 4;
const QUIET: Duration = Duration::from_secs(1);
/// With so many runs no further batch is applied before some are merged.
const PILE: usize = 64;

/// A view and the durable writes that it does not hold yet.
#[derive(Debug)]
pub(crate) struct Recent {
    view: Box<dyn View>,
    /// Bytes that are worth a batch.
    batch_bytes: usize,
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
    /// The last transaction published, and the last one in the view.
    seq: u64,
    applied: u64,
    bytes: usize,
    /// Of the batch that the view is being brought up by.
    under_way: usize,
    /// Somebody waits for the view to be brought up to all there is.
    urged: bool,
    /// The view took a batch since it was last tidied.
    grown: bool,
    closing: bool,
    failed: Option<StoreError>,
}

impl Recent {
    /// A view that stands at transaction `applied`, and what came since, up to
    /// `seq`.
    pub(crate) fn new(
        view: Box<dyn View>,
        batch_bytes: usize,
        applied: u64,
        (newer, seq): (Writes, u64),
    ) -> Self {
        let state =
            State { seq, applied, bytes: layer::size(&newer), grown: true, ..State::default() };
        let layers = Layers { newer, older: Arc::default() };
        let (layers, state) = (RwLock::new(layers), Mutex::new(state));
        Self { view, batch_bytes, layers, state, changed: Condvar::new() }
    }

    pub(crate) fn view(&self) -> &dyn View {
        self.view.as_ref()
    }

    /// Makes `writes` visible; the last of them is of transaction `seq`.
    pub(crate) fn publish(&self, writes: Writes, seq: u64) -> Result<(), StoreError> {
        let bytes = layer::size(&writes);
        let mut state = self.state.lock();
        while state.bytes > LONGEST * self.batch_bytes && state.failed.is_none() {
            self.changed.wait(&mut state);
        }
        // Under the lock, so that no batch holds more than it says.
        self.layers.write().newer.extend(writes);
        let before = state.bytes;
        state.bytes += bytes;
        state.seq = seq;
        if before < self.batch_bytes && state.bytes >= self.batch_bytes {
            self.changed.notify_all();
        }
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Brings the view up, batch by batch, until told to close.
    pub(crate) fn apply(&self, room: &dyn Fn(u64) -> bool) {
        let mut state = self.state.lock();
        while state.failed.is_none() && !state.closing {
            let due = state.urged || state.bytes >= self.batch_bytes;
            if !due || state.applied == state.seq {
                state.urged = false;
                self.changed.wait(&mut state);
                continue;
            }
            let (older, seq) = {
                let mut layers = self.layers.write();
                layers.older = Arc::new(std::mem::take(&mut layers.newer));
                (Arc::clone(&layers.older), state.seq)
            };
            state.under_way = std::mem::take(&mut state.bytes);
            self.changed.notify_all();
            drop(state);
            let piled = self.view.pile() >= PILE;
            let room = if piled { self.view.tidy(FAN_QUIET, room).map(drop) } else { Ok(()) };
            let applied = room.and_then(|()| self.view.apply(&older, seq));
            if applied.is_ok() {
                self.layers.write().older = Arc::default();
            }
            state = self.state.lock();
            state.under_way = 0;
            match applied {
                Ok(()) => (state.applied, state.grown) = (seq, true),
                Err(error) => state.failed = Some(error),
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    /// Keeps the view tidy until told to close.
    pub(crate) fn tidy(&self, room: &dyn Fn(u64) -> bool) {
        crate::store::yielding();
        let mut fan = FAN_QUIET;
        loop {
            match self.view.tidy(fan, &|bytes| !self.closing() && room(bytes)) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return self.fail(&error),
            }
            let mut state = self.state.lock();
            loop {
                if state.closing || state.failed.is_some() {
                    return;
                }
                if std::mem::take(&mut state.grown) {
                    fan = FAN_BUSY;
                    break;
                }
                if fan == FAN_QUIET {
                    self.changed.wait(&mut state);
                } else if self.changed.wait_for(&mut state, QUIET).timed_out() && !state.grown {
                    fan = FAN_QUIET;
                    break;
                }
            }
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Bytes that the view has yet to write.
    pub(crate) fn pending(&self) -> u64 {
        let state = self.state.lock();
        (state.bytes + state.under_way) as u64
    }

    /// Waits until the view holds all that was published.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        let seq = state.seq;
        while state.applied < seq && state.failed.is_none() && !state.closing {
            state.urged = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }

    /// Why the view can be trusted no more, if so.
    pub(crate) fn failed(&self) -> Option<StoreError> {
        self.state.lock().failed.clone()
    }

    fn fail(&self, error: &StoreError) {
        self.state.lock().failed.get_or_insert_with(|| error.clone());
        self.changed.notify_all();
    }

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
        Ok(recent.max(self.view.last(prefix).inspect_err(|error| self.fail(error))?))
    }
}

impl Layers {
    /// What they have from behind `after` on, and up to which key that is all
    /// (`None`: all there is); at least `limit` keys, if there are so many.
    fn take(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> (Writes, Option<Vec<u8>>) {
        let (mut over, mut end) = (Writes::new(), None::<Vec<u8>>);
        for layer in [self.older.as_ref(), &self.newer] {
            let part: Vec<_> = from(layer, prefix, after).take(limit).collect();
            if part.len() == limit
                && let Some((last, _)) = part.last()
            {
                end = Some(end.map_or_else(|| (*last).clone(), |end| end.min((*last).clone())));
            }
            over.extend(part.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        (over, end)
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
        self.view.get(key).inspect_err(|error| self.fail(error))
    }

    fn raw_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut out = Vec::new();
        let mut cursor = after.map(<[u8]>::to_vec);
        while out.len() < limit {
            let (over, over_end) = self.layers.read().take(prefix, cursor.as_deref(), limit);
            let rows = self.view.range(prefix, cursor.as_deref(), limit);
            let mut rows = rows.inspect_err(|error| self.fail(error))?;
            let rows_end = rows.last().filter(|_| rows.len() >= limit).map(|row| row.0.clone());
            // Up to here both have said all that they have.
            let end = match (over_end, rows_end) {
                (Some(over), Some(rows)) => Some(over.min(rows)),
                (over, rows) => over.or(rows),
            };
            if let Some(end) = &end {
                rows.truncate(rows.partition_point(|row| row.0 <= *end));
            }
            layer::merge(&over, prefix, cursor.as_deref(), end.as_deref(), rows, &mut out);
            match end {
                Some(end) => cursor = Some(end),
                None => break,
            }
        }
        out.truncate(limit);
        Ok(out)
    }
}
