//! What machines read first of a content, so that the next one finds it in memory.

use std::{
    collections::HashSet,
    io,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use vmint_blocks::Tree;
use vmint_disk::{Base, Span};

/// What is told apart within a content, bytes: the grid that chunks are cut on, so that no chunk is
/// read ahead that was not read.
const GRAIN: u64 = vmint_blocks::BLOCK_BYTES as u64;
/// The most that one set may hold, bytes and stretches: a boot reads less, and a record has bounds.
const MOST_BYTES: u64 = 256 << 20;
const MOST_STRETCHES: usize = 4096;

/// The stretches of a content that were read first, in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BootSet {
    /// In grains.
    stretches: Vec<Range<u64>>,
}

impl BootSet {
    /// The stretches in bytes, the first read first.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.stretches.iter().map(|part| part.start * GRAIN..part.end * GRAIN)
    }

    /// The stretches in pieces of at most `most` bytes, as far as they lie
    /// inside `size`.
    pub(crate) fn pieces(&self, most: u64, size: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        self.stretches().flat_map(move |part| {
            let end = part.end.min(size);
            let starts = (part.start..end).step_by(usize::try_from(most).unwrap_or(usize::MAX));
            starts.map(move |at| at..end.min(at + most))
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.stretches().map(|part| part.end - part.start).sum()
    }

    /// What of it is left where `changed` names what has changed of a stretch, in order.
    pub(crate) fn without<E>(
        &self,
        mut changed: impl FnMut(Range<u64>) -> Result<Vec<Range<u64>>, E>,
    ) -> Result<Self, E> {
        let mut left = Vec::new();
        for part in &self.stretches {
            let mut at = part.start;
            for gone in changed(part.start * GRAIN..part.end * GRAIN)? {
                let gone = gone.start / GRAIN..gone.end.div_ceil(GRAIN);
                if at < gone.start {
                    left.push(at..gone.start);
                }
                at = at.max(gone.end);
            }
            if at < part.end {
                left.push(at..part.end);
            }
        }
        left.truncate(MOST_STRETCHES);
        Ok(Self { stretches: left })
    }

    /// Start and length of each stretch, as a record keeps them.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.stretches.iter().flat_map(|part| [part.start, part.end - part.start]).collect()
    }

    /// From such numbers; `None` if they can't be that.
    pub(crate) fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let (pairs, []) = numbers.as_chunks::<2>() else { return None };
        if pairs.len() > MOST_STRETCHES {
            return None;
        }
        let most = vmint_blocks::MAX_CONTENT_BYTES / GRAIN;
        let stretch = |[start, len]: &[u64; 2]| {
            let end = start.checked_add(*len).filter(|end| *end <= most)?;
            Some(*start..end)
        };
        let set = Self { stretches: pairs.iter().map(stretch).collect::<Option<_>>()? };
        // Each is at most 2^48 bytes, and there are not too many.
        (set.bytes() <= MOST_BYTES).then_some(set)
    }
}

/// Writes down what is read of a content while its first machine boots.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    over: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    grains: HashSet<u64>,
    set: BootSet,
}

impl Recorder {
    fn touch(&self, offset: u64, length: u64) {
        if self.over.load(Ordering::Relaxed) || length == 0 {
            return;
        }
        let mut seen = self.seen.lock();
        let seen = &mut *seen;
        for at in offset / GRAIN..=(offset + length - 1) / GRAIN {
            if !seen.grains.insert(at) {
                continue;
            }
            let end = at + 1;
            match seen.set.stretches.last_mut().filter(|last| last.end == at) {
                Some(last) => last.end = end,
                None => seen.set.stretches.push(at..end),
            }
            let full = seen.grains.len() as u64 * GRAIN >= MOST_BYTES
                || seen.set.stretches.len() >= MOST_STRETCHES;
            if full {
                self.over.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// What was read so far.
    pub(crate) fn so_far(&self) -> BootSet {
        self.seen.lock().set.clone()
    }

    /// Ends it; what was read so far.
    pub(crate) fn finish(&self) -> BootSet {
        self.over.store(true, Ordering::Relaxed);
        let mut seen = self.seen.lock();
        seen.grains = HashSet::new();
        std::mem::take(&mut seen.set)
    }
}

/// A content whose reads are written down.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) tree: Tree,
    pub(crate) recorder: std::sync::Arc<Recorder>,
}

impl Base for Watched {
    fn size(&self) -> u64 {
        Base::size(&self.tree)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.recorder.touch(offset, buf.len() as u64);
        Base::read_at(&self.tree, offset, buf)
    }

    fn span(&self, offset: u64) -> io::Result<Span> {
        self.tree.span(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reads_are_kept_in_order_and_once() {
        let recorder = Recorder::default();
        recorder.touch(10 * GRAIN, 4096);
        recorder.touch(10 * GRAIN + 4096, GRAIN);
        recorder.touch(3 * GRAIN, 1);
        recorder.touch(10 * GRAIN, 2 * GRAIN);
        recorder.touch(4 * GRAIN, 0);
        let set = recorder.finish();
        let wanted = [10 * GRAIN..12 * GRAIN, 3 * GRAIN..4 * GRAIN];
        assert_eq!(set.stretches().collect::<Vec<_>>(), wanted);
        assert_eq!(set.bytes(), 3 * GRAIN);
        let pieces: Vec<_> = set.pieces(GRAIN + 1, 11 * GRAIN + 7).collect();
        let wanted =
            [10 * GRAIN..11 * GRAIN + 1, 11 * GRAIN + 1..11 * GRAIN + 7, 3 * GRAIN..4 * GRAIN];
        assert_eq!(pieces, wanted);
        assert_eq!(set.pieces(GRAIN, 3 * GRAIN).count(), 0);
        assert_eq!(BootSet::from_numbers(&set.numbers()), Some(set));
        recorder.touch(0, 1);
        assert_eq!(recorder.finish(), BootSet::default(), "it was over");
        assert_eq!(BootSet::from_numbers(&[1]), None);
        assert_eq!(BootSet::from_numbers(&[u64::MAX / GRAIN, 1]), None);
        assert_eq!(BootSet::from_numbers(&[0, MOST_BYTES / GRAIN + 1]), None);
        assert_eq!(BootSet::from_numbers(&vec![1; 2 * MOST_STRETCHES + 2]), None);
    }

    #[test]
    fn what_has_changed_is_left_out() {
        let recorder = Recorder::default();
        recorder.touch(10 * GRAIN, 6 * GRAIN);
        recorder.touch(2 * GRAIN, 2 * GRAIN);
        let set = recorder.so_far();
        let changed = |part: Range<u64>| {
            let all = [10 * GRAIN..11 * GRAIN, 12 * GRAIN..13 * GRAIN + 1, 15 * GRAIN..16 * GRAIN];
            Ok::<_, ()>(all.into_iter().filter(|gone| part.contains(&gone.start)).collect())
        };
        let left = set.without(changed).unwrap();
        let wanted = [11 * GRAIN..12 * GRAIN, 14 * GRAIN..15 * GRAIN, 2 * GRAIN..4 * GRAIN];
        assert_eq!(left.stretches().collect::<Vec<_>>(), wanted);
        assert_eq!(recorder.finish(), set, "it goes on");
        assert_eq!(set.without(|part| Ok::<_, ()>(vec![part])).unwrap(), BootSet::default());
        set.without(|_| Err(())).unwrap_err();
    }

    #[test]
    fn a_set_has_bounds() {
        let recorder = Recorder::default();
        recorder.touch(0, 1 << 40);
        assert_eq!(recorder.finish().bytes(), MOST_BYTES);
        let recorder = Recorder::default();
        for n in 0..10_000 {
            recorder.touch(2 * n * GRAIN, 1);
        }
        assert_eq!(recorder.finish().numbers().len(), 2 * MOST_STRETCHES);
    }
}
