//! The structural walk: every table is read and every pointer checked before data is used.
//!
//! Without internal snapshots, each cluster of an honest file is used for one thing only. The
//! walk keeps that account, so no table can pose as data, no data as a table, and no cluster can
//! be unfolded into many.

use super::entry::{self, Place};
use super::header::Header;
use crate::work::Work;
use crate::{Format, ImageError, Limits, Source};

/// What a cluster of the file is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    Table,
    Data,
    /// Holds compressed clusters; several may share it.
    Packed,
}

/// The use of each cluster, two bits each.
struct Account {
    cells: Vec<u8>,
    cluster_bits: u32,
}

impl Account {
    fn get(&self, cluster: u64) -> Use {
        let (at, shift) = Self::place(cluster);
        match self.cells.get(at).map_or(1, |cell| cell >> shift & 3) {
            0 => Use::Free,
            1 => Use::Table,
            2 => Use::Data,
            _ => Use::Packed,
        }
    }

    fn set(&mut self, cluster: u64, to: Use) {
        let (at, shift) = Self::place(cluster);
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = *cell & !(3 << shift) | (to as u8) << shift;
        }
    }

    fn place(cluster: u64) -> (usize, u64) {
        (usize::try_from(cluster / 4).unwrap_or(usize::MAX), cluster % 4 * 2)
    }

    /// Takes the clusters of `offset..offset + len` for one use; false if any is taken.
    fn take(&mut self, offset: u64, len: u64, to: Use) -> bool {
        let last = (offset + len.max(1) - 1) >> self.cluster_bits;
        for cluster in offset >> self.cluster_bits..=last {
            let now = self.get(cluster);
            if now != Use::Free && !(now == Use::Packed && to == Use::Packed) {
                return false;
            }
            self.set(cluster, to);
        }
        true
    }
}

struct Walk<'a> {
    source: &'a dyn Source,
    header: &'a Header,
    file_len: u64,
    account: Account,
    /// Bytes the image unfolds to.
    data: u64,
    /// Where each compressed cluster starts, to find two guests of one stream.
    packed: Vec<u64>,
    packed_limit: usize,
    limits: &'a Limits,
}

/// Checks the whole file; returns the L1 entries the disk needs.
pub(super) fn check(
    source: &dyn Source,
    header: &Header,
    work: &Work<'_>,
) -> Result<Vec<u64>, ImageError> {
    let file_len = source.len();
    let cells = file_len.div_ceil(header.cluster_size()).div_ceil(4);
    let l1_bytes = header.l1_needed() * 8;
    let limits = work.limits;
    let limit = limits.max_memory;
    let Some(spare) = limit.checked_sub(cells + l1_bytes) else {
        let hint = "convert it to raw, or to qcow2 with 64 KiB clusters";
        return Err(ImageError::TooComplex { limit, hint });
    };
    let too_big = |_| ImageError::TooComplex { limit, hint: "send it in smaller disks" };
    let cells = vec![0; usize::try_from(cells).map_err(too_big)?];
    let mut walk = Walk {
        source,
        header,
        file_len,
        account: Account { cells, cluster_bits: header.cluster_bits },
        data: 0,
        packed: Vec::new(),
        // A growing vector may hold twice what it needs.
        packed_limit: usize::try_from(spare / 16).unwrap_or(usize::MAX),
        limits,
    };
    walk.tables()?;
    let l1 = walk.l1()?;
    let mut table = vec![0; usize::try_from(header.cluster_size()).map_err(too_big)?];
    for (index, entry) in l1.iter().enumerate() {
        if let Some(offset) = walk.table_of(*entry, index as u64)? {
            work.tick(walk.data)?;
            source.read_at(offset, &mut table)?;
            walk.l2(&table, offset, index as u64 * header.l2_span())?;
        }
    }
    walk.packed.sort_unstable();
    if let Some(pair) = walk.packed.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(bad("two places of the disk share one compressed cluster", pair[0]));
    }
    Ok(l1)
}

impl Walk<'_> {
    /// The header, the L1 table, and the reference counts' table and blocks.
    fn tables(&mut self) -> Result<(), ImageError> {
        let header = self.header;
        self.account.set(0, Use::Table);
        if !self.account.take(header.l1_offset, header.l1_entries * 8, Use::Table) {
            return Err(bad("the L1 table overlaps the header", header.l1_offset));
        }
        if header.refcount_bytes == 0 {
            return Ok(());
        }
        if !self.account.take(header.refcount_offset, header.refcount_bytes, Use::Table) {
            return Err(bad("the reference-count table overlaps a table", header.refcount_offset));
        }
        // Counts are never used, but nothing else may claim the blocks that hold them.
        let (start, bytes) = (header.refcount_offset, header.refcount_bytes);
        for (at, entry) in entries(&self.read(start, bytes)?, start) {
            let block = entry & !0x1ff;
            if block != 0 && !self.claim(block, Use::Table) {
                return Err(bad("a reference-count block is misplaced", at));
            }
        }
        Ok(())
    }

    /// Reads the L1 table and claims the L2 tables.
    fn l1(&mut self) -> Result<Vec<u64>, ImageError> {
        let start = self.header.l1_offset;
        let bytes = self.read(start, self.header.l1_needed() * 8)?;
        let l1: Vec<u64> = entries(&bytes, start).map(|(_, entry)| entry).collect();
        drop(bytes);
        for (index, entry) in l1.iter().enumerate() {
            if let Some(offset) = self.table_of(*entry, index as u64)?
                && !self.claim(offset, Use::Table)
            {
                let at = start + index as u64 * 8;
                return Err(bad("an L2 table is unaligned, outside the file or shared", at));
            }
        }
        Ok(l1)
    }

    fn table_of(&self, entry: u64, index: u64) -> Result<Option<u64>, ImageError> {
        let at = self.header.l1_offset + index * 8;
        entry::l2_table(entry).map_err(|_| bad("an L1 entry has reserved bits set", at))
    }

    /// Checks one L2 table, which maps the disk from `guest` on.
    fn l2(&mut self, table: &[u8], offset: u64, guest: u64) -> Result<(), ImageError> {
        let cluster_size = self.header.cluster_size();
        for (index, (at, raw)) in entries(table, offset).enumerate() {
            let guest = guest + index as u64 * cluster_size;
            let place = entry::place(raw, self.header)
                .map_err(|_| bad("an L2 entry has reserved bits set", at))?;
            // Past the disk's end only the pointers' shape matters: they are never followed.
            let needed = self.header.size.saturating_sub(guest).min(cluster_size);
            if needed == 0 {
                continue;
            }
            let fits = match place {
                Place::Zero { reserved: None } => continue,
                Place::Zero { reserved: Some(offset) } => {
                    // Set aside but never read: it may lie past the end of the file.
                    offset.is_multiple_of(cluster_size)
                        && (offset >= self.file_len || self.take(offset, Use::Data))
                }
                Place::Plain(offset) => {
                    self.data += needed;
                    offset.is_multiple_of(cluster_size)
                        && offset.checked_add(needed).is_some_and(|end| end <= self.file_len)
                        && self.take(offset, Use::Data)
                }
                Place::Packed { offset, len } => {
                    self.data += needed;
                    self.pack(offset, len)?
                }
            };
            if !fits {
                let what = "a cluster is unaligned, outside the file or used twice";
                return Err(bad(what, at));
            }
            if self.data > self.limits.max_data {
                return Err(ImageError::TooMuchData { limit: self.limits.max_data });
            }
        }
        Ok(())
    }

    fn pack(&mut self, offset: u64, len: u64) -> Result<bool, ImageError> {
        if offset >= self.file_len {
            return Ok(false);
        }
        if self.packed.len() >= self.packed_limit {
            let hint = "it holds too many compressed clusters; convert it without compression";
            return Err(ImageError::TooComplex { limit: self.limits.max_memory, hint });
        }
        self.packed.push(offset);
        // The last one may be cut short by the end of the file.
        Ok(self.account.take(offset, len.min(self.file_len - offset), Use::Packed))
    }

    /// Claims a whole cluster that must lie in the file.
    fn claim(&mut self, offset: u64, to: Use) -> bool {
        let size = self.header.cluster_size();
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.file_len);
        inside && offset.is_multiple_of(size) && self.take(offset, to)
    }

    fn take(&mut self, offset: u64, to: Use) -> bool {
        self.account.take(offset, 1, to)
    }

    /// `len` is bounded by the header's checks (at most 32 MiB).
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// The eight-byte numbers of a table and where in the file each stands.
pub(super) fn entries(table: &[u8], offset: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    table
        .as_chunks()
        .0
        .iter()
        .enumerate()
        .map(move |(index, bytes)| (offset + index as u64 * 8, u64::from_be_bytes(*bytes)))
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: Format::Qcow2, what, at }
}
