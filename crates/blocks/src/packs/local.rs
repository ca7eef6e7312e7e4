//! Packs as files of a directory.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Appended, Kept, PackStore, number_of};
use crate::pack::{self, Listed};

/// Files kept open at once; a process may often have no more than 1,024.
const OPEN_FILES: usize = 256;

#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<u32, Place>,
    /// Those whose file is open, oldest first.
    open: VecDeque<u32>,
}

/// `packs/*.pack` and `trash/*.pack`.
#[derive(Debug)]
pub(crate) struct LocalPacks {
    packs: PathBuf,
    trash: PathBuf,
    state: Mutex<State>,
    names_changed: AtomicBool,
}

impl LocalPacks {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let (packs, trash) = (dir.join("packs"), dir.join("trash"));
        fs::create_dir_all(&packs)?;
        let (state, names_changed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { packs, trash, state, names_changed })
    }

    fn file(&self, number: u32) -> io::Result<Arc<File>> {
        let mut state = self.state.lock();
        let place = state.places.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        if let Some(file) = &place.file {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(&place.path)?);
        place.file = Some(file.clone());
        state.open.push_back(number);
        if state.open.len() > OPEN_FILES
            && let Some(oldest) = state.open.pop_front()
            && let Some(place) = state.places.get_mut(&oldest)
        {
            place.file = None;
        }
        Ok(file)
    }

    fn path(&self, number: u32) -> io::Result<PathBuf> {
        let state = self.state.lock();
        state
            .places
            .get(&number)
            .map(|place| place.path.clone())
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

impl PackStore for LocalPacks {
    fn list(&self) -> io::Result<Vec<Kept>> {
        let mut state = self.state.lock();
        let mut kept = Vec::new();
        for (dir, trash) in [(&self.packs, false), (&self.trash, true)] {
            let entries = match fs::read_dir(dir) {
                Err(error) if trash && error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_str().unwrap_or_default();
                let Some(number) = number_of(name) else { continue };
                let since = name.strip_suffix(".pack").and_then(|stem| stem.split_once('-'));
                let since = since.and_then(|(_, since)| since.parse().ok()).unwrap_or(0);
                let since = trash.then_some(since);
                kept.push(Kept { number, bytes: entry.metadata()?.len(), since });
                state.places.insert(number, Place { path, file: None });
            }
        }
        Ok(kept)
    }

    fn create(&self, number: u32) -> io::Result<File> {
        let path = self.packs.join(pack::name(number));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = file.write_all_at(&pack::header(number), 0) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.names_changed.store(true, Ordering::Release);
        self.state.lock().places.insert(number, Place { path, file: None });
        Ok(file)
    }

    fn sync(&self, packs: &[Appended]) -> io::Result<()> {
        packs.iter().try_for_each(|(_, file)| file.sync_data())?;
        if self.names_changed.swap(false, Ordering::AcqRel) {
            File::open(&self.packs)?.sync_all()?;
        }
        Ok(())
    }

    fn takes_whole_packs(&self) -> bool {
        false
    }

    fn read_at(&self, number: u32, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file(number)?.read_exact_at(bytes, offset)
    }

    fn reseal(&self, number: u32, listed: &[Listed], end: u64) -> io::Result<()> {
        pack::seal(&self.path(number)?, listed, end)
    }

    fn bytes(&self, number: u32) -> io::Result<u64> {
        Ok(fs::metadata(self.path(number)?)?.len())
    }

    fn retire(&self, number: u32, since: u64) -> io::Result<()> {
        fs::create_dir_all(&self.trash)?;
        let to = self.trash.join(format!("{number:08x}-{since}.pack"));
        let mut state = self.state.lock();
        let place = state.places.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        if place.path != to {
            fs::rename(&place.path, &to)?;
            place.path = to;
        }
        Ok(())
    }

    fn delete(&self, number: u32) -> io::Result<()> {
        let mut state = self.state.lock();
        let Some(place) = state.places.get(&number) else { return Ok(()) };
        match fs::remove_file(&place.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        state.places.remove(&number);
        state.open.retain(|open| *open != number);
        Ok(())
    }
}
