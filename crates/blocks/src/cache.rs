//! Verified chunks and nodes in memory, bounded by bytes, each loaded once at a time.
//!
//! What is read ahead waits aside until somebody asks for it: nothing displaces it, and so it may
//! fill no more than a share of the room.

mod lease;
mod shard;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

pub(crate) use lease::Lease;
pub(crate) use shard::Value;
use shard::{Shard, Waiting};

use crate::{ChunkId, Result};

const SHARDS: usize = 16;
/// Of the room, the share that what is read ahead may fill.
const AHEAD: usize = 2;
/// How often who waits for room asks whether to go on.
const LOOK: Duration = Duration::from_millis(100);

/// A dedup domain's tag and a chunk: a cached chunk is found only under the domain it was
/// verified for.
pub(crate) type Key = (u64, ChunkId);

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
    /// Somebody waits for it.
    joined: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    /// Of one shard.
    room: usize,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    /// Bytes that were read ahead and wait to be asked for, or will.
    ahead: Mutex<usize>,
    asked_for: Condvar,
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
            ahead: Mutex::default(),
            asked_for: Condvar::new(),
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
        if let Some(value) = self.find(&key) {
            return Ok(value);
        }
        let (flight, first) = self.take_off(key);
        if first {
            let landing = Landing { cache: self, key, flight };
            // Another flight may have landed between the look and the take-off.
            if let Some(value) = self.find(&key) {
                landing.land(&value);
                return Ok(value);
            }
            let value = self.load(load)?;
            self.shard(&key).lock().insert(key, value.clone(), self.room);
            landing.land(&value);
            return Ok(value);
        }
        flight.joined.store(true, Ordering::Relaxed);
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

    fn find(&self, key: &Key) -> Option<Arc<Value>> {
        let (value, asked_for) = self.shard(key).lock().get(key)?;
        if asked_for > 0 {
            self.give_back(asked_for);
        }
        Some(value)
    }

    fn look(&self, key: &Key) -> Option<Arc<Value>> {
        self.shard(key).lock().look(key)
    }

    /// Whether a value is in memory.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.look(key).is_some()
    }

    /// The flight that loads `key`, and whether it is the caller's.
    fn take_off(&self, key: Key) -> (Arc<Flight>, bool) {
        let mut flights = self.flights.lock();
        let first = !flights.contains_key(&key);
        (flights.entry(key).or_default().clone(), first)
    }

    fn load(&self, load: impl Fn() -> Result<Value>) -> Result<Arc<Value>> {
        let value = Arc::new(load()?);
        if let Value::Data(bytes) = &*value {
            self.loads.fetch_add(1, Ordering::Relaxed);
            self.loaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(value)
    }

    /// Loads `key`, whose value takes `bytes`, before somebody asks for it, unless it is here or
    /// under way; it then waits until somebody does, those behind it were asked for, or `lease` is
    /// let go. While too much waits, so does this, as long as `go_on` says; false if that was in
    /// vain.
    pub(crate) fn ahead(
        &self,
        (key, lease): (Key, &Arc<Lease>),
        bytes: usize,
        go_on: &dyn Fn() -> bool,
        load: impl Fn() -> Result<Value>,
    ) -> Result<bool> {
        let order = lease.next();
        let most = self.room * self.shards.len() / AHEAD;
        if self.has(&key) || bytes > most {
            return Ok(true);
        }
        let mut ahead = self.ahead.lock();
        while *ahead + bytes > most {
            match self.freed(&lease.passed_by(), lease) {
                0 if !go_on() => return Ok(false),
                0 => {
                    self.asked_for.wait_for(&mut ahead, LOOK);
                }
                freed => *ahead = ahead.saturating_sub(freed),
            }
        }
        *ahead += bytes;
        drop(ahead);
        let mut reserved = Reserved { cache: self, bytes };
        let (flight, first) = self.take_off(key);
        if !first {
            return Ok(true);
        }
        let landing = Landing { cache: self, key, flight: flight.clone() };
        if let Some(value) = self.look(&key) {
            landing.land(&value);
            return Ok(true);
        }
        let value = self.load(load)?;
        let waiting = Waiting { value: value.clone(), lease: lease.clone(), order };
        reserved.keep(self.shard(&key).lock().hold(key, waiting, self.room));
        lease.hold(order, key);
        landing.land(&value);
        drop(landing);
        if flight.joined.load(Ordering::Relaxed) {
            // It was asked for before it was here.
            self.find(&key);
        }
        Ok(true)
    }

    /// Has what was read ahead under `lease` wait no longer.
    pub(crate) fn let_go(&self, lease: &Arc<Lease>) {
        self.give_back(self.freed(&lease.all(), lease));
    }

    fn freed(&self, keys: &[Key], lease: &Arc<Lease>) -> usize {
        keys.iter().map(|key| self.shard(key).lock().let_go(key, lease)).sum()
    }

    fn give_back(&self, bytes: usize) {
        let mut ahead = self.ahead.lock();
        *ahead = ahead.saturating_sub(bytes);
        drop(ahead);
        self.asked_for.notify_all();
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

/// Room for what is being read ahead, given back but for what is kept.
struct Reserved<'a> {
    cache: &'a Cache,
    bytes: usize,
}

impl Reserved<'_> {
    fn keep(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.cache.give_back(self.bytes);
        }
    }
}
