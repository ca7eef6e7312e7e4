//! Streamed files: each grain deflated behind a marker that names its place on the disk.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::header::Header;
use super::{SECTOR, bad, grains};
use crate::disk::Reader;
use crate::field::Le;
use crate::inflate;
use crate::map::Map;
use crate::work::Work;
use crate::{ImageError, Source};

/// A grain's first sector on the disk (8) and its deflated length (4).
const MARKER: u64 = 12;
const MARKER_LEN: usize = 12;

pub(crate) struct Packed {
    source: Box<dyn Source>,
    size: u64,
    grain: u64,
    map: Map,
    /// The grain that was unfolded last, by its number.
    last: Mutex<Option<(u64, Vec<u8>)>>,
}

pub(super) fn open(
    source: Box<dyn Source>,
    header: &Header,
    work: &Work<'_>,
) -> Result<Packed, ImageError> {
    let grains = header.size.div_ceil(header.grain);
    let mut map = Map::new(grains, work)?;
    let mut data = 0;
    // Start and length of each grain, in sectors of the file.
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let tables = grains::walk(&*source, header, work, &mut |grain, sector, at| {
        let needed = (header.size - grain * header.grain).min(header.grain);
        let packed = marker(&*source, header, grain, sector, at)?;
        data += needed;
        if data > work.limits.max_data {
            return Err(ImageError::TooMuchData { limit: work.limits.max_data });
        }
        let sectors = (MARKER + packed).div_ceil(SECTOR);
        runs.push((sector, u32::try_from(sectors).unwrap_or(u32::MAX)));
        // The vector may hold twice what it needs.
        work.afford(runs.len() as u64 * 16, "send it as a plain sparse image")?;
        map.set(grain, sector, work)
    })?;
    for range in tables {
        let sector = |at: u64| u32::try_from(at / SECTOR).unwrap_or(u32::MAX);
        let start = sector(range.start);
        runs.push((start, sector(range.end.next_multiple_of(SECTOR)) - start));
    }
    runs.sort_unstable();
    let ends = |(start, len): (u32, u32)| u64::from(start) + u64::from(len);
    if let Some(pair) = runs.windows(2).find(|pair| ends(pair[0]) > u64::from(pair[1].0)) {
        return Err(bad("grains or tables overlap", u64::from(pair[1].0) * SECTOR));
    }
    Ok(Packed { source, size: header.size, grain: header.grain, map, last: Mutex::default() })
}

/// The deflated length of a grain, once its marker is where and what it must be.
fn marker(
    source: &dyn Source,
    header: &Header,
    grain: u64,
    sector: u32,
    entry: u64,
) -> Result<u64, ImageError> {
    let at = u64::from(sector) * SECTOR;
    if at + MARKER > header.end {
        return Err(bad("a grain lies outside the file", entry));
    }
    let mut bytes = [0; MARKER_LEN];
    source.read_at(at, &mut bytes)?;
    let len = u64::from(Le(&bytes).u32(8));
    if Le(&bytes).u64(0) != grain * header.grain / SECTOR {
        return Err(bad("a grain's marker names another place", at));
    }
    // Deflate adds a few bytes to what it cannot shrink.
    if len == 0 || len > header.grain + header.grain / 8 + 64 || at + MARKER + len > header.end {
        return Err(bad("a grain is longer than it can be", at + 8));
    }
    Ok(len)
}

impl Packed {
    fn unfold(&self, grain: u64, sector: u32) -> Result<Vec<u8>, ImageError> {
        let at = u64::from(sector) * SECTOR;
        let mut marker = [0; MARKER_LEN];
        self.source.read_at(at, &mut marker)?;
        // Bounded by the walk; the file is not expected to change, but then costs no more.
        let len = u64::from(Le(&marker).u32(8)).min(2 * self.grain);
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_at(at + MARKER, &mut packed)?;
        let mut bytes = vec![0; usize::try_from(self.grain).unwrap_or(0)];
        let got = inflate::zlib(&packed, &mut bytes).map(|got| got as u64);
        let needed = (self.size - grain * self.grain).min(self.grain);
        match got {
            // The last grain may be cut where the disk ends.
            Some(got) if got >= needed => Ok(bytes),
            _ => Err(bad("a grain does not unfold to one grain", at)),
        }
    }
}

impl Reader for Packed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), ImageError> {
        while !buf.is_empty() {
            let (grain, within) = (offset / self.grain, offset % self.grain);
            let len = (self.grain - within).min(buf.len() as u64);
            let (part, rest) = buf.split_at_mut(usize::try_from(len).unwrap_or(0));
            match self.map.get(grain) {
                None => part.fill(0),
                Some(sector) => {
                    // A panic elsewhere leaves at worst a cold cache.
                    let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                    let bytes = match last.take() {
                        Some((at, bytes)) if at == grain => bytes,
                        _ => self.unfold(grain, sector)?,
                    };
                    let start = usize::try_from(within).unwrap_or(0);
                    part.copy_from_slice(&bytes[start..start + part.len()]);
                    *last = Some((grain, bytes));
                }
            }
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        Ok(self.map.next_data(from, self.grain, self.size))
    }
}
