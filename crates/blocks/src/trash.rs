//! Collected packs, kept for a while in case a root was not listed.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::{
    ChunkId,
    index::{Loc, PlainMap, Prefix},
    packs::{Kept, PackStore, load_pack},
};

#[derive(Debug, Default)]
struct State {
    /// When a pack came (seconds of Unix time) and its bytes.
    packs: HashMap<u32, (u64, u64)>,
    chunks: PlainMap<Prefix, Loc>,
}

#[derive(Debug)]
pub(crate) struct Trash {
    packs: Arc<dyn PackStore>,
    state: Mutex<State>,
}

impl Trash {
    pub(crate) fn open(packs: Arc<dyn PackStore>, kept: &[Kept]) -> Self {
        let trash = Self { packs, state: Mutex::default() };
        for pack in kept {
            if let Some(since) = pack.since {
                trash.keep(pack.number, since);
            }
        }
        trash
    }

    fn keep(&self, number: u32, since: u64) {
        // Only a second chance is lost with a pack that cannot be listed.
        let (mut listed, rotten) = load_pack(&*self.packs, number).unwrap_or_default();
        listed.retain(|entry| !rotten.contains(&entry.offset));
        let bytes = self.packs.bytes(number).unwrap_or(0);
        let mut state = self.state.lock();
        state.chunks.extend(listed.iter().map(|entry| {
            let loc = Loc::new(number, entry.offset, entry.stored, entry.raw);
            (Prefix::from(&entry.id), loc)
        }));
        state.packs.insert(number, (since, bytes));
    }

    /// Takes a pack out of use.
    pub(crate) fn take(&self, number: u32) -> io::Result<()> {
        let since = now();
        self.packs.retire(number, since)?;
        self.keep(number, since);
        Ok(())
    }

    /// Deletes what has been here for `grace`; returns packs and bytes.
    pub(crate) fn empty(&self, grace: Duration) -> io::Result<(u64, u64)> {
        let until = now().saturating_sub(grace.as_secs());
        let due: Vec<(u32, u64)> = {
            let state = self.state.lock();
            let due = state.packs.iter().filter(|(_, (since, _))| *since <= until);
            due.map(|(number, (_, bytes))| (*number, *bytes)).collect()
        };
        let mut deleted = (0, 0);
        for (number, bytes) in due {
            self.packs.delete(number)?;
            deleted = (deleted.0 + 1, deleted.1 + bytes);
            self.state.lock().packs.remove(&number);
        }
        if deleted.0 > 0 {
            let State { packs, chunks } = &mut *self.state.lock();
            chunks.retain(|_, loc| packs.contains_key(&loc.pack));
        }
        Ok(deleted)
    }

    pub(crate) fn find(&self, id: &ChunkId) -> Option<Loc> {
        let state = self.state.lock();
        let loc = state.chunks.get(&Prefix::from(id))?;
        state.packs.contains_key(&loc.pack).then_some(*loc)
    }

    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.state.lock().packs.keys().copied().collect()
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.packs.len() as u64, state.packs.values().map(|(_, bytes)| bytes).sum())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
