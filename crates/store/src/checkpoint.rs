//! Checkpoints: the whole state at one transaction, in key order, in a file.
//!
//! Written from the checkpoint before and the journal since, never from the
//! view, so that damage of the view cannot get in.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{StoreError, journal::Journal, layer::Writes};

const MAGIC: &[u8; 8] = b"VMINTCK2";
/// As the first ones began, which had 32 bytes more at their end.
const FIRST: &[u8; 8] = b"VMINTCK1";
const BUFFER: usize = 128 << 10;
const ENDING: &str = ".ckpt";
const END: u16 = u16::MAX;

/// The checkpoints in `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| StoreError::io("listing", dir, &e))?;
    let mut found: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            let name = entry.file_name();
            Some((name.to_str()?.strip_suffix(ENDING)?.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found)
}

pub(crate) fn path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:020}{ENDING}"))
}

/// The key and the value of a row.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads a checkpoint row by row; the end is only reached if all was sound.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    hasher: blake3::Hasher,
    /// Read, but not all used yet.
    buffer: Vec<u8>,
    used: usize,
    pub(crate) seq: u64,
    count: u64,
    first: bool,
}

impl Reader<File> {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|e| StoreError::io("opening", path, &e))?;
        Self::new(file)
    }
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(from: R) -> Result<Self, StoreError> {
        let (hasher, buffer) = (blake3::Hasher::new(), Vec::with_capacity(BUFFER));
        let mut reader = Self { from, hasher, buffer, used: 0, seq: 0, count: 0, first: false };
        let head: [u8; 16] = reader.take()?;
        reader.first = &head[..8] == FIRST;
        if &head[..8] != MAGIC && !reader.first {
            return Err(bad("it does not begin like one"));
        }
        reader.seq = head[8..16].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        Ok(reader)
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Pair<'_>>, StoreError> {
        let key_len = u16::from_le_bytes(self.take()?);
        if key_len == END {
            return self.end().map(|()| None);
        }
        let value_len = u32::from_le_bytes(self.take()?) as usize;
        if value_len > crate::MAX_VALUE * 2 {
            return Err(bad("a value is impossibly long"));
        }
        self.count += 1;
        let key_len = usize::from(key_len);
        Ok(Some(self.bytes(key_len + value_len)?.split_at(key_len)))
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let count = u64::from_le_bytes(self.take()?);
        if self.first {
            self.take::<32>()?;
        }
        self.forget();
        let wanted = *self.hasher.finalize().as_bytes();
        let hash: [u8; 32] = self.take()?;
        let more = self.used < self.buffer.len()
            || self.from.read(&mut [0]).map_err(|e| bad(&e.to_string()))? > 0;
        if hash != wanted || count != self.count || more {
            return Err(bad("its hash is wrong"));
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| bad("it is cut short"))
    }

    fn bytes(&mut self, len: usize) -> Result<&[u8], StoreError> {
        if self.buffer.len() - self.used < len {
            self.forget();
            let had = self.buffer.len();
            let more = BUFFER.max(len) - had;
            let read = self.from.by_ref().take(more as u64).read_to_end(&mut self.buffer);
            read.map_err(|e| bad(&e.to_string()))?;
            if self.buffer.len() < len {
                return Err(bad("it is cut short"));
            }
        }
        self.used += len;
        Ok(&self.buffer[self.used - len..self.used])
    }

    /// Hashes what was used, all at once, and makes room.
    fn forget(&mut self) {
        self.hasher.update(&self.buffer[..self.used]);
        self.buffer.drain(..self.used);
        self.used = 0;
    }
}

fn bad(why: &str) -> StoreError {
    StoreError::BadExport(why.to_owned())
}

/// Writes a checkpoint row by row.
struct Writer<W> {
    to: W,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    count: u64,
}

impl<W: Write> Writer<W> {
    fn new(to: W, seq: u64) -> Self {
        let mut buffer = Vec::with_capacity(2 * BUFFER);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&seq.to_le_bytes());
        Self { to, hasher: blake3::Hasher::new(), buffer, count: 0 }
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let key_len = u16::try_from(key.len()).map_err(io::Error::other)?;
        let value_len = u32::try_from(value.len()).map_err(io::Error::other)?;
        self.buffer.extend_from_slice(&key_len.to_le_bytes());
        self.buffer.extend_from_slice(&value_len.to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.count += 1;
        if self.buffer.len() > BUFFER { self.pour() } else { Ok(()) }
    }

    fn end(mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(&END.to_le_bytes());
        self.buffer.extend_from_slice(&self.count.to_le_bytes());
        self.pour()?;
        self.to.write_all(self.hasher.finalize().as_bytes())?;
        self.to.flush()
    }

    /// Hashes and writes in large pieces, as small ones cost several times more.
    fn pour(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes the state after transaction `upto` to `to`; see [`rows`].
pub(crate) fn write(
    base: Option<&Path>,
    journal: &dyn Journal,
    upto: u64,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    let failed = |e: io::Error| StoreError::io("writing", Path::new("a checkpoint"), &e);
    let mut writer = Writer::new(to, upto);
    rows(base, journal, upto, |key, value| writer.row(key, value).map_err(failed))?;
    writer.end().map_err(failed)
}

/// Shows the state after transaction `upto`, in key order: the checkpoint
/// `base` with what the journal says since. Holds those changes in memory.
pub(crate) fn rows(
    base: Option<&Path>,
    journal: &dyn Journal,
    upto: u64,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut base = base.map(Reader::open).transpose()?;
    let mut seq = base.as_ref().map_or(0, |base| base.seq);
    let mut changes = Writes::new();
    journal.read(seq, upto, &mut |record| {
        seq = record.last;
        changes.extend(record.writes);
        Ok(())
    })?;
    if seq != upto {
        return Err(bad("the journal does not reach so far"));
    }
    let mut changes = changes.into_iter().peekable();
    while let Some((key, value)) = base.as_mut().map_or(Ok(None), Reader::next)? {
        while let Some((new, change)) = changes.next_if(|(new, _)| new.as_slice() < key) {
            if let Some(value) = change {
                visit(&new, &value)?;
            }
        }
        match changes.next_if(|(new, _)| *new == key) {
            Some((_, Some(value))) => visit(key, &value)?,
            Some((_, None)) => {}
            None => visit(key, value)?,
        }
    }
    for (key, change) in changes {
        if let Some(value) = change {
            visit(&key, &value)?;
        }
    }
    Ok(())
}
