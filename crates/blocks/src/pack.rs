//! Pack files: append-only records, and a footer that lists them once the pack is sealed.
//!
//! `header · (record | mark)… · footer entries · footer tail`. A record carries a checksum of its
//! own that needs no key, so a pack without a footer is recovered by walking its records, and a
//! scrub needs no dedup domain. A mark lists the records since the mark before; it is written
//! when they are made durable, so that one which rotted can be told from one never promised.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use crate::{ChunkId, cut::BLOCK, cut::MAX_BLOCKS, seal::SEAL_BYTES};

pub(crate) const PACK_HEADER: usize = 16;
pub(crate) const RECORD_HEADER: usize = 64;
/// The largest chunk or node, bytes before compression.
pub(crate) const MAX_CHUNK: usize = BLOCK * MAX_BLOCKS as usize;
const PACK_MAGIC: &[u8; 8] = b"vmintpk1";
const RECORD_MAGIC: &[u8; 4] = b"vmr1";
const MARK_MAGIC: &[u8; 4] = b"vmm1";
/// Bytes of a mark before its entries.
pub(crate) const MARK_HEADER: usize = 32;
const FOOTER_MAGIC: &[u8; 8] = b"vmintft1";
/// Bytes of the footer, and of a mark, for each record.
pub(crate) const FOOTER_ENTRY: usize = 44;
const FOOTER_TAIL: usize = 64;
/// Bytes of a sealed pack without its records and their places in the footer.
pub(crate) const PACK_OVERHEAD: u64 = (PACK_HEADER + FOOTER_TAIL) as u64;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: ChunkId,
    /// Bytes before compression.
    pub(crate) raw: u32,
    /// Bytes of the payload as stored.
    pub(crate) stored: u32,
    pub(crate) zstd: bool,
    /// The payload is encrypted, after it was compressed.
    pub(crate) sealed: bool,
}

impl Record {
    /// Bytes the record takes in a pack.
    pub(crate) fn size(stored: u32) -> u64 {
        RECORD_HEADER as u64 + u64::from(stored)
    }

    /// Appends the record to `out`.
    pub(crate) fn write(&self, payload: &[u8], out: &mut Vec<u8>) {
        let mut head = [0; 48];
        head[..4].copy_from_slice(RECORD_MAGIC);
        head[4] = u8::from(self.zstd) | u8::from(self.sealed) << 1;
        head[8..12].copy_from_slice(&self.raw.to_le_bytes());
        head[12..16].copy_from_slice(&self.stored.to_le_bytes());
        head[16..].copy_from_slice(&self.id.0);
        out.extend(head);
        out.extend(checksum(&head, payload));
        out.extend(payload);
    }

    /// Reads a header; `None` if it cannot be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; 48] = bytes.first_chunk()?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let record = Self {
            id: ChunkId(*head[16..].first_chunk()?),
            raw: number(8),
            stored: number(12),
            zstd: head[4] & 1 != 0,
            sealed: head[4] & 2 != 0,
        };
        let extra = if record.sealed { SEAL_BYTES } else { 0 };
        let plain = record.stored.checked_sub(extra)?;
        let sound = &head[..4] == RECORD_MAGIC
            && head[4] <= 3
            && head[5..8] == [0; 3]
            && record.raw as usize <= MAX_CHUNK
            && plain <= record.raw
            && (record.zstd || plain == record.raw);
        sound.then_some(record)
    }

    /// Whether a whole record's checksum is right.
    pub(crate) fn intact(bytes: &[u8]) -> bool {
        bytes.len() >= RECORD_HEADER
            && checksum(&bytes[..48], &bytes[RECORD_HEADER..]) == bytes[48..RECORD_HEADER]
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    let hash = hasher.update(head).update(payload).finalize();
    *hash.as_bytes().first_chunk().expect("16 of 32 bytes")
}

/// A record as the footer lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: ChunkId,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

/// What a pack is called.
pub(crate) fn name(number: u32) -> String {
    format!("{number:08x}.pack")
}

/// What a pack begins with.
pub(crate) fn header(number: u32) -> [u8; PACK_HEADER] {
    let mut header = [0; PACK_HEADER];
    header[..8].copy_from_slice(PACK_MAGIC);
    header[8..12].copy_from_slice(&number.to_le_bytes());
    header
}

impl Listed {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.id.0);
        out.extend(self.offset.to_le_bytes());
        out.extend(self.stored.to_le_bytes());
        out.extend(self.raw.to_le_bytes());
    }

    fn read_all(bytes: &[u8]) -> Vec<Self> {
        let word = |at: &[u8]| u32::from_le_bytes(*at.first_chunk().expect("four bytes"));
        let listed = bytes.chunks_exact(FOOTER_ENTRY).map(|entry| Self {
            id: ChunkId(*entry.first_chunk().expect("44 bytes")),
            offset: word(&entry[32..]),
            stored: word(&entry[36..]),
            raw: word(&entry[40..]),
        });
        listed.collect()
    }
}

/// A mark: these records were promised.
pub(crate) fn mark(listed: &[Listed]) -> Vec<u8> {
    let mut entries = Vec::with_capacity(listed.len() * FOOTER_ENTRY);
    for entry in listed {
        entry.write(&mut entries);
    }
    let mut head = [0; 16];
    head[..4].copy_from_slice(MARK_MAGIC);
    head[8..].copy_from_slice(&(listed.len() as u64).to_le_bytes());
    let mut bytes = Vec::with_capacity(MARK_HEADER + entries.len());
    bytes.extend(head);
    bytes.extend(checksum(&head, &entries));
    bytes.extend(entries);
    bytes
}

/// The records a mark at the start of `bytes` lists, and its length; `None` if there is no sound
/// one.
fn read_mark(bytes: &[u8]) -> Option<(Vec<Listed>, usize)> {
    let head: &[u8; 16] = bytes.first_chunk()?;
    let count = u64::from_le_bytes(*head[8..].first_chunk()?);
    let length = usize::try_from(count).ok()?.checked_mul(FOOTER_ENTRY)?;
    let entries = bytes.get(MARK_HEADER..MARK_HEADER.checked_add(length)?)?;
    let sound = &head[..4] == MARK_MAGIC
        && head[4..8] == [0; 4]
        && checksum(head, entries) == bytes[16..MARK_HEADER];
    sound.then(|| (Listed::read_all(entries), MARK_HEADER + length))
}

/// The footer for records that end at `end`.
pub(crate) fn footer(listed: &[Listed], end: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(listed.len() * FOOTER_ENTRY + FOOTER_TAIL);
    for entry in listed {
        entry.write(&mut bytes);
    }
    bytes.extend(FOOTER_MAGIC);
    bytes.extend((listed.len() as u64).to_le_bytes());
    bytes.extend(end.to_le_bytes());
    bytes.extend([0; 8]);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// Reads the footer of a pack of `size` bytes; `None` if it has no sound one.
pub(crate) fn read_footer(
    size: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Option<(Vec<Listed>, u64)>> {
    let Some(tail_at) = size.checked_sub(FOOTER_TAIL as u64) else { return Ok(None) };
    let mut tail = [0; FOOTER_TAIL];
    read(&mut tail, tail_at)?;
    let number = |at: usize| u64::from_le_bytes(*tail[at..].first_chunk().expect("inside"));
    let (count, end) = (number(8), number(16));
    let entries = count.checked_mul(FOOTER_ENTRY as u64).filter(|&len| len <= tail_at);
    let Some(entries) =
        entries.filter(|len| tail[..8] == *FOOTER_MAGIC && end.checked_add(*len) == Some(tail_at))
    else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(entries).unwrap_or(0) + 32];
    read(&mut bytes, end)?;
    if blake3::hash(&bytes).as_bytes()[..] != tail[32..] {
        return Ok(None);
    }
    bytes.truncate(bytes.len() - 32);
    Ok(Some((Listed::read_all(&bytes), end)))
}

/// What a pack without a footer holds.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Its sound records, and those that were promised and are not sound any more.
    pub(crate) listed: Vec<Listed>,
    /// Offsets of the latter.
    pub(crate) rotten: BTreeSet<u32>,
    /// Where the last of them ends.
    pub(crate) end: u64,
}

/// Walks the records of a pack without a footer and steps over what is damaged. What lies behind
/// the last mark and is not sound was never promised: a crash tore it.
pub(crate) fn scan(bytes: &[u8]) -> Scanned {
    let (mut found, mut promised) = (BTreeMap::new(), Vec::new());
    let mut at = PACK_HEADER;
    while at + MARK_HEADER <= bytes.len() {
        let rest = &bytes[at..];
        let record = Record::parse(rest).filter(|record| {
            let whole = rest.get(..RECORD_HEADER + record.stored as usize);
            whole.is_some_and(Record::intact)
        });
        if let (Some(record), Ok(offset)) = (record, u32::try_from(at)) {
            let Record { id, stored, raw, .. } = record;
            found.insert(offset, Listed { id, offset, stored, raw });
            at += RECORD_HEADER + stored as usize;
        } else if let Some((listed, length)) = read_mark(rest) {
            let before = |entry: &Listed| {
                u64::from(entry.offset) + Record::size(entry.stored) <= at as u64
                    && entry.raw as usize <= MAX_CHUNK
            };
            promised.extend(listed.into_iter().filter(before));
            at += length;
        } else {
            let next = rest[1..].windows(4).position(|w| w == RECORD_MAGIC || w == MARK_MAGIC);
            match next {
                Some(skip) => at += 1 + skip,
                None => break,
            }
        }
    }
    let mut rotten = BTreeSet::new();
    for entry in promised {
        if let Entry::Vacant(place) = found.entry(entry.offset) {
            rotten.insert(entry.offset);
            place.insert(entry);
        }
    }
    let end = found.last_key_value().map_or(PACK_HEADER as u64, |(offset, entry)| {
        u64::from(*offset) + Record::size(entry.stored)
    });
    Scanned { listed: found.into_values().collect(), rotten, end }
}

/// Makes `path` a sealed pack whose records end at `end`.
pub(crate) fn seal(path: &Path, listed: &[Listed], end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    if let Err(error) = file.write_all_at(&footer(listed, end), end) {
        file.set_len(end)?;
        return Err(error);
    }
    file.sync_data()
}

/// The disk could not read what it was given, or has less than that.
pub(crate) fn unreadable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(5)
}
