//! qcow2, versions 2 and 3, read only and without anything outside the file.

mod entry;
mod header;
mod unpack;
mod walk;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use entry::Place;
use header::Header;

use crate::disk::Reader;
use crate::work::Work;
use crate::{Format, ImageError, Source};

/// L2 tables kept between reads; each is one cluster.
const CACHED_TABLES: usize = 4;

pub(crate) struct Qcow2 {
    source: Box<dyn Source>,
    header: Header,
    l1: Vec<u64>,
    cache: Mutex<Cache>,
}

/// What was read last, so that reading in order costs each table and cluster once.
#[derive(Default)]
struct Cache {
    /// Newest last: an L1 index and its table.
    tables: Vec<(usize, Vec<u64>)>,
    /// The compressed cluster that was unfolded last, by its offset.
    unpacked: Option<(u64, Vec<u8>)>,
}

impl Qcow2 {
    pub(crate) fn open(source: Box<dyn Source>, work: &Work<'_>) -> Result<Self, ImageError> {
        let header = Header::read(&*source, work.limits)?;
        let l1 = walk::check(&*source, &header, work)?;
        Ok(Self { source, header, l1, cache: Mutex::default() })
    }
}

impl Reader for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), ImageError> {
        let cluster_size = self.header.cluster_size();
        while !buf.is_empty() {
            let within = offset % cluster_size;
            let len = (cluster_size - within).min(buf.len() as u64);
            let (part, rest) = buf.split_at_mut(usize::try_from(len).unwrap_or(0));
            self.read_cluster(offset - within, within, part)?;
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        let cluster_size = self.header.cluster_size();
        let mut start = None;
        let mut at = from - from % cluster_size;
        while from < self.header.size && at < self.header.size {
            // A missing table is one big hole.
            let table = usize::try_from(at / self.header.l2_span()).unwrap_or(usize::MAX);
            let hole = self.l1.get(table).is_none_or(|entry| table_offset(*entry).is_none());
            let (next, stored) = if hole {
                ((at / self.header.l2_span() + 1) * self.header.l2_span(), false)
            } else {
                let stored = !matches!(self.place(&mut self.cache(), at)?, Place::Zero { .. });
                (at + cluster_size, stored)
            };
            match (start, stored) {
                (None, true) => start = Some(at.max(from)),
                (Some(start), false) => return Ok(Some(start..at)),
                _ => {}
            }
            at = next;
        }
        Ok(start.map(|start| start..self.header.size))
    }
}

impl Qcow2 {
    fn read_cluster(&self, guest: u64, within: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        let mut cache = self.cache();
        match self.place(&mut cache, guest)? {
            Place::Zero { .. } => buf.fill(0),
            Place::Plain(offset) => {
                drop(cache);
                self.source.read_at(offset + within, buf)?;
            }
            Place::Packed { offset, len } => {
                if cache.unpacked.as_ref().is_none_or(|(at, _)| *at != offset) {
                    cache.unpacked = Some((offset, self.unpack(offset, len)?));
                }
                let start = usize::try_from(within).unwrap_or(0);
                let bytes = cache.unpacked.as_ref().and_then(|(_, bytes)| bytes.get(start..));
                let bytes = bytes.and_then(|bytes| bytes.get(..buf.len()));
                buf.copy_from_slice(bytes.ok_or_else(|| bad("a cluster is cut short", offset))?);
            }
        }
        Ok(())
    }

    fn unpack(&self, offset: u64, len: u64) -> Result<Vec<u8>, ImageError> {
        // The field's width bounds `len` to two clusters.
        let len = len.min(self.source.len().saturating_sub(offset));
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_at(offset, &mut packed)?;
        let mut cluster = vec![0; 1 << self.header.cluster_bits];
        if unpack::unpack(self.header.compression, &packed, &mut cluster) {
            Ok(cluster)
        } else {
            Err(bad("a compressed cluster does not unfold to one cluster", offset))
        }
    }

    /// Where the cluster at disk offset `guest` is stored.
    fn place(&self, cache: &mut Cache, guest: u64) -> Result<Place, ImageError> {
        let span = self.header.l2_span();
        let index = usize::try_from(guest / span).unwrap_or(usize::MAX);
        let table = self.l1.get(index).and_then(|entry| table_offset(*entry));
        let Some(offset) = table else { return Ok(Place::Zero { reserved: None }) };
        if cache.tables.last().is_none_or(|(at, _)| *at != index) {
            let table = match cache.tables.iter().position(|(at, _)| *at == index) {
                Some(known) => cache.tables.remove(known),
                None => (index, self.read_table(offset)?),
            };
            if cache.tables.len() >= CACHED_TABLES {
                cache.tables.remove(0);
            }
            cache.tables.push(table);
        }
        let within = usize::try_from((guest % span) >> self.header.cluster_bits).unwrap_or(0);
        let raw = cache.tables.last().and_then(|(_, table)| table.get(within));
        raw.and_then(|raw| entry::place(*raw, &self.header).ok())
            .ok_or_else(|| bad("an L2 entry has reserved bits set", offset))
    }

    fn read_table(&self, offset: u64) -> Result<Vec<u64>, ImageError> {
        let mut bytes = vec![0; 1 << self.header.cluster_bits];
        self.source.read_at(offset, &mut bytes)?;
        Ok(walk::entries(&bytes, offset).map(|(_, entry)| entry).collect())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A panic elsewhere leaves at worst a cold cache: entries are pushed whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The L2 table an L1 entry points to; reserved bits were ruled out by the walk.
fn table_offset(entry: u64) -> Option<u64> {
    entry::l2_table(entry).ok().flatten()
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: Format::Qcow2, what, at }
}
