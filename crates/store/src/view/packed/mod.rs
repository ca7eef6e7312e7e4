//! The view on disk: sorted runs of packed blocks, kept in sled.
//!
//! sled takes tens of microseconds a row whatever its size, so a row of its
//! holds a block of many of ours. A batch becomes a run of blocks; runs of
//! about the same size are merged into one; the manifest says which count and
//! is replaced in one step. A run never changes, and each of its blocks is
//! checked against the run's index whenever it is read.

mod block;
mod blocks;
mod bloom;
mod manifest;
mod merge;
mod run;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::View;
use crate::{
    StoreError,
    layer::{Row, Writes, lower},
};
use blocks::Blocks;
use manifest::Manifest;
use merge::Merged;
use run::{Run, Writer};

/// How a packed view lays out what it holds. All sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    /// sled's page cache.
    pub(crate) cache: u64,
    /// About the size of a block.
    pub(crate) block: usize,
    /// About the size of a batch.
    pub(crate) batch: u64,
}

/// After so much a merge looks whether there is still room.
const STEP: usize = 1 << 20;

/// Takes one row.
pub(crate) type Fill<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

#[derive(Debug)]
pub(crate) struct PackedView {
    store: Blocks,
    packing: Packing,
    shown: RwLock<Arc<Shown>>,
    books: Mutex<Books>,
    /// Held by the one merge there is.
    merging: Mutex<()>,
}

/// What readers see.
#[derive(Debug, Default, Clone)]
struct Shown {
    seq: Option<u64>,
    /// Newest first.
    runs: Vec<Arc<Run>>,
}

/// What only those who change it see.
#[derive(Debug, Default)]
struct Books {
    next: u64,
    dead: Vec<u64>,
    /// No longer shown, but perhaps still read.
    retired: Vec<Arc<Run>>,
    /// Runs of which something lies about that nobody reads.
    orphans: Vec<u64>,
}

impl PackedView {
    /// Opens or makes the view in `dir`. Fails if what is there is no such view
    /// or its manifest or an index is damaged; blocks are only looked at when
    /// they are read.
    pub(crate) fn open(dir: &Path, packing: Packing) -> Result<Self, StoreError> {
        let store = Blocks::open(dir, packing.cache)?;
        let manifest = match store.manifest()? {
            Some(bytes) => Manifest::from_bytes(&bytes)?,
            None if store.is_empty() => Manifest::default(),
            None => return Err(damaged()),
        };
        // Made after this manifest, so of no account, and not to be mistaken.
        let next = store.last_run()?.map_or(manifest.next, |last| manifest.next.max(last + 1));
        let dead: Vec<_> = manifest.dead.into_iter().chain(manifest.next..next).collect();
        let books = Books { next, orphans: dead.clone(), dead, ..Books::default() };
        let runs = manifest.runs.into_iter().map(|head| Ok(Arc::new(Run::load(&store, head)?)));
        let shown = Shown { seq: manifest.seq, runs: runs.collect::<Result<_, StoreError>>()? };
        Ok(Self {
            store,
            packing,
            shown: RwLock::new(Arc::new(shown)),
            books: Mutex::new(books),
            merging: Mutex::new(()),
        })
    }

    /// Fills an empty view with `rows`, which come in key order; they are the
    /// state after transaction `seq`.
    pub(crate) fn load(
        &self,
        seq: u64,
        rows: impl FnOnce(&mut Fill<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut run = self.begin();
        rows(&mut |key, value| run.push(key, Some(value)).map(drop))?;
        let run = run.finish()?;
        self.install(&[], run, Some(seq))
    }

    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.read())
    }

    /// Begins a run that is not shown yet.
    fn begin(&self) -> Writer<'_> {
        let mut books = self.books.lock();
        let id = books.next;
        books.next += 1;
        books.dead.push(id);
        Writer::new(&self.store, id, self.packing.block)
    }

    /// Shows `new` in the place of the runs `old`, or as the newest.
    fn install(
        &self,
        old: &[Arc<Run>],
        new: Option<Run>,
        seq: Option<u64>,
    ) -> Result<(), StoreError> {
        let mut books = self.books.lock();
        let mut shown = Shown::clone(&self.shown());
        let place = old.first().and_then(|old| shown.runs.iter().position(|r| Arc::ptr_eq(r, old)));
        shown.runs.retain(|run| !old.iter().any(|old| Arc::ptr_eq(run, old)));
        books.dead.extend(old.iter().map(|run| run.head.id));
        if let Some(new) = new {
            books.dead.retain(|id| *id != new.head.id);
            shown.runs.insert(place.unwrap_or(0), Arc::new(new));
        }
        shown.seq = seq.or(shown.seq);
        let manifest = Manifest {
            seq: shown.seq,
            next: books.next,
            dead: books.dead.clone(),
            runs: shown.runs.iter().map(|run| run.head.clone()).collect(),
        };
        self.store.put_manifest(&manifest.to_bytes())?;
        *self.shown.write() = Arc::new(shown);
        books.retired.extend(old.iter().cloned());
        Ok(())
    }

    /// Removes the runs that nobody reads any more.
    fn clear(&self) -> Result<(), StoreError> {
        let (free, held) = {
            let mut books = self.books.lock();
            std::mem::take(&mut books.retired)
                .into_iter()
                .partition::<Vec<_>, _>(|run| Arc::strong_count(run) == 1)
        };
        let orphans = {
            let mut books = self.books.lock();
            books.retired.extend(held);
            books.orphans.extend(free.iter().map(|run| run.head.id));
            std::mem::take(&mut books.orphans)
        };
        for id in orphans {
            self.store.sweep(id)?;
            self.books.lock().dead.retain(|dead| *dead != id);
        }
        Ok(())
    }

    /// Puts one run in the place of `old`; whether there was room for all of it.
    fn rewrite(
        &self,
        old: &[Arc<Run>],
        bottom: bool,
        room: &dyn Fn(u64) -> bool,
    ) -> Result<bool, StoreError> {
        let mut rows = Merged::new(&self.store, old, |_| false)?;
        let (mut new, mut since) = (self.begin(), 0);
        while rows.advance()? {
            let (key, value) = rows.row()?;
            // At the bottom there is nothing left to hide.
            if value.is_some() || !bottom {
                since += new.push(key, value)?;
            }
            if since > STEP {
                since = 0;
                if !room(STEP as u64) {
                    self.books.lock().orphans.push(new.id());
                    return Ok(false);
                }
            }
        }
        self.install(old, new.finish()?, None)?;
        Ok(true)
    }
}

impl View for PackedView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let hash = bloom::hash(key);
        for run in self.shown().runs.iter().filter(|run| run.may_hold(key, hash)) {
            let block = run.block(&self.store, run.seek(|first| first <= key))?;
            let at = block.seek(|other| other < key)?;
            if at < block.len()
                && let (found, value) = block.entry(at)?
                && found == key
            {
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        use std::ops::Bound;
        let from = lower(prefix, after);
        let before = |key: &[u8]| match from {
            Bound::Included(from) => key < from,
            Bound::Excluded(from) => key <= from,
            Bound::Unbounded => false,
        };
        let shown = self.shown();
        let mut rows = Merged::new(&self.store, &shown.runs, before)?;
        let mut out = Vec::new();
        while out.len() < limit && rows.advance()? {
            let (key, value) = rows.row()?;
            if !key.starts_with(prefix) {
                break;
            }
            out.extend(value.map(|value| (key.to_vec(), value.to_vec())));
        }
        Ok(out)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let shown = self.shown();
        let within = |key: &[u8]| key <= prefix || key.starts_with(prefix);
        let mut found = merge::last(&self.store, &shown.runs, within)?;
        // Removed rows hide what lies before them.
        while let Some((key, value)) = found {
            if !key.starts_with(prefix) {
                return Ok(None);
            }
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
            found = merge::last(&self.store, &shown.runs, |other| *other < *key)?;
        }
        Ok(None)
    }

    fn apply(&self, writes: &Writes, seq: u64) -> Result<(), StoreError> {
        let first = self.shown().runs.is_empty();
        let mut run = self.begin();
        for (key, value) in writes {
            if value.is_some() || !first {
                run.push(key, value.as_deref())?;
            }
        }
        let run = run.finish()?;
        self.install(&[], run, Some(seq))
    }

    fn seq(&self) -> Option<u64> {
        self.shown().seq
    }

    fn verify(&self) -> Result<(), StoreError> {
        for run in &self.shown().runs {
            for number in 0..run.blocks.len() {
                run.block(&self.store, number)?;
            }
        }
        Ok(())
    }

    fn pile(&self) -> usize {
        self.shown().runs.len()
    }

    fn tidy(&self, fan: usize, room: &dyn Fn(u64) -> bool) -> Result<bool, StoreError> {
        let _one = self.merging.lock();
        self.clear()?;
        let shown = self.shown();
        let sizes: Vec<_> = shown.runs.iter().map(|run| run.head.bytes).collect();
        let Some(range) = merge::pick(&sizes, self.packing.batch, fan) else {
            return Ok(false);
        };
        let bottom = range.end == shown.runs.len();
        let old = shown.runs[range.clone()].to_vec();
        if !room(sizes[range].iter().sum()) {
            return Ok(false);
        }
        // While it is written readers may come and go.
        drop(shown);
        let done = self.rewrite(&old, bottom, room)?;
        drop(old);
        self.clear()?;
        Ok(done)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

fn damaged() -> StoreError {
    StoreError::Corrupt { place: "the view".into() }
}
