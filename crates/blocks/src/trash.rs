//! Collected packs, kept for a while in case a root was not listed.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::{
    BlocksError, ChunkId, Result,
    index::{Loc, PlainMap, Prefix},
    pack::Pack,
    store::{load_pack, numbered},
};

#[derive(Debug, Default)]
struct State {
    /// A pack, when it came (seconds of Unix time) and its bytes.
    packs: HashMap<u32, (Arc<Pack>, u64, u64)>,
    chunks: PlainMap<Prefix, Loc>,
}

#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    state: Mutex<State>,
}

impl Trash {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        let trash = Self { dir, state: Mutex::default() };
        match numbered(&trash.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trash),
            Err(error) => return Err(BlocksError::io("listing the trash")(error)),
            Ok(found) => {
                for (number, path) in found {
                    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                    let since = name.rsplit('-').next().and_then(|since| since.parse().ok());
                    trash.keep(Pack::new(number, path.clone()), since.unwrap_or(0));
                }
            }
        }
        Ok(trash)
    }

    fn keep(&self, pack: Arc<Pack>, since: u64) {
        let path = pack.path.read().clone();
        // Only a second chance is lost with a pack that cannot be listed.
        let listed = load_pack(&path).unwrap_or_default();
        let bytes = fs::metadata(&path).map_or(0, |meta| meta.len());
        let mut state = self.state.lock();
        state.chunks.extend(listed.iter().map(|entry| {
            let loc = Loc::new(pack.number, entry.offset, entry.stored, entry.raw);
            (Prefix::from(&entry.id), loc)
        }));
        state.packs.insert(pack.number, (pack, since, bytes));
    }

    /// Takes a pack out of use.
    pub(crate) fn take(&self, pack: &Arc<Pack>) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let since = now();
        let path = self.dir.join(format!("{:08x}-{since}.pack", pack.number));
        {
            let mut current = pack.path.write();
            fs::rename(&*current, &path)?;
            *current = path;
        }
        self.keep(pack.clone(), since);
        Ok(())
    }

    /// Deletes what has been here for `grace`; returns packs and bytes.
    pub(crate) fn empty(&self, grace: Duration) -> io::Result<(u64, u64)> {
        let mut state = self.state.lock();
        let until = now().saturating_sub(grace.as_secs());
        let due: Vec<u32> = state
            .packs
            .iter()
            .filter(|(_, (_, since, _))| *since <= until)
            .map(|(number, _)| *number)
            .collect();
        let mut deleted = (0, 0);
        for number in due {
            let Some((pack, _, bytes)) = state.packs.get(&number) else { continue };
            let path = pack.path.read().clone();
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            deleted = (deleted.0 + 1, deleted.1 + bytes);
            state.packs.remove(&number);
        }
        if deleted.0 > 0 {
            let State { packs, chunks } = &mut *state;
            chunks.retain(|_, loc| packs.contains_key(&loc.pack));
        }
        Ok(deleted)
    }

    pub(crate) fn find(&self, id: &ChunkId) -> Option<(Arc<Pack>, Loc)> {
        let state = self.state.lock();
        let loc = state.chunks.get(&Prefix::from(id))?;
        let (pack, ..) = state.packs.get(&loc.pack)?;
        Some((pack.clone(), *loc))
    }

    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.state.lock().packs.keys().copied().collect()
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.packs.len() as u64, state.packs.values().map(|(_, _, bytes)| bytes).sum())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
