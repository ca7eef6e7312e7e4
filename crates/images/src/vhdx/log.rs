//! The log: writes of tables that were begun and may not be in place. They are put over the file
//! as it is read; the file itself is never written.
//!
//! The log is a ring of entries. Those of one run bear one id and rising numbers; the newest
//! whole run whose last entry says where it begins is what counts. A file that says it has such
//! a run, and has none, is refused: what it holds can't be known.

use std::collections::HashMap;
use std::ops::Range;

use super::replayed::{Replayed, SECTOR, WIDTH};
use super::{FORMAT, KIB, bad};
use crate::field::Le;
use crate::work::Work;
use crate::{Feature, ImageError, Source};

/// Logs are of 1 MiB by habit.
const MOST: u64 = 64 << 20;
/// How much longer the log may say that the file is than it is: some blocks of the largest size.
const GROWTH: u64 = 1 << 30;
/// Neither the identifier nor the headers are written by way of the log.
const FIRST: u64 = 192 * KIB;
/// How often the whole log may be summed up; entries that lie apart are once.
const SUMS: u64 = 16;
const HINT: &str = "its log is too long; convert it";

/// One entry that holds up.
#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    len: u64,
    /// Where the run began that it is the end of.
    tail: u64,
    number: u64,
    /// The file was on disk up to here when it was written.
    flushed: u64,
    /// How long the file was to be.
    last: u64,
    descriptors: u32,
}

/// What an entry writes.
enum Write {
    Zeros(Range<u64>),
    Sector(u64, Box<[u8]>),
}

/// The file as it is once the writes of the log `at` with this `id` are in place.
pub(super) fn replay(
    source: Box<dyn Source>,
    at: &Range<u64>,
    id: [u8; 16],
    work: &Work<'_>,
) -> Result<Replayed, ImageError> {
    let len = at.end - at.start;
    if len > MOST {
        return Err(ImageError::TooComplex { limit: MOST, hint: HINT });
    }
    // The log, its sectors again, and what says where they go.
    work.afford(len * 3, HINT)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    source.read_at(at.start, &mut bytes)?;
    let mut ring = Ring { bytes, id, known: HashMap::new(), summed: 0 };
    let run = ring.newest(work)?;
    let Some(head) = run.last() else {
        return Err(ImageError::Feature { format: FORMAT, feature: Feature::DirtyLog });
    };
    let there = source.len();
    let longest = run.iter().map(|entry| entry.last).max().unwrap_or(0).max(there);
    if run.iter().any(|entry| entry.flushed > there) {
        return Err(bad("the file is shorter than its log says it was", at.start + head.at));
    }
    if longest - there > GROWTH {
        return Err(bad("the log says that the file is far longer", at.start + head.at));
    }
    let mut replayed = Replayed::new(source, longest);
    for entry in &run {
        work.again()?;
        for write in ring.writes(entry) {
            let range = match &write {
                Write::Zeros(range) => range.clone(),
                Write::Sector(place, _) => *place..place.saturating_add(SECTOR),
            };
            let inside = range.start >= FIRST && range.start < range.end && range.end <= longest;
            let over_log = range.start < at.end && range.end > at.start;
            if !inside || over_log || !range.start.is_multiple_of(SECTOR) {
                return Err(bad("the log writes where it must not", at.start + entry.at));
            }
            match write {
                Write::Zeros(range) => replayed.zero(range),
                Write::Sector(place, sector) => replayed.put(place, sector),
            }
        }
    }
    Ok(replayed)
}

struct Ring {
    bytes: Vec<u8>,
    id: [u8; 16],
    /// What was found at each place that was looked at, so that none is summed twice.
    known: HashMap<u64, Option<Entry>>,
    /// Bytes that were.
    summed: u64,
}

impl Ring {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes of an entry, from wherever in the ring to wherever.
    fn piece(&self, at: u64, len: u64) -> Vec<u8> {
        let (at, len) = (usize::try_from(at).unwrap_or(0), usize::try_from(len).unwrap_or(0));
        let first = &self.bytes[at..(at + len).min(self.bytes.len())];
        [first, &self.bytes[..len - first.len()]].concat()
    }

    /// The entries of the newest whole run, oldest first; none if there is none.
    fn newest(&mut self, work: &Work<'_>) -> Result<Vec<Entry>, ImageError> {
        let (mut newest, mut at) = (Vec::<Entry>::new(), 0);
        while at < self.len() {
            let run = self.run(at, work)?;
            let whole = run.last().and_then(|head| run.iter().position(|one| one.at == head.tail));
            let (Some(head), Some(tail)) = (run.last(), whole) else {
                at += SECTOR;
                continue;
            };
            // On behind it, unless it went around the end.
            let next = head.at + head.len;
            at = if next > at { next } else { self.len() };
            if newest.last().is_none_or(|best| best.number < head.number) {
                newest = run[tail..].to_vec();
            }
        }
        Ok(newest)
    }

    /// Entries one behind the other, with rising numbers.
    fn run(&mut self, start: u64, work: &Work<'_>) -> Result<Vec<Entry>, ImageError> {
        let (mut run, mut at, mut span) = (Vec::<Entry>::new(), start, 0);
        while let Some(entry) = self.entry(at, work)? {
            span += entry.len;
            let follows =
                run.last().is_none_or(|last| last.number.checked_add(1) == Some(entry.number));
            if !follows || span > self.len() {
                break;
            }
            at = (at + entry.len) % self.len();
            run.push(entry);
        }
        Ok(run)
    }

    fn entry(&mut self, at: u64, work: &Work<'_>) -> Result<Option<Entry>, ImageError> {
        if let Some(known) = self.known.get(&at) {
            return Ok(*known);
        }
        work.again()?;
        let found = self.look(at);
        if self.summed > self.len() * SUMS {
            return Err(ImageError::TooComplex { limit: MOST * SUMS, hint: HINT });
        }
        self.known.insert(at, found);
        Ok(found)
    }

    fn look(&mut self, at: u64) -> Option<Entry> {
        let head = self.piece(at, SECTOR);
        let fields = Le(&head);
        let entry = Entry {
            at,
            len: u64::from(fields.u32(8)),
            tail: u64::from(fields.u32(12)),
            number: fields.u64(16),
            descriptors: fields.u32(24),
            flushed: fields.u64(48),
            last: fields.u64(56),
        };
        let plain = head.starts_with(b"loge")
            && head[32..48] == self.id
            && entry.number > 0
            && (SECTOR..=self.len()).contains(&entry.len)
            && entry.len.is_multiple_of(SECTOR)
            && entry.tail < self.len()
            && entry.tail.is_multiple_of(SECTOR)
            && entry.table() <= entry.len;
        if !plain {
            return None;
        }
        let mut bytes = self.piece(at, entry.len);
        self.summed += entry.len;
        (super::sum_holds(&mut bytes) && entry.holds(&bytes)).then_some(entry)
    }

    fn writes(&self, entry: &Entry) -> impl Iterator<Item = Write> {
        let bytes = self.piece(entry.at, entry.len);
        let mut data = entry.table();
        let mut next = 0;
        let count = entry.descriptors;
        std::iter::from_fn(move || {
            let descriptor = Entry::descriptor(&bytes, next).filter(|_| next < count)?;
            next += 1;
            let (fields, place) = (Le(descriptor), Le(descriptor).u64(16));
            if descriptor.starts_with(b"zero") {
                return Some(Write::Zeros(place..place.saturating_add(fields.u64(8))));
            }
            let from = usize::try_from(data).ok()?;
            data += SECTOR;
            let mut sector = bytes[from..from + WIDTH].to_vec();
            sector[..8].copy_from_slice(&descriptor[8..16]);
            sector[WIDTH - 4..].copy_from_slice(&descriptor[4..8]);
            Some(Write::Sector(place, sector.into()))
        })
    }
}

impl Entry {
    /// The bytes that head and descriptors take; data follow.
    fn table(&self) -> u64 {
        (64 + 32 * u64::from(self.descriptors)).next_multiple_of(SECTOR)
    }

    fn descriptor(bytes: &[u8], n: u32) -> Option<&[u8]> {
        let at = 64 + 32 * usize::try_from(n).ok()?;
        bytes.get(at..at + 32)
    }

    /// Whether each descriptor and each sector is of this very entry.
    fn holds(&self, bytes: &[u8]) -> bool {
        let mut data = self.table();
        for n in 0..self.descriptors {
            let Some(descriptor) = Self::descriptor(bytes, n) else { return false };
            let zeros = descriptor.starts_with(b"zero");
            if !(zeros || descriptor.starts_with(b"desc")) || Le(descriptor).u64(24) != self.number
            {
                return false;
            }
            if zeros {
                if !Le(descriptor).u64(8).is_multiple_of(SECTOR) {
                    return false;
                }
                continue;
            }
            let from = usize::try_from(data).unwrap_or(usize::MAX);
            data += SECTOR;
            if data > self.len {
                return false;
            }
            let sector = &bytes[from..from + WIDTH];
            let fields = Le(sector);
            let high = u64::from(fields.u32(4)) << 32;
            let number = high | u64::from(fields.u32(WIDTH - 4));
            if !sector.starts_with(b"data") || number != self.number {
                return false;
            }
        }
        true
    }
}
