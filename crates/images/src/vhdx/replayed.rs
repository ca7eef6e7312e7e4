//! A file with writes over it that are not in it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::Source;

/// What the log writes in.
pub(super) const WIDTH: usize = 4096;
pub(super) const SECTOR: u64 = WIDTH as u64;

/// A sector's bytes; none for zeros.
type Written = Option<Box<[u8]>>;

/// A file and what is to be read in place of parts of it.
pub(super) struct Replayed {
    under: Box<dyn Source>,
    len: u64,
    /// By where they begin: where they end, and what they hold; apart from one another.
    spans: BTreeMap<u64, (u64, Written)>,
}

impl Replayed {
    /// The file, with zeros behind its end up to `len`.
    pub(super) fn new(under: Box<dyn Source>, len: u64) -> Self {
        Self { under, len, spans: BTreeMap::new() }
    }

    /// Writes one sector.
    pub(super) fn put(&mut self, at: u64, sector: Box<[u8]>) {
        self.clear(at..at + SECTOR);
        self.spans.insert(at, (at + SECTOR, Some(sector)));
    }

    /// Writes zeros; bounds are multiples of a sector.
    pub(super) fn zero(&mut self, range: Range<u64>) {
        self.clear(range.clone());
        self.spans.insert(range.start, (range.end, None));
    }

    /// Takes away what was written there. Sectors go whole; of zeros the rest stays.
    fn clear(&mut self, range: Range<u64>) {
        let before = self.spans.range(..range.start).next_back();
        let first = before.filter(|(_, (end, _))| *end > range.start).map(|(start, _)| *start);
        let inside = self.spans.range(range.clone()).map(|(start, _)| *start);
        let hit: Vec<u64> = first.into_iter().chain(inside).collect();
        for start in hit {
            let Some((end, None)) = self.spans.remove(&start) else { continue };
            if start < range.start {
                self.spans.insert(start, (range.start, None));
            }
            if end > range.end {
                self.spans.insert(range.end, (end, None));
            }
        }
    }
}

impl Source for Replayed {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let there = usize::try_from(self.under.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let (file, behind) = buf.split_at_mut(there.min(buf.len()));
        if !file.is_empty() {
            self.under.read_at(offset, file)?;
        }
        behind.fill(0);
        let before = self.spans.range(..offset).next_back();
        for (start, (stop, sector)) in before.into_iter().chain(self.spans.range(offset..end)) {
            let (from, to) = ((*start).max(offset), (*stop).min(end));
            if from >= to {
                continue;
            }
            // Both within `buf`, whose length is a usize.
            #[allow(clippy::cast_possible_truncation)]
            let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
            match sector {
                None => part.fill(0),
                Some(sector) => {
                    #[allow(clippy::cast_possible_truncation)] // within a sector
                    let at = (from - start) as usize;
                    part.copy_from_slice(&sector[at..at + part.len()]);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may")]

    use super::*;

    /// The same writes into a plain vector.
    #[test]
    fn writes_over_writes_read_as_the_last_of_each_place() {
        let under: Vec<u8> = (0..20 * 4096_u32).map(|n| (n >> 8) as u8 | 1).collect();
        let len = 24 * SECTOR;
        let mut plain = under.clone();
        plain.resize(len as usize, 0);
        let mut replayed = Replayed::new(Box::new(under), len);
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for step in 0..400_u64 {
            let first = draw(24);
            let (at, zeros) = (first * SECTOR, draw(2) == 0);
            let count = if zeros { 1 + draw(24 - first) } else { 1 };
            let place = at as usize..(at + count * SECTOR) as usize;
            if zeros {
                plain[place].fill(0);
                replayed.zero(at..at + count * SECTOR);
            } else {
                plain[place].fill(step as u8);
                replayed.put(at, vec![step as u8; SECTOR as usize].into());
            }
            let from = draw(len - 1);
            let mut seen = vec![9; (1 + draw(len - from)) as usize];
            replayed.read_at(from, &mut seen).unwrap();
            assert!(seen == plain[from as usize..from as usize + seen.len()], "step {step}");
        }
        assert!(replayed.read_at(len - 1, &mut [0; 2]).is_err());
        assert!(replayed.spans.len() <= 24);
    }
}
