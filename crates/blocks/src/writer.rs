//! The one that appends: to a pack that grows, is sealed when large enough, and is synced when a
//! session finishes.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use parking_lot::Mutex;

use crate::{
    BlocksError, Result,
    behind::{Behind, STRETCH},
    index::Loc,
    pack::{self, Listed, PACK_HEADER, Record},
    packs::{Appended, PackStore},
};

#[derive(Debug)]
struct Open {
    pack: u32,
    file: Arc<File>,
    at: u64,
    synced: u64,
    /// Up to where the disk was set to work.
    asked: u64,
    listed: Vec<Listed>,
    /// Of those, how many a mark lists.
    marked: usize,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    next: u32,
    /// Sealed, or no longer appended to, and not yet synced.
    unsynced: Vec<Appended>,
    poisoned: bool,
}

/// Appends records to packs. Records and marks lie in the order they were appended, without
/// gaps, so what was synced is always found again by walking a pack from its start.
#[derive(Debug)]
pub(crate) struct Writer {
    packs: Arc<dyn PackStore>,
    pack_bytes: u64,
    state: Mutex<State>,
    behind: Behind,
}

impl Writer {
    pub(crate) fn new(packs: Arc<dyn PackStore>, pack_bytes: u64, next: u32) -> Self {
        let state = Mutex::new(State { next, ..State::default() });
        Self { packs, pack_bytes, state, behind: Behind::new(File::sync_data) }
    }

    /// Appends those of `records` (each with its place in `bytes`) that `wanted` still wants and
    /// tells `placed` where each went; `added` hears of a new pack first.
    pub(crate) fn append(
        &self,
        bytes: &[u8],
        records: &[(Record, usize)],
        wanted: impl Fn(&Record) -> bool,
        added: impl FnOnce(u32),
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
            self.seal(&mut state)?;
        }
        if state.open.is_none() {
            added(self.create(&mut state)?);
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
            placed(record, Loc::new(open.pack, offset, stored, raw));
            open.at += Record::size(stored);
        }
        self.write_behind(open, STRETCH);
        Ok(bytes.len() as u64)
    }

    fn create(&self, state: &mut State) -> Result<u32> {
        let number = state.next;
        let file = self.packs.create(number).map_err(BlocksError::io("making a pack"))?;
        state.next += 1;
        let (file, at) = (Arc::new(file), PACK_HEADER as u64);
        let listed = Vec::new();
        state.open = Some(Open { pack: number, file, at, synced: 0, asked: at, listed, marked: 0 });
        Ok(number)
    }

    /// Makes everything appended so far durable. Callers at the same moment share the work.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut disk = self.behind.disk();
        let whole = self.packs.takes_whole_packs();
        let (packs, at) = {
            let mut state = self.state.lock();
            if state.poisoned {
                return Err(BlocksError::Poisoned);
            }
            if whole {
                self.seal(&mut state)?;
            } else if let Some(open) = &mut state.open {
                mark(open)?;
            }
            let mut packs = std::mem::take(&mut state.unsynced);
            let open = state.open.as_ref().filter(|open| open.synced < open.at);
            packs.extend(open.map(|open| (open.pack, open.file.clone())));
            (packs, open.map(|open| (open.pack, open.at)))
        };
        let done = match disk.lost.take() {
            Some(error) => Err(error),
            None => self.packs.sync(&packs),
        };
        let mut state = self.state.lock();
        if let Err(error) = done {
            if whole {
                // Nothing was promised of them yet, and they are still here.
                state.unsynced.extend(packs);
            } else {
                // What a failed sync left on disk is unknown, and a second one may lie about it.
                state.poisoned = true;
            }
            return Err(BlocksError::io("syncing a pack")(error));
        }
        if let (Some(open), Some((number, at))) = (&mut state.open, at)
            && open.pack == number
        {
            open.synced = at;
        }
        Ok(())
    }

    /// Ends the pack that grows, so that it can be collected.
    pub(crate) fn rotate(&self) -> Result<()> {
        self.seal(&mut self.state.lock())
    }

    fn seal(&self, state: &mut State) -> Result<()> {
        let Some(open) = &state.open else { return Ok(()) };
        let footer = pack::footer(&open.listed, open.at);
        if let Err(error) = open.file.write_all_at(&footer, open.at) {
            let _ = open.file.set_len(open.at);
            return Err(BlocksError::io("sealing a pack")(error));
        }
        if let Some(mut open) = state.open.take() {
            self.write_behind(&mut open, STRETCH / 4);
            state.unsynced.push((open.pack, open.file));
        }
        Ok(())
    }

    /// Sets the disk to work on a pack if it was not for `least` bytes. An object store takes
    /// packs as a whole, when they are promised.
    fn write_behind(&self, open: &mut Open, least: u64) {
        if open.at - open.asked >= least && !self.packs.takes_whole_packs() {
            open.asked = open.at;
            self.behind.ask((open.pack, open.file.clone()));
        }
    }

    /// The pack that grows.
    pub(crate) fn current(&self) -> Option<u32> {
        self.state.lock().open.as_ref().map(|open| open.pack)
    }

    /// Reserves a number above all packs known now; packs made later have greater ones.
    pub(crate) fn horizon(&self) -> u32 {
        self.state.lock().next
    }
}

/// Says in the pack that what was appended since the last mark is about to be promised.
fn mark(open: &mut Open) -> Result<()> {
    let fresh = &open.listed[open.marked..];
    if fresh.is_empty() {
        return Ok(());
    }
    let bytes = pack::mark(fresh);
    if let Err(error) = open.file.write_all_at(&bytes, open.at) {
        let _ = open.file.set_len(open.at);
        return Err(BlocksError::io("marking a pack")(error));
    }
    open.at += bytes.len() as u64;
    open.marked = open.listed.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io, thread, time::Duration};

    use super::*;
    use crate::{ChunkId, packs::LocalPacks};

    /// Appends a record of a stretch's length that is not known.
    fn append(writer: &Writer, id: u8) -> Result<u64> {
        let stored = u32::try_from(STRETCH).unwrap();
        let record =
            Record { id: ChunkId([id; 32]), raw: stored, stored, zstd: false, sealed: false };
        let mut bytes = Vec::new();
        record.write(&vec![id; stored as usize], &mut bytes);
        writer.append(&bytes, &[(record, 0)], |_| true, |_| (), |_, _| ())
    }

    fn writer(flush: fn(&File) -> io::Result<()>) -> (tempfile::TempDir, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let packs = Arc::new(LocalPacks::open(dir.path()).unwrap());
        let writer = Writer { behind: Behind::new(flush), ..Writer::new(packs, 1 << 30, 1) };
        (dir, writer)
    }

    #[test]
    fn what_the_disk_lost_while_nobody_waited_is_told_at_the_next_sync_and_ends_the_writing() {
        let (_dir, writer) = writer(|_| Err(io::Error::from_raw_os_error(5)));
        append(&writer, 1).unwrap();
        while writer.behind.disk().lost.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(writer.sync(), Err(BlocksError::Io { .. })));
        assert!(matches!(writer.sync(), Err(BlocksError::Poisoned)));
        assert!(matches!(append(&writer, 2), Err(BlocksError::Poisoned)));
    }

    #[test]
    fn what_the_disk_wrote_early_is_synced_all_the_same() {
        let (_dir, writer) = writer(File::sync_data);
        append(&writer, 1).unwrap();
        append(&writer, 2).unwrap();
        writer.rotate().unwrap();
        append(&writer, 3).unwrap();
        writer.sync().unwrap();
        let state = writer.state.lock();
        let open = state.open.as_ref().unwrap();
        assert_eq!((open.pack, open.synced), (2, open.at));
        assert!(state.unsynced.is_empty());
    }
}
