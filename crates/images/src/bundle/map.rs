//! A disk's map: which of its blocks a chunk holds, and where the chunk lies.
//!
//! A map may be larger than memory: it is walked once, and then read page by page.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::bad;
use crate::disk::Reader;
use crate::work::Work;
use crate::{ImageError, Source};

/// The grid of chunks, bytes.
const BLOCK: u64 = 4096;
/// The largest chunk, blocks.
const MAX_BLOCKS: u8 = 64;
/// A chunk crosses no border of regions of so many blocks.
const REGION: u64 = 4096;
/// Records read at once.
const PAGE: usize = 1024;

/// One chunk of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The first block of 4 KiB it holds, from the disk's start.
    pub first: u64,
    /// How many, at most 64.
    pub blocks: u8,
    /// Whether it is compressed, with zstd.
    pub zstd: bool,
    /// Where it lies, counted over the disk's layers.
    pub offset: u64,
    /// As many bytes it has there.
    pub stored: u32,
}

/// How many bytes a chunk of `blocks` blocks has.
#[must_use]
pub fn chunk_bound(blocks: u8) -> u64 {
    u64::from(blocks) * BLOCK
}

impl Record {
    /// The bytes of a record.
    pub const BYTES: usize = 24;

    /// As it lies in a map: three little-endian numbers and the two small ones between.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stored.to_le_bytes());
        bytes[20] = self.blocks;
        bytes[21] = self.zstd.into();
        bytes
    }

    fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (eights, _) = bytes[..16].as_chunks::<8>();
        let record = Self {
            first: u64::from_le_bytes(eights[0]),
            offset: u64::from_le_bytes(eights[1]),
            stored: u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
            blocks: bytes[20],
            zstd: bytes[21] == 1,
        };
        let whole = chunk_bound(record.blocks);
        let stored = u64::from(record.stored);
        let fits = if record.zstd { (1..whole).contains(&stored) } else { stored == whole };
        let sound = (1..=MAX_BLOCKS).contains(&record.blocks)
            && record.first <= u64::MAX / BLOCK - REGION
            && record.first % REGION + u64::from(record.blocks) <= REGION
            && bytes[21] <= 1
            && bytes[22..] == [0, 0]
            && fits;
        sound.then_some(record)
    }

    fn end(&self) -> u64 {
        self.first + u64::from(self.blocks)
    }
}

/// A disk of a bundle.
pub(crate) struct Packed {
    source: Arc<dyn Source>,
    map: Range<u64>,
    /// The first block of each page of the map.
    pages: Vec<u64>,
    /// Where each layer begins, counted over all, and where it lies.
    layers: Vec<(u64, Range<u64>)>,
    size: u64,
    root: [u8; 32],
    last: Mutex<Last>,
}

/// What was read last: reading goes forwards.
#[derive(Default)]
struct Last {
    page: Option<(usize, Arc<[Record]>)>,
    chunk: Option<(u64, Vec<u8>)>,
}

impl Packed {
    /// Walks the whole map; `layers` and `map` were verified.
    pub(super) fn open(
        source: Arc<dyn Source>,
        map: Range<u64>,
        layers: Vec<Range<u64>>,
        (size, root): (u64, [u8; 32]),
        work: &Work<'_>,
    ) -> Result<Self, ImageError> {
        let mut begins = 0;
        let layers = layers.into_iter().map(|range| {
            let at = begins;
            begins += range.end - range.start;
            (at, range)
        });
        let layers: Vec<_> = layers.collect();
        let last = Mutex::default();
        let mut disk = Self { source, map, pages: Vec::new(), layers, size, root, last };
        disk.walk(begins, work)?;
        Ok(disk)
    }

    fn walk(&mut self, total: u64, work: &Work<'_>) -> Result<(), ImageError> {
        let bytes = self.map.end - self.map.start;
        let page = (PAGE * Record::BYTES) as u64;
        if !bytes.is_multiple_of(Record::BYTES as u64) {
            return Err(bad("a map ends within a record", self.map.start));
        }
        work.afford(bytes.div_ceil(page) * 16, "send it as a qcow2 image")?;
        let (mut free, mut offset, mut data, mut layer) = (0, 0, 0, 0);
        for index in 0..usize::try_from(bytes.div_ceil(page)).unwrap_or(0) {
            let at = self.map.start + index as u64 * page;
            work.tick(at)?;
            let records = self.page_at(index)?;
            self.pages.push(records.first().map_or(0, |record| record.first));
            for record in records.iter() {
                let whole = chunk_bound(record.blocks);
                if record.first < free || record.end() * BLOCK > self.size.next_multiple_of(BLOCK) {
                    return Err(bad("chunks overlap or lie outside the disk", at));
                }
                if record.offset != offset {
                    return Err(bad("chunks do not follow each other", at));
                }
                (free, offset) = (record.end(), offset + u64::from(record.stored));
                while self.layers.get(layer).is_some_and(|(_, range)| range.is_empty()) {
                    layer += 1;
                }
                let Some((begins, range)) = self.layers.get(layer) else {
                    return Err(bad("the map lists more than the layers hold", at));
                };
                let ends = begins + (range.end - range.start);
                if offset > ends {
                    return Err(bad("a chunk crosses the border of a layer", at));
                }
                layer += usize::from(offset == ends);
                data += whole;
                if data > work.limits.max_data.next_multiple_of(BLOCK) {
                    return Err(ImageError::TooMuchData { limit: work.limits.max_data });
                }
            }
        }
        if offset != total {
            return Err(bad("the layers hold more than the map lists", self.map.start));
        }
        Ok(())
    }

    /// Reads a page of the map.
    fn page_at(&self, index: usize) -> Result<Arc<[Record]>, ImageError> {
        let at = self.map.start + (index * PAGE * Record::BYTES) as u64;
        let left = usize::try_from(self.map.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(PAGE * Record::BYTES)];
        self.source.read_at(at, &mut bytes)?;
        let (records, _) = bytes.as_chunks::<{ Record::BYTES }>();
        let decode = |record: &[u8; Record::BYTES]| {
            Record::decode(record).ok_or_else(|| bad("a record of a map is not understood", at))
        };
        records.iter().map(decode).collect()
    }

    fn page(&self, index: usize) -> Result<Arc<[Record]>, ImageError> {
        // A panic elsewhere leaves at worst a cold cache.
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).page.clone();
        if let Some((_, page)) = last.filter(|(at, _)| *at == index) {
            return Ok(page);
        }
        let page = self.page_at(index)?;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).page = Some((index, page.clone()));
        Ok(page)
    }

    /// The chunk that holds `block`, or the first one after it.
    fn next(&self, block: u64) -> Result<Option<Record>, ImageError> {
        let index = self.pages.partition_point(|first| *first <= block).saturating_sub(1);
        for index in index..self.pages.len().min(index + 2) {
            let page = self.page(index)?;
            if let Some(record) = page.get(page.partition_point(|record| record.end() <= block)) {
                return Ok(Some(*record));
            }
        }
        Ok(None)
    }

    fn unfold(&self, record: &Record) -> Result<Vec<u8>, ImageError> {
        let layer = self.layers.partition_point(|(begins, _)| *begins <= record.offset);
        // Empty layers begin where the next one does; the last of them holds the chunk.
        let (begins, range) = &self.layers[layer.saturating_sub(1)];
        let at = range.start + (record.offset - begins);
        let mut stored = vec![0; usize::try_from(record.stored).unwrap_or(0)];
        self.source.read_at(at, &mut stored)?;
        if !record.zstd {
            return Ok(stored);
        }
        let whole = usize::try_from(chunk_bound(record.blocks)).unwrap_or(0);
        let mut bytes = vec![0; whole];
        match zstd::bulk::decompress_to_buffer(&stored, &mut bytes) {
            Ok(got) if got == whole => Ok(bytes),
            _ => Err(bad("a chunk does not unfold to its blocks", at)),
        }
    }
}

impl Reader for Packed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), ImageError> {
        while !buf.is_empty() {
            let left = buf.len() as u64;
            let record = self.next(offset / BLOCK)?;
            let start = record.map_or(u64::MAX, |record| record.first * BLOCK);
            let len = match record {
                Some(record) if start <= offset => (record.end() * BLOCK - offset).min(left),
                _ => start.saturating_sub(offset).min(left),
            };
            let (part, rest) = buf.split_at_mut(usize::try_from(len).unwrap_or(0));
            match record.filter(|_| start <= offset) {
                None => part.fill(0),
                Some(record) => {
                    let last =
                        self.last.lock().unwrap_or_else(PoisonError::into_inner).chunk.take();
                    let bytes = match last {
                        Some((first, bytes)) if first == record.first => bytes,
                        _ => self.unfold(&record)?,
                    };
                    let from = usize::try_from(offset - start).unwrap_or(0);
                    part.copy_from_slice(&bytes[from..from + part.len()]);
                    let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                    last.chunk = Some((record.first, bytes));
                }
            }
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        let Some(record) = self.next(from / BLOCK)? else { return Ok(None) };
        let start = (record.first * BLOCK).max(from);
        let end = (record.end() * BLOCK).min(self.size);
        Ok((start < end).then_some(start..end))
    }

    fn promised(&self) -> Option<[u8; 32]> {
        Some(self.root)
    }
}
