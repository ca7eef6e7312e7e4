//! Chunks found damaged: remembered over restarts, forgotten when their content comes again.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use parking_lot::Mutex;

use crate::{
    BlocksError, Result,
    index::{Loc, Prefix},
};

#[derive(Debug, Default)]
struct State {
    chunks: HashSet<Prefix>,
    /// Pack and offset of the records not to be indexed again.
    places: HashSet<(u32, u32)>,
}

#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    state: Mutex<State>,
}

impl Quarantine {
    /// Reads the list; its lines are `pack offset`, and one torn by a crash is skipped.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            // A damaged list is not worth refusing to open: damage is found again on read.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(BlocksError::io("reading the quarantine list")(error)),
        };
        let place = |line: &str| {
            let (pack, offset) = line.strip_suffix('.')?.split_once(' ')?;
            Some((pack.parse().ok()?, offset.parse().ok()?))
        };
        let places = text.lines().filter_map(place).collect();
        Ok(Self { path, state: Mutex::new(State { places, ..State::default() }) })
    }

    pub(crate) fn begin(&self, chunks: impl Iterator<Item = Prefix>) {
        self.state.lock().chunks.extend(chunks);
    }

    pub(crate) fn has_place(&self, pack: u32, offset: u32) -> bool {
        self.state.lock().places.contains(&(pack, offset))
    }

    pub(crate) fn has(&self, prefix: &Prefix) -> bool {
        self.state.lock().chunks.contains(prefix)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().chunks.len()
    }

    pub(crate) fn add(&self, prefix: Prefix, loc: Loc) {
        self.state.lock().chunks.insert(prefix);
        self.note(loc);
    }

    /// Writes down where a damaged record lies.
    pub(crate) fn note(&self, loc: Loc) {
        let mut state = self.state.lock();
        if !state.places.insert((loc.pack, loc.offset)) {
            return;
        }
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(format!("{} {}.\n", loc.pack, loc.offset).as_bytes())?;
            file.sync_data()
        };
        if let Err(error) = append() {
            // It stays in quarantine while the store is open and is found again afterwards.
            tracing::warn!(%error, "could not write down a damaged chunk");
        }
    }

    pub(crate) fn heal(&self, prefix: &Prefix) {
        self.state.lock().chunks.remove(prefix);
    }

    /// Forgets the records of packs that are gone.
    pub(crate) fn retain(&self, exists: impl Fn(u32) -> bool) {
        let mut state = self.state.lock();
        let before = state.places.len();
        state.places.retain(|(pack, _)| exists(*pack));
        if state.places.len() == before {
            return;
        }
        let line = |(pack, offset): &(u32, u32)| format!("{pack} {offset}.\n");
        let text: String = state.places.iter().map(line).collect();
        let new = self.path.with_extension("new");
        let replaced = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = replaced {
            tracing::warn!(%error, "could not shorten the quarantine list");
        }
    }
}
