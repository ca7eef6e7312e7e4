use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
};

use parking_lot::{Mutex, RwLock};

use super::{
    AppendError, Journal, Record,
    record::Chain,
    segment::{self, HEAD, Head, Tail},
};
use crate::{StoreError, keeper::Chore};

/// Where a journal's files are and how long they become.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) first_segment_bytes: u64,
    pub(crate) segment_bytes: u64,
}

/// Where writing begins.
#[derive(Debug)]
pub(crate) enum Begin {
    /// A new segment, behind transaction `last`.
    Fresh { last: u64 },
    /// In a segment that was read before.
    At { path: PathBuf, head: Head, tail: Tail },
}

/// The journal in local files.
#[derive(Debug)]
pub(crate) struct FileJournal {
    layout: Layout,
    active: Mutex<Active>,
    chores: Sender<Chore>,
    /// Held while a spare is written, so that only one is at a time.
    spare: Mutex<()>,
    /// Read while segments are read, written while they are removed.
    trim: RwLock<()>,
}

#[derive(Debug)]
struct Active {
    file: File,
    key: [u8; 32],
    chain: Chain,
    last: u64,
    at: u64,
    size: u64,
    buffer: Vec<u8>,
}

impl FileJournal {
    pub(crate) fn begin(
        layout: Layout,
        begin: Begin,
        chores: Sender<Chore>,
    ) -> Result<Self, StoreError> {
        let active = match begin {
            Begin::Fresh { last } => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|e| {
                    StoreError::io(
                        "drawing random bytes for",
                        &layout.dir,
                        &io::Error::other(e.to_string()),
                    )
                })?;
                let spare = segment::write_spare(&layout.dir, layout.first_segment_bytes)?;
                let head = Head { first: last + 1, key, chain: Chain::default() };
                start(&layout.dir, &spare, &head)?
            }
            Begin::At { path, head, tail } => resume(&path, &head, &tail)?,
        };
        let active = Mutex::new(active);
        Ok(Self { layout, active, chores, spare: Mutex::new(()), trim: RwLock::new(()) })
    }

    /// Keeps the next segment ready, unless one is.
    pub(crate) fn prepare(&self) -> Result<(), StoreError> {
        let size = self.next_size(self.active.lock().size);
        let _one = self.spare.lock();
        if !segment::spare_path(&self.layout.dir).exists() {
            segment::write_spare(&self.layout.dir, size)?;
        }
        Ok(())
    }

    /// Removes segments all of whose transactions are `upto` or before.
    pub(crate) fn trim(&self, upto: u64) -> Result<(), StoreError> {
        let _all = self.trim.write();
        let segments = segment::list(&self.layout.dir)?;
        for pair in segments.windows(2).filter(|pair| pair[1].0 <= upto + 1) {
            let path = &pair[0].1;
            fs::remove_file(path).map_err(|e| StoreError::io("removing", path, &e))?;
        }
        Ok(())
    }

    fn next_size(&self, size: u64) -> u64 {
        (size * 4).min(self.layout.segment_bytes).max(self.layout.first_segment_bytes)
    }

    fn roll(&self, active: &mut Active) -> Result<(), StoreError> {
        let need = (HEAD + active.buffer.len()) as u64;
        let one = self.spare.lock();
        let path = segment::spare_path(&self.layout.dir);
        if fs::metadata(&path).map_or(0, |m| m.len()) < need {
            segment::write_spare(&self.layout.dir, self.next_size(active.size).max(need))?;
        }
        let head = Head { first: active.last + 1, key: active.key, chain: active.chain };
        let next = start(&self.layout.dir, &path, &head)?;
        drop(one);
        let sealed = Chore::Sealed { last: active.last, bytes: active.at };
        let buffer = std::mem::take(&mut active.buffer);
        *active = Active { buffer, ..next };
        // The keeper ends only after the writer does.
        let _ = self.chores.send(sealed);
        Ok(())
    }
}

/// Makes `spare` the segment that begins with `head`.
fn start(dir: &Path, spare: &Path, head: &Head) -> Result<Active, StoreError> {
    let path = segment::path(dir, head.first);
    let begin = || {
        let file = OpenOptions::new().write(true).open(spare)?;
        file.write_all_at(&head.to_bytes(), 0)?;
        file.sync_all()?;
        fs::rename(spare, &path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let (file, size) = begin().map_err(|e: io::Error| StoreError::io("beginning", &path, &e))?;
    segment::sync_dir(dir)?;
    Ok(Active {
        file,
        key: head.key,
        chain: head.chain,
        last: head.first - 1,
        at: HEAD as u64,
        size,
        buffer: Vec::new(),
    })
}

/// Goes on behind the last whole record, with zeros where something was torn.
fn resume(path: &Path, head: &Head, tail: &Tail) -> Result<Active, StoreError> {
    let begin = || {
        let file = OpenOptions::new().write(true).open(path)?;
        if tail.torn {
            let left = usize::try_from(tail.size - tail.at).map_err(io::Error::other)?;
            file.write_all_at(&vec![0; left], tail.at)?;
            file.sync_all()?;
        }
        Ok(file)
    };
    let file = begin().map_err(|e: io::Error| StoreError::io("going on in", path, &e))?;
    Ok(Active {
        file,
        key: head.key,
        chain: tail.chain,
        last: tail.last,
        at: tail.at,
        size: tail.size,
        buffer: Vec::new(),
    })
}

impl Journal for FileJournal {
    fn append(&self, record: &Record) -> Result<(), AppendError> {
        let active = &mut *self.active.lock();
        active.buffer.clear();
        let chain = record.encode(&active.key, active.chain, &mut active.buffer);
        if active.at + active.buffer.len() as u64 > active.size {
            self.roll(active).map_err(AppendError::Refused)?;
        }
        let written = active
            .file
            .write_all_at(&active.buffer, active.at)
            .and_then(|()| active.file.sync_data())
            .map_err(|e| StoreError::io("appending to the journal in", &self.layout.dir, &e));
        written.map_err(AppendError::Unknown)?;
        active.at += active.buffer.len() as u64;
        active.chain = chain;
        active.last = record.last;
        active.buffer.shrink_to(1 << 20);
        Ok(())
    }

    fn read(
        &self,
        after: u64,
        upto: u64,
        visit: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _kept = self.trim.read();
        let segments = segment::list(&self.layout.dir)?;
        for (at, (first, path)) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map(|next| next.0);
            if *first > upto || next.is_some_and(|next| next <= after + 1) {
                continue;
            }
            segment::scan(path, next.is_none(), |record| {
                let last = record.last;
                if last > after && last <= upto {
                    visit(record)?;
                }
                Ok(if last >= upto { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        Ok(())
    }
}
