//! One file of the journal: a header, then records, then zeros.
//!
//! Filled with zeros and synced before it is used, so that a later sync has
//! only data to write and no metadata.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::record::{ALIGN, Chain, Found, Record};
use crate::StoreError;

const MAGIC: &[u8; 8] = b"VMINTSG1";
pub(crate) const HEAD: usize = 128;
const ENDING: &str = ".seg";

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first transaction in it.
    pub(crate) first: u64,
    /// The journal's own key for hashing.
    pub(crate) key: [u8; 32],
    /// The hash of the record before its first.
    pub(crate) chain: Chain,
}

/// Where a segment's records end.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) last: u64,
    pub(crate) at_ms: u64,
    pub(crate) chain: Chain,
    pub(crate) at: u64,
    pub(crate) size: u64,
    /// Something half-written follows.
    pub(crate) torn: bool,
}

impl Head {
    pub(crate) fn to_bytes(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.first.to_le_bytes());
        out[16..48].copy_from_slice(&self.key);
        out[48..64].copy_from_slice(&self.chain);
        let check = crc32c::crc32c(&out[..124]);
        out[124..].copy_from_slice(&check.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        let good =
            &bytes[..8] == MAGIC && crc32c::crc32c(&bytes[..124]).to_le_bytes() == bytes[124..];
        let mut head = Self { first: 0, key: [0; 32], chain: Chain::default() };
        head.first = u64::from_le_bytes(*bytes[8..].first_chunk()?);
        head.key.copy_from_slice(&bytes[16..48]);
        head.chain.copy_from_slice(&bytes[48..64]);
        good.then_some(head)
    }
}

/// The segments in `dir`, oldest first, with the number in their name.
pub(crate) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| StoreError::io("listing", dir, &e))?;
    let mut found: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            let name = entry.file_name();
            let first = name.to_str()?.strip_suffix(ENDING)?.parse().ok()?;
            Some((first, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found)
}

pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{ENDING}"))
}

/// Where the next segment is kept ready.
pub(crate) fn spare_path(dir: &Path) -> PathBuf {
    dir.join("spare")
}

/// Writes a file of `size` zeros and syncs it.
pub(crate) fn write_spare(dir: &Path, size: u64) -> Result<PathBuf, StoreError> {
    let tmp = dir.join("spare.tmp");
    let path = spare_path(dir);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&tmp)?;
        let zeros = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            let part = left.min(zeros.len() as u64);
            file.write_all(&zeros[..usize::try_from(part).unwrap_or(zeros.len())])?;
            left -= part;
        }
        file.sync_all()?;
        fs::rename(&tmp, &path)
    };
    write().map_err(|e: io::Error| {
        let _ = fs::remove_file(&tmp);
        StoreError::io("preparing a journal segment in", dir, &e)
    })?;
    Ok(path)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StoreError::io("syncing", dir, &e))
}

/// Reads a segment: shows its records in order until `visit` breaks or they end.
///
/// Whatever does not read as a record is a torn tail only if this is the
/// `newest` segment and no whole record lies behind it; else it is rot.
pub(crate) fn scan(
    path: &Path,
    newest: bool,
    mut visit: impl FnMut(Record) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(Head, Tail), StoreError> {
    let bytes = fs::read(path).map_err(|e| StoreError::io("reading", path, &e))?;
    let rotten = |at: usize, why: &str| StoreError::rotten(path, at as u64, why);
    let head =
        Head::from_bytes(&bytes).ok_or_else(|| rotten(0, "the segment's header is wrong"))?;
    let mut tail = Tail {
        last: head.first - 1,
        at_ms: 0,
        chain: head.chain,
        at: HEAD as u64,
        size: bytes.len() as u64,
        torn: false,
    };
    let mut at = HEAD;
    while at < bytes.len() {
        match Record::find(&head.key, &bytes[at..]) {
            Found::Whole { record, chain, len } => {
                if Record::prev(&bytes[at..]) != tail.chain || record.first != tail.last + 1 {
                    return Err(rotten(at, "the record does not follow the one before it"));
                }
                at += len;
                tail =
                    Tail { last: record.last, at_ms: record.at_ms, chain, at: at as u64, ..tail };
                if visit(record)?.is_break() {
                    break;
                }
            }
            Found::Empty if bytes[at..].iter().all(|b| *b == 0) => break,
            found => {
                let why = if let Found::Broken(why) = found { why } else { "zeros inside records" };
                if !newest || whole_follows(&head.key, &bytes[at..]) {
                    return Err(rotten(at, why));
                }
                tail.torn = true;
                break;
            }
        }
    }
    Ok((head, tail))
}

fn whole_follows(key: &[u8; 32], bytes: &[u8]) -> bool {
    let mut places = (ALIGN..bytes.len()).step_by(ALIGN);
    places.any(|at| matches!(Record::find(key, &bytes[at..]), Found::Whole { .. }))
}
