//! The first cluster of a qcow2 file.

use crate::field::Be;
use crate::{Feature, Format, ImageError, Limits, Source};

/// The largest L1 table, as QEMU bounds it too.
const MAX_L1_BYTES: u64 = 32 << 20;
/// The largest reference-count table, as QEMU bounds it too.
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const V2_LENGTH: u32 = 72;
const V3_LENGTH: u32 = 104;

/// A bit of the incompatible features.
mod incompatible {
    pub(super) const DIRTY: u64 = 1;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
}

/// A type of header extension.
mod extension {
    pub(super) const END: u32 = 0;
    pub(super) const DATA_FILE: u32 = 0x4441_5441;
    pub(super) const ENCRYPTION: u32 = 0x0537_be77;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What the header says, every number within its bounds.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Of the disk, in bytes.
    pub(super) size: u64,
    pub(super) l1_offset: u64,
    /// Entries in the file's table; those we need come first.
    pub(super) l1_entries: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_bytes: u64,
    pub(super) compression: Compression,
}

impl Header {
    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Guest bytes that one L2 table maps: its eight-byte entries fill one cluster.
    pub(super) fn l2_span(&self) -> u64 {
        1 << (2 * self.cluster_bits - 3)
    }

    /// L1 entries that the disk's size calls for.
    pub(super) fn l1_needed(&self) -> u64 {
        self.size.div_ceil(self.l2_span())
    }

    pub(super) fn read(source: &dyn Source, limits: &Limits) -> Result<Self, ImageError> {
        let mut fixed = [0; V3_LENGTH as usize + 8];
        let len = source.len();
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(fixed.len());
        if there < V2_LENGTH as usize {
            return Err(bad("the file ends inside its header", len));
        }
        source.read_at(0, &mut fixed[..there])?;
        let fields = Be(&fixed);
        let version = fields.u32(4);
        let header_length = match version {
            2 => V2_LENGTH,
            3 if there < V3_LENGTH as usize => {
                return Err(bad("the file ends inside its header", len));
            }
            3 => fields.u32(100),
            other => return refuse(Feature::Version(other)),
        };
        if fields.u64(8) != 0 || fields.u32(16) != 0 {
            return refuse(Feature::BackingFile);
        }
        if fields.u32(32) != 0 {
            return refuse(Feature::Encrypted);
        }
        let compression = check_features(&fields, version, header_length)?;
        if fields.u32(60) != 0 {
            return refuse(Feature::Snapshots);
        }
        let header = Self {
            version,
            cluster_bits: fields.u32(20),
            size: fields.u64(24),
            l1_offset: fields.u64(40),
            l1_entries: u64::from(fields.u32(36)),
            refcount_offset: fields.u64(48),
            // At most 2^32 clusters of 2^21 bytes once the cluster size is checked.
            refcount_bytes: u64::from(fields.u32(56)) << fields.u32(20).min(21),
            compression,
        };
        header.check(len, limits)?;
        if u64::from(header_length) > header.cluster_size() || header_length % 8 != 0 {
            return Err(bad("the header's length is wrong", 100));
        }
        header.check_extensions(source, header_length)?;
        Ok(header)
    }

    fn check(&self, file_len: u64, limits: &Limits) -> Result<(), ImageError> {
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(bad("clusters are not between 512 bytes and 2 MiB", 20));
        }
        let limit = limits.virtual_limit();
        if self.size > limit {
            return Err(ImageError::TooLarge { size: self.size, limit });
        }
        if self.size == 0 {
            return Err(ImageError::Empty);
        }
        if !self.size.is_multiple_of(512) {
            return Err(bad("the disk's size is not a multiple of 512", 24));
        }
        if self.l1_entries * 8 > MAX_L1_BYTES {
            return Err(bad("the L1 table is larger than 32 MiB", 36));
        }
        if self.l1_entries < self.l1_needed() {
            return Err(bad("the L1 table is too small for the disk", 36));
        }
        if self.refcount_bytes > MAX_REFCOUNT_TABLE_BYTES {
            return Err(bad("the reference-count table is larger than 8 MiB", 56));
        }
        if !self.is_table(self.l1_offset, self.l1_entries * 8, file_len) {
            return Err(bad("the L1 table is unaligned or outside the file", 40));
        }
        if !self.is_table(self.refcount_offset, self.refcount_bytes, file_len) {
            return Err(bad("the reference-count table is unaligned or outside the file", 48));
        }
        Ok(())
    }

    /// Whether `len` bytes at `offset` start on a cluster behind the header and end in the file.
    fn is_table(&self, offset: u64, len: u64, file_len: u64) -> bool {
        let in_file = offset.checked_add(len).is_some_and(|end| end <= file_len);
        in_file && offset >= self.cluster_size() && offset.is_multiple_of(self.cluster_size())
    }

    /// Walks the extensions between the header and the end of its cluster.
    fn check_extensions(&self, source: &dyn Source, header_length: u32) -> Result<(), ImageError> {
        let end = self.cluster_size().min(source.len());
        let mut at = u64::from(header_length);
        while let Some(body) = at.checked_add(8).filter(|body| *body <= end) {
            let mut head = [0; 8];
            source.read_at(at, &mut head)?;
            let head = Be(&head);
            match head.u32(0) {
                extension::END => return Ok(()),
                extension::DATA_FILE => return refuse(Feature::DataFile),
                extension::ENCRYPTION => return refuse(Feature::Encrypted),
                _ => {}
            }
            let next = body + u64::from(head.u32(4)).next_multiple_of(8);
            if next > end {
                return Err(bad("a header extension runs past the first cluster", at));
            }
            at = next;
        }
        Ok(())
    }
}

fn check_features(
    fields: &Be<'_>,
    version: u32,
    header_length: u32,
) -> Result<Compression, ImageError> {
    if version == 2 {
        return Ok(Compression::Zlib);
    }
    let bits = fields.u64(72);
    if bits & incompatible::DATA_FILE != 0 {
        return refuse(Feature::DataFile);
    }
    if bits & incompatible::EXTENDED_L2 != 0 {
        return refuse(Feature::ExtendedL2);
    }
    // Dirty only says that reference counts may be stale, and those are not trusted anyway.
    let known = incompatible::DIRTY | incompatible::CORRUPT | incompatible::COMPRESSION;
    if bits & !known != 0 {
        return refuse(Feature::Unknown(bits & !known));
    }
    if bits & incompatible::CORRUPT != 0 {
        return refuse(Feature::Corrupt);
    }
    if header_length < V3_LENGTH {
        return Err(bad("the header's length is wrong", 100));
    }
    if fields.u32(96) > 6 {
        return Err(bad("reference counts are wider than 64 bits", 96));
    }
    let method = if header_length > V3_LENGTH { fields.0[V3_LENGTH as usize] } else { 0 };
    match (method, bits & incompatible::COMPRESSION != 0) {
        (0, false) => Ok(Compression::Zlib),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, _) => Err(bad("the compression method and its feature bit disagree", 104)),
        (other, _) => refuse(Feature::Compression(other)),
    }
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: Format::Qcow2, what, at }
}

fn refuse<T>(feature: Feature) -> Result<T, ImageError> {
    Err(ImageError::Feature { format: Format::Qcow2, feature })
}
