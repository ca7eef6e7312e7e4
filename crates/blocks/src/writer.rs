//! The one that appends: to a pack that grows, is sealed when large enough, and is synced when a
//! session finishes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    BlocksError, Result,
    index::Loc,
    pack::{self, Listed, PACK_HEADER, Pack, Record},
};

#[derive(Debug)]
struct Open {
    pack: Arc<Pack>,
    file: Arc<File>,
    at: u64,
    synced: u64,
    listed: Vec<Listed>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    next: u32,
    /// Sealed, or no longer appended to, and not yet synced.
    unsynced: Vec<Arc<File>>,
    names_changed: bool,
    poisoned: bool,
}

/// Appends records to packs in `dir`. Records lie in the order they were appended, without gaps,
/// so what was synced is always found again by walking a pack from its start.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    pack_bytes: u64,
    state: Mutex<State>,
    syncing: Mutex<()>,
}

impl Writer {
    pub(crate) fn new(dir: PathBuf, pack_bytes: u64, next: u32) -> Self {
        let state = State { next, ..State::default() };
        Self { dir, pack_bytes, state: Mutex::new(state), syncing: Mutex::default() }
    }

    /// Appends those of `records` (each with its place in `bytes`) that `wanted` still wants and
    /// tells `placed` where each went; `added` hears of a new pack first.
    pub(crate) fn append(
        &self,
        bytes: &[u8],
        records: &[(Record, usize)],
        wanted: impl Fn(&Record) -> bool,
        added: impl FnOnce(Arc<Pack>),
        mut placed: impl FnMut(&Record, Loc),
    ) -> Result<u64> {
        let mut state = self.state.lock();
        if state.poisoned {
            return Err(BlocksError::Poisoned);
        }
        // Decided under the lock, so that no chunk is appended twice.
        let fresh: Vec<_> = records.iter().filter(|(record, _)| wanted(record)).collect();
        if fresh.is_empty() {
            return Ok(0);
        }
        let picked: Vec<u8>;
        let bytes = if fresh.len() == records.len() {
            bytes
        } else {
            let part = |(record, at): &&(Record, usize)| {
                &bytes[*at..*at + usize::try_from(Record::size(record.stored)).unwrap_or(0)]
            };
            picked = fresh.iter().map(part).collect::<Vec<_>>().concat();
            &picked
        };
        if state.open.as_ref().is_some_and(|open| open.at >= self.pack_bytes) {
            seal(&mut state)?;
        }
        if state.open.is_none() {
            let pack = self.create(&mut state)?;
            added(pack);
        }
        let open = state.open.as_mut().expect("made above");
        if let Err(error) = open.file.write_all_at(bytes, open.at) {
            // Gives back what a full disk took; the place is written again by the next append.
            let _ = open.file.set_len(open.at);
            return Err(BlocksError::io("writing a pack")(error));
        }
        for (record, _) in fresh {
            let offset = u32::try_from(open.at).expect("packs are far below 4 GiB");
            let Record { id, stored, raw, .. } = *record;
            open.listed.push(Listed { id, offset, stored, raw });
            placed(record, Loc::new(open.pack.number, offset, stored, raw));
            open.at += Record::size(stored);
        }
        Ok(bytes.len() as u64)
    }

    fn create(&self, state: &mut State) -> Result<Arc<Pack>> {
        let number = state.next;
        let path = self.dir.join(Pack::name(number));
        let create = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
            if let Err(error) = file.write_all_at(&Pack::header(number), 0) {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
            Ok(file)
        };
        let file = Arc::new(create().map_err(BlocksError::io("making a pack"))?);
        let pack = Pack::new(number, path);
        state.next += 1;
        state.names_changed = true;
        let at = PACK_HEADER as u64;
        state.open = Some(Open { pack: pack.clone(), file, at, synced: 0, listed: Vec::new() });
        Ok(pack)
    }

    /// Makes everything appended so far durable. Callers at the same moment share the work.
    pub(crate) fn sync(&self) -> Result<()> {
        let _turn = self.syncing.lock();
        let (files, names, at) = {
            let mut state = self.state.lock();
            if state.poisoned {
                return Err(BlocksError::Poisoned);
            }
            let mut files = std::mem::take(&mut state.unsynced);
            let open = state.open.as_ref().filter(|open| open.synced < open.at);
            files.extend(open.map(|open| open.file.clone()));
            let at = open.map(|open| (open.pack.number, open.at));
            (files, std::mem::take(&mut state.names_changed), at)
        };
        let mut done = files.iter().try_for_each(|file| file.sync_data());
        if names {
            done = done.and_then(|()| File::open(&self.dir)?.sync_all());
        }
        let mut state = self.state.lock();
        if let Err(error) = done {
            // What a failed sync left on disk is unknown, and a second one may lie about it.
            state.poisoned = true;
            return Err(BlocksError::io("syncing a pack")(error));
        }
        if let (Some(open), Some((number, at))) = (&mut state.open, at)
            && open.pack.number == number
        {
            open.synced = at;
        }
        Ok(())
    }

    /// Ends the pack that grows, so that it can be collected.
    pub(crate) fn rotate(&self) -> Result<()> {
        seal(&mut self.state.lock())
    }

    /// The pack that grows.
    pub(crate) fn current(&self) -> Option<u32> {
        self.state.lock().open.as_ref().map(|open| open.pack.number)
    }

    /// Reserves a number above all packs known now; packs made later have greater ones.
    pub(crate) fn horizon(&self) -> u32 {
        self.state.lock().next
    }
}

fn seal(state: &mut State) -> Result<()> {
    let Some(open) = &state.open else { return Ok(()) };
    let footer = pack::footer(&open.listed, open.at);
    if let Err(error) = open.file.write_all_at(&footer, open.at) {
        let _ = open.file.set_len(open.at);
        return Err(BlocksError::io("sealing a pack")(error));
    }
    if let Some(open) = state.open.take() {
        state.unsynced.push(open.file);
    }
    Ok(())
}
