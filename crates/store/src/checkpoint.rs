//! Checkpoints: the whole state at one transaction, in key order, in a file.
//!
//! Written from the checkpoint before and the journal since, never from the
//! view, so that damage of the view cannot get in.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    digest::Digest,
    journal::Journal,
    layer::{Row, Writes},
};

const MAGIC: &[u8; 8] = b"VMINTCK1";
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

/// Reads a checkpoint row by row; the end is only reached if all was sound.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    hasher: blake3::Hasher,
    pub(crate) seq: u64,
    count: u64,
    /// Of the rows read so far.
    pub(crate) sum: Digest,
}

impl Reader<BufReader<File>> {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|e| StoreError::io("opening", path, &e))?;
        Self::new(BufReader::with_capacity(128 << 10, file))
    }
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(from: R) -> Result<Self, StoreError> {
        let hasher = blake3::Hasher::new();
        let mut reader = Self { from, hasher, seq: 0, count: 0, sum: Digest::default() };
        let head: [u8; 16] = reader.take()?;
        if &head[..8] != MAGIC {
            return Err(bad("it does not begin like one"));
        }
        reader.seq = head[8..16].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        Ok(reader)
    }

    pub(crate) fn into_inner(self) -> R {
        self.from
    }

    pub(crate) fn next(&mut self) -> Result<Option<Row>, StoreError> {
        let key_len = u16::from_le_bytes(self.take()?);
        if key_len == END {
            return self.end();
        }
        let value_len = u32::from_le_bytes(self.take()?) as usize;
        if value_len > crate::MAX_VALUE * 2 {
            return Err(bad("a value is impossibly long"));
        }
        let key = self.take_vec(usize::from(key_len))?;
        let value = self.take_vec(value_len)?;
        self.count += 1;
        self.sum.add(&key, &value);
        Ok(Some((key, value)))
    }

    fn end(&mut self) -> Result<Option<Row>, StoreError> {
        let count = u64::from_le_bytes(self.take()?);
        let sum = Digest::from_bytes(self.take()?);
        let wanted = *self.hasher.finalize().as_bytes();
        let mut hash = [0; 32];
        self.from.read_exact(&mut hash).map_err(|e| bad(&e.to_string()))?;
        if hash != wanted || count != self.count || self.sum != sum {
            return Err(bad("its hash is wrong"));
        }
        Ok(None)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut out = [0; N];
        self.from.read_exact(&mut out).map_err(|e| bad(&e.to_string()))?;
        self.hasher.update(&out);
        Ok(out)
    }

    fn take_vec(&mut self, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; len];
        self.from.read_exact(&mut out).map_err(|e| bad(&e.to_string()))?;
        self.hasher.update(&out);
        Ok(out)
    }
}

fn bad(why: &str) -> StoreError {
    StoreError::BadExport(why.to_owned())
}

/// Writes a checkpoint row by row.
struct Writer<W> {
    to: W,
    hasher: blake3::Hasher,
    count: u64,
    sum: Digest,
}

impl<W: Write> Writer<W> {
    fn new(to: W, seq: u64) -> io::Result<Self> {
        let zero = Digest::default();
        let mut writer = Self { to, hasher: blake3::Hasher::new(), count: 0, sum: zero };
        writer.put(MAGIC)?;
        writer.put(&seq.to_le_bytes())?;
        Ok(writer)
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let key_len = u16::try_from(key.len()).map_err(io::Error::other)?;
        let value_len = u32::try_from(value.len()).map_err(io::Error::other)?;
        self.put(&key_len.to_le_bytes())?;
        self.put(&value_len.to_le_bytes())?;
        self.put(key)?;
        self.put(value)?;
        self.count += 1;
        self.sum.add(key, value);
        Ok(())
    }

    fn end(mut self) -> io::Result<Digest> {
        self.put(&END.to_le_bytes())?;
        self.put(&self.count.to_le_bytes())?;
        self.put(&self.sum.to_bytes())?;
        self.to.write_all(self.hasher.finalize().as_bytes())?;
        self.to.flush()?;
        Ok(self.sum)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.to.write_all(bytes)
    }
}

/// Writes the state after transaction `upto` to `to`: the checkpoint `base`
/// with what the journal says since. Holds those changes in memory. Returns the
/// digest of that state.
pub(crate) fn write(
    base: Option<&Path>,
    journal: &dyn Journal,
    upto: u64,
    to: &mut dyn Write,
) -> Result<Digest, StoreError> {
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
    let failed = |e: io::Error| StoreError::io("writing", Path::new("a checkpoint"), &e);
    let mut writer = Writer::new(BufWriter::with_capacity(128 << 10, to), seq).map_err(failed)?;
    let mut changes = changes.into_iter().peekable();
    while let Some((key, value)) = base.as_mut().map_or(Ok(None), Reader::next)? {
        while let Some((new, change)) = changes.next_if(|(new, _)| *new < key) {
            if let Some(value) = change {
                writer.row(&new, &value).map_err(failed)?;
            }
        }
        let value = match changes.next_if(|(new, _)| *new == key) {
            Some((_, change)) => change,
            None => Some(value),
        };
        if let Some(value) = value {
            writer.row(&key, &value).map_err(failed)?;
        }
    }
    for (key, change) in changes {
        if let Some(value) = change {
            writer.row(&key, &value).map_err(failed)?;
        }
    }
    writer.end().map_err(failed)
}
