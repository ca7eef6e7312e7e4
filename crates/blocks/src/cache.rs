//! Verified chunks and nodes in memory, bounded by bytes, each loaded once at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};

use crate::{ChunkId, Result, index::PlainMap, node::Node};

const SHARDS: usize = 16;

#[derive(Debug)]
pub(crate) enum Value {
    Data(Vec<u8>),
    Node(Node),
}

impl Value {
    fn weight(&self) -> usize {
        96 + match self {
            Self::Data(bytes) => bytes.capacity(),
            Self::Node(Node::Leaf(entries)) => entries.capacity() * 36,
            Self::Node(Node::Inner { children, .. }) => children.capacity() * 33,
        }
    }
}

/// A dedup domain's tag and a chunk: a cached chunk is found only under the domain it was
/// verified for.
pub(crate) type Key = (u64, ChunkId);

#[derive(Debug)]
struct Slot {
    key: Key,
    value: Arc<Value>,
    used: bool,
}

/// Clock: what was used since the hand last passed stays, so one long read displaces only itself.
#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    at: PlainMap<Key, usize>,
    hand: usize,
    bytes: usize,
}

impl Shard {
    fn get(&mut self, key: &Key) -> Option<Arc<Value>> {
        let slot = &mut self.slots[*self.at.get(key)?];
        slot.used = true;
        Some(slot.value.clone())
    }

    fn insert(&mut self, key: Key, value: Arc<Value>, room: usize) {
        let weight = value.weight();
        if self.at.contains_key(&key) || weight > room {
            return;
        }
        while self.bytes + weight > room {
            self.evict();
        }
        self.bytes += weight;
        self.at.insert(key, self.slots.len());
        self.slots.push(Slot { key, value, used: false });
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.used) {
                break;
            }
            self.hand += 1;
        }
        let slot = self.slots.swap_remove(self.hand);
        self.bytes -= slot.value.weight();
        self.at.remove(&slot.key);
        if let Some(moved) = self.slots.get(self.hand) {
            self.at.insert(moved.key, self.hand);
        }
    }
}

#[derive(Debug, Default)]
enum Load {
    #[default]
    UnderWay,
    Failed,
    Done(Arc<Value>),
}

#[derive(Debug, Default)]
struct Flight {
    load: Mutex<Load>,
    wake: Condvar,
}

#[derive(Debug)]
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    room: usize,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    /// Chunks of data that were loaded, and their bytes.
    loads: AtomicU64,
    loaded_bytes: AtomicU64,
}

impl Cache {
    /// How many chunks of data were loaded since the start, and their bytes.
    pub(crate) fn loaded(&self) -> (u64, u64) {
        (self.loads.load(Ordering::Relaxed), self.loaded_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn new(bytes: usize) -> Self {
        // A shard must hold several of the largest chunks to be of use.
        let shards = (bytes >> 20).clamp(1, SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            room: bytes / shards,
            flights: Mutex::default(),
            loads: AtomicU64::new(0),
            loaded_bytes: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        &self.shards[usize::from(key.1.0[31]) % self.shards.len()]
    }

    /// The value of `key`, by `load` if it is not here. Of callers at the same moment one loads
    /// and the others wait for it; if it fails each of them tries for itself.
    pub(crate) fn get(&self, key: Key, load: impl Fn() -> Result<Value>) -> Result<Arc<Value>> {
        if let Some(value) = self.shard(&key).lock().get(&key) {
            return Ok(value);
        }
        let (flight, first) = {
            let mut flights = self.flights.lock();
            let first = !flights.contains_key(&key);
            (flights.entry(key).or_default().clone(), first)
        };
        if first {
            let landing = Landing { cache: self, key, flight };
            // Another flight may have landed between the look and the take-off.
            if let Some(value) = self.shard(&key).lock().get(&key) {
                landing.land(&value);
                return Ok(value);
            }
            let value = Arc::new(load()?);
            if let Value::Data(bytes) = &*value {
                self.loads.fetch_add(1, Ordering::Relaxed);
                self.loaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            self.shard(&key).lock().insert(key, value.clone(), self.room);
            landing.land(&value);
            return Ok(value);
        }
        let mut loaded = flight.load.lock();
        while matches!(*loaded, Load::UnderWay) {
            flight.wake.wait(&mut loaded);
        }
        if let Load::Done(value) = &*loaded {
            return Ok(value.clone());
        }
        drop(loaded);
        load().map(Arc::new)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}

/// Wakes those who wait for a load, also when it failed.
struct Landing<'a> {
    cache: &'a Cache,
    key: Key,
    flight: Arc<Flight>,
}

impl Landing<'_> {
    fn land(&self, value: &Arc<Value>) {
        *self.flight.load.lock() = Load::Done(value.clone());
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.cache.flights.lock().remove(&self.key);
        let mut load = self.flight.load.lock();
        if matches!(*load, Load::UnderWay) {
            *load = Load::Failed;
        }
        drop(load);
        self.flight.wake.notify_all();
    }
}
