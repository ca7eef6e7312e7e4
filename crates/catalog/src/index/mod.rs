//! What listings are answered from: every image in memory, by id and by who may
//! see it.
//!
//! It is a projection of the store. Each commit leaves the ids it touched in the
//! outbox; before an answer the index takes up what it has not seen yet, so it
//! is never behind what was acknowledged, whoever was cancelled meanwhile.

mod entries;

use std::sync::Arc;

use parking_lot::RwLock;
use vmint_ids::{AccountId, ImageId};

use crate::{
    Result,
    ops::{Hinted, Listed, Page, Query},
    store::{Images, Touched},
};
use entries::Entries;

/// Every image, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    images: Images,
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: Entries,
    /// The last event taken up.
    event: u64,
    /// The store's sequence when that was done.
    sequence: u64,
}

impl Index {
    pub(crate) fn build(images: Images) -> Result<Self> {
        let state = State::read(&images)?;
        Ok(Self { images, state: Arc::new(RwLock::new(state)) })
    }

    pub(crate) fn get(&self, ids: &[ImageId]) -> Result<Vec<Listed>> {
        self.read(|entries| ids.iter().filter_map(|id| entries.get(*id)).collect())
    }

    /// As `viewer` sees them.
    pub(crate) fn get_for(&self, ids: &[ImageId], viewer: AccountId) -> Result<Vec<Hinted>> {
        self.read(|entries| ids.iter().filter_map(|id| entries.get_for(*id, viewer)).collect())
    }

    pub(crate) fn query(&self, query: &Query) -> Result<Page> {
        self.read(|entries| entries.query(query))
    }

    fn read<T>(&self, answer: impl Fn(&Entries) -> T) -> Result<T> {
        // Taken first: the view holds at least this much from here on.
        let sequence = self.images.sequence();
        let state = self.state.read();
        if state.sequence >= sequence {
            return Ok(answer(&state.entries));
        }
        drop(state);
        let mut state = self.state.write();
        if state.sequence < sequence {
            state.catch_up(&self.images)?;
            state.sequence = sequence;
        }
        Ok(answer(&state.entries))
    }
}

impl State {
    fn read(images: &Images) -> Result<Self> {
        let sequence = images.sequence();
        // The end of the events first: what comes meanwhile is seen twice, not
        // missed.
        let mut event = 0;
        while let Some((last, _)) = images.touched(event)?.last() {
            event = *last;
        }
        let mut entries = Entries::default();
        images.walk(|id, row| entries.put(id, row))?;
        images.walk_viewer_tags(|viewer, id, tags| entries.put_viewer_tags(viewer, id, tags))?;
        Ok(Self { entries, event, sequence })
    }

    fn catch_up(&mut self, images: &Images) -> Result<()> {
        loop {
            let touched = images.touched(self.event)?;
            let Some((first, _)) = touched.first() else { return Ok(()) };
            if *first > self.event + 1 {
                // So far behind that events have been dropped.
                *self = Self::read(images)?;
                return Ok(());
            }
            for (event, Touched { image: id, viewer }) in touched {
                match viewer {
                    Some(viewer) => {
                        self.entries.put_viewer_tags(viewer, id, images.viewer_tags(viewer, id)?);
                    }
                    None => match images.row(id)? {
                        Some(row) => self.entries.put(id, row),
                        None => self.entries.remove(id),
                    },
                }
                self.event = event;
            }
        }
    }
}
