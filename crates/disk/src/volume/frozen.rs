//! Freezing what was written so far, and building on its snapshot.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::{Stack, Volume, check_label, manifest_of};
use crate::layer::{self, Layer};
use crate::map::State;
use crate::{BLOCK, Base, DiskError, manifest};

/// More dirty ranges than this are reported coarser.
const MAX_RANGES: usize = 1 << 20;
/// How coarse: 16 blocks, the smallest chunk's average neighbourhood.
const COARSE: u64 = 64 << 10;

/// A volume as it was at one moment; stays readable whatever happens to the volume.
pub struct Frozen {
    stack: Arc<Stack>,
}

/// What of a freeze could be done while writes went on. Holds up every other freeze.
struct Ready<'a> {
    volume: &'a Volume,
    last: MutexGuard<'a, u64>,
    now: Arc<Stack>,
    next: Stack,
    seq: u64,
}

/// Takes volumes as they are at one moment: no write that was answered before another began is
/// missing where the other is there, also not across volumes. Gives what was frozen in the order
/// of `volumes`, none of which may be named twice.
///
/// Writes pause only while those in flight end and the manifests are renamed; all that was
/// written before is on disk on return. A frozen volume need not be rebased: a later freeze
/// includes what this one holds.
pub fn freeze_all(volumes: &[&Volume]) -> Result<Vec<Frozen>, DiskError> {
    // In one order, so that two sets never wait for one another.
    let mut order: Vec<usize> = (0..volumes.len()).collect();
    order.sort_by(|a, b| volumes[*a].dir.cmp(&volumes[*b].dir));
    for pair in order.windows(2) {
        if volumes[pair[0]].dir == volumes[pair[1]].dir {
            return Err(DiskError::InUse(volumes[pair[0]].dir.clone()));
        }
    }
    // Most of the work goes first, while writes go on.
    let ready = order.iter().map(|n| volumes[*n].make_ready());
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let stacks = {
        let _alone: Vec<_> = ready.iter().map(|ready| ready.volume.gate.write()).collect();
        ready.into_iter().map(Ready::put_on_top).collect::<Result<Vec<_>, _>>()?
    };
    let mut frozen: Vec<Option<Frozen>> = volumes.iter().map(|_| None).collect();
    for (n, stack) in order.into_iter().zip(stacks) {
        volumes[n].writes.fetch_add(1, Ordering::AcqRel);
        volumes[n].flush().map_err(DiskError::io("flush the volume"))?;
        frozen[n] = Some(Frozen { stack: Arc::new(stack) });
    }
    Ok(frozen.into_iter().flatten().collect())
}

impl Ready<'_> {
    /// Puts the new layer on top; the caller lets nobody write meanwhile.
    fn put_on_top(mut self) -> Result<Stack, DiskError> {
        let now = &self.now;
        match now.layers.split_last() {
            Some((top, below)) if top.is_empty() && !below.is_empty() => {
                // Nothing came since the last freeze: the empty layer serves again.
                Ok(Stack { layers: below.to_vec(), ..(**now).clone() })
            }
            _ => {
                let volume = self.volume;
                manifest::publish(&volume.dir).map_err(DiskError::io("rename the manifest"))?;
                volume.unsynced_names.store(true, Ordering::Release);
                *volume.stack.write() = Arc::new(self.next);
                *self.last = self.seq;
                Ok((**now).clone())
            }
        }
    }
}

impl Volume {
    /// Takes the volume as it is between two requests; see [`freeze_all`].
    pub fn freeze(&self) -> Result<Frozen, DiskError> {
        let mut frozen = freeze_all(&[self])?;
        frozen.pop().ok_or_else(|| DiskError::Missing(self.dir.clone()))
    }

    fn make_ready(&self) -> Result<Ready<'_>, DiskError> {
        let last = self.admin.lock();
        self.flush().map_err(DiskError::io("flush the volume"))?;
        let (now, seq) = (self.stack(), *last + 1);
        let fresh = Layer::new(&self.dir, seq, self.boot, now.crypt.clone());
        let fresh = fresh.map_err(DiskError::io("make a layer"))?;
        let mut layers = now.layers.clone();
        layers.push(Arc::new(fresh));
        let next = Stack { layers, ..(*now).clone() };
        let prepared = manifest_of(&next).prepare(&self.dir, true);
        prepared.map_err(DiskError::io("write the volume's manifest"))?;
        Ok(Ready { volume: self, last, now, next, seq })
    }

    /// What an earlier freeze took, found again by its [`Frozen::layer`] and its size, also after
    /// the volume was closed and opened. None once the volume was put on what that or a later
    /// freeze holds.
    #[must_use]
    pub fn frozen(&self, layer: u64, size: u64) -> Option<Frozen> {
        let now = self.stack();
        let layers: Vec<_> = now.layers.iter().filter(|one| one.seq <= layer).cloned().collect();
        let there = layers.last().is_some_and(|newest| newest.seq == layer);
        let open = now.layers.last().is_some_and(|top| top.seq > layer);
        let fits = size <= now.size && now.base.as_ref().is_none_or(|base| base.size() <= size);
        (there && open && fits)
            .then(|| Frozen { stack: Arc::new(Stack { size, layers, ..(*now).clone() }) })
    }

    /// Puts the volume on `base`, which has the content and size of `frozen`, and drops the
    /// layers it holds. False if a later freeze was rebased before: then nothing is left to do.
    pub fn rebase(
        &self,
        label: &str,
        base: Arc<dyn Base>,
        frozen: &Frozen,
    ) -> Result<bool, DiskError> {
        check_label(Some(label))?;
        let _admin = self.admin.lock();
        let now = self.stack();
        let held = &frozen.stack.layers;
        let until = held.last().map_or(0, |layer| layer.seq);
        if base.size() != frozen.stack.size || held.iter().any(|layer| layer.dir() != self.dir) {
            return Err(DiskError::Foreign);
        }
        let (dropped, layers): (Vec<_>, Vec<_>) =
            now.layers.iter().cloned().partition(|layer| layer.seq <= until);
        if dropped.is_empty() {
            return Ok(false);
        }
        let dropped: Vec<_> = dropped.iter().map(|layer| layer.seq).collect();
        let label = Some(label.to_owned());
        self.replace(Stack { base: Some(base), label, layers, ..(*now).clone() })?;
        // Whoever still reads a dropped layer has its files open.
        layer::drop_layers(&self.dir, &dropped).map_err(DiskError::io("remove a layer"))?;
        Ok(true)
    }
}

impl Frozen {
    /// The size in bytes at that moment.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stack.size
    }

    /// The newest layer it holds; finds it again by [`Volume::frozen`].
    #[must_use]
    pub fn layer(&self) -> u64 {
        self.stack.layers.last().map_or(0, |layer| layer.seq)
    }

    /// The label of the base it was taken over.
    #[must_use]
    pub fn base_label(&self) -> Option<&str> {
        self.stack.label.as_deref()
    }

    /// What differs from the base: ascending byte ranges, apart from each other, at most a
    /// million (coarser then). Includes what was zeroed.
    #[must_use]
    pub fn dirty(&self) -> Vec<Range<u64>> {
        let mut ranges = self.ranges(BLOCK);
        if ranges.len() > MAX_RANGES {
            ranges = self.ranges(COARSE);
        }
        ranges
    }

    /// Fills `buf` with the content of that moment; the base shines through.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.stack.check(offset, buf.len() as u64)?;
        self.stack.read_at(offset, buf)
    }

    fn ranges(&self, unit: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let blocks = self.stack.size.div_ceil(BLOCK);
        let mut at = 0;
        while at < blocks {
            // The shortest run of "absent" among the layers, or of anything in one of them.
            let mut end = blocks;
            let mut dirty = false;
            for layer in &self.stack.layers {
                let (state, run) = layer.run(at, end);
                if state != State::Absent {
                    (dirty, end) = (true, run);
                    break;
                }
                end = run;
            }
            if dirty {
                let start = at * BLOCK / unit * unit;
                let end = (end * BLOCK).next_multiple_of(unit).min(self.stack.size);
                match ranges.last_mut() {
                    Some(last) if last.end >= start => last.end = last.end.max(end),
                    _ => ranges.push(start..end),
                }
            }
            at = end;
        }
        ranges
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("size", &self.size()).finish_non_exhaustive()
    }
}
