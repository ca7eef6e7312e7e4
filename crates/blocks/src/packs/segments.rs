//! Parts of packs from afar, held here: bounded in bytes, each fetched once at a time.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};

/// Bytes of a part; the last one of a pack may be shorter.
pub(super) const SEGMENT: u64 = 1 << 20;

/// A pack and which of its parts.
pub(super) type Key = (u32, u32);

#[derive(Debug)]
struct Held {
    bytes: u64,
    used: bool,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Key, Held>,
    /// Oldest first; a used one gets another turn.
    order: VecDeque<Key>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Flight {
    landed: Mutex<bool>,
    wake: Condvar,
}

/// Files `PACK-PART` of a directory. What is read from them is verified by who asked.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    room: u64,
    state: Mutex<State>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    pub(super) fetches: AtomicU64,
}

impl Segments {
    /// Takes over what an earlier process held.
    pub(super) fn open(dir: PathBuf, room: u64) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut state = State::default();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.split_once('-'));
            let key = key.and_then(|(pack, part)| Some((pack.parse().ok()?, part.parse().ok()?)));
            match key {
                Some(key) => {
                    let bytes = entry.metadata()?.len();
                    state.bytes += bytes;
                    state.held.insert(key, Held { bytes, used: false });
                    state.order.push_back(key);
                }
                None => fs::remove_file(entry.path())?,
            }
        }
        let segments = Self {
            dir,
            room,
            state: Mutex::new(state),
            flights: Mutex::default(),
            fetches: AtomicU64::new(0),
        };
        segments.evict(&mut segments.state.lock());
        Ok(segments)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.state.lock().held.contains_key(&key)
    }

    fn path(&self, (pack, part): Key) -> PathBuf {
        self.dir.join(format!("{pack}-{part}"))
    }

    /// Fills `out` from byte `within` of a part, which `fetch` gets if it is not here.
    pub(super) fn read(
        &self,
        key: Key,
        within: u64,
        out: &mut [u8],
        fetch: impl Fn() -> io::Result<bytes::Bytes>,
    ) -> io::Result<()> {
        if self.held(key, within, out) {
            return Ok(());
        }
        let (flight, first) = {
            let mut flights = self.flights.lock();
            let first = !flights.contains_key(&key);
            (flights.entry(key).or_default().clone(), first)
        };
        if !first {
            let mut landed = flight.landed.lock();
            while !*landed {
                flight.wake.wait(&mut landed);
            }
            drop(landed);
            if self.held(key, within, out) {
                return Ok(());
            }
            // It failed, or there is no room for it: each for itself.
            return copy(&self.fetch(&fetch)?, within, out);
        }
        let _landing = Landing { segments: self, key, flight };
        // Another flight may have landed between the look and the take-off.
        if self.held(key, within, out) {
            return Ok(());
        }
        let bytes = self.fetch(&fetch)?;
        self.put(key, &bytes);
        copy(&bytes, within, out)
    }

    fn fetch(&self, fetch: impl Fn() -> io::Result<bytes::Bytes>) -> io::Result<bytes::Bytes> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        fetch()
    }

    fn held(&self, key: Key, within: u64, out: &mut [u8]) -> bool {
        match self.state.lock().held.get_mut(&key) {
            None => return false,
            Some(held) => held.used = true,
        }
        // One that was evicted at this moment is fetched again.
        fs::File::open(self.path(key)).and_then(|file| file.read_exact_at(out, within)).is_ok()
    }

    /// Holds a part, if there is room for it. Only speed is lost when that fails.
    pub(super) fn put(&self, key: Key, bytes: &[u8]) {
        let size = bytes.len() as u64;
        if size > self.room {
            return;
        }
        let path = self.path(key);
        let new = self.dir.join(format!("{}-{}.new", key.0, key.1));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            tracing::debug!(%error, "a part of a pack is not held");
            let _ = fs::remove_file(&new);
            return;
        }
        let mut state = self.state.lock();
        if let Some(old) = state.held.insert(key, Held { bytes: size, used: false }) {
            state.bytes -= old.bytes;
        } else {
            state.order.push_back(key);
        }
        state.bytes += size;
        self.evict(&mut state);
    }

    fn evict(&self, state: &mut State) {
        while state.bytes > self.room
            && let Some(key) = state.order.pop_front()
        {
            let Some(held) = state.held.get_mut(&key) else { continue };
            if std::mem::take(&mut held.used) {
                state.order.push_back(key);
                continue;
            }
            state.bytes -= held.bytes;
            state.held.remove(&key);
            let _ = fs::remove_file(self.path(key));
        }
    }

    /// Lets go of all parts of a pack.
    pub(super) fn forget(&self, pack: u32) {
        let mut state = self.state.lock();
        let State { held, order, bytes } = &mut *state;
        order.retain(|key| key.0 != pack);
        held.retain(|key, part| {
            let stays = key.0 != pack;
            if !stays {
                *bytes -= part.bytes;
                let _ = fs::remove_file(self.path(*key));
            }
            stays
        });
    }
}

fn copy(bytes: &[u8], within: u64, out: &mut [u8]) -> io::Result<()> {
    let within = usize::try_from(within).unwrap_or(usize::MAX);
    let part = bytes.get(within..).and_then(|bytes| bytes.get(..out.len()));
    out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// Wakes those who wait for a part, also when it did not come.
struct Landing<'a> {
    segments: &'a Segments,
    key: Key,
    flight: Arc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.segments.flights.lock().remove(&self.key);
        *self.flight.landed.lock() = true;
        self.flight.wake.notify_all();
    }
}
