//! A layer's map on disk: the map as it was, then a log of what changed.
//!
//! One file: a header, the map at the time the file was made, and 32-byte records in a
//! zero-filled, preallocated area. A record goes to the kernel before the write it belongs to is
//! acknowledged, so it survives the death of this process. After a power cut only records before
//! the last *commit* count: a commit is written once the data it covers is on disk. The header
//! holds the boot it was made in, which tells the two cases apart.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use crate::DiskError;
use crate::map::{BlockMap, REGION_BLOCKS, REGION_BYTES, Region, State};

const MAGIC: &[u8; 8] = b"VMNTMAP1";
const HEADER: usize = 4096;
const RECORD: usize = 32;
/// The log grows by this much at a time.
const GROW: u64 = 64 << 10;
/// A log is rewritten once its records outweigh twice its map by this much.
const SLACK: u64 = 1 << 20;
const COMMIT: u8 = 3;
const SEAL: u8 = 4;

/// Which boot of which machine, and which file system: writes the kernel has accepted are still
/// there as long as this stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot([u8; 24]);

impl Boot {
    pub(crate) fn current(dir: &Path) -> io::Result<Self> {
        let text = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut id = [0; 24];
        let digits: Vec<u8> = text.into_iter().filter(u8::is_ascii_hexdigit).collect();
        for (byte, pair) in id.iter_mut().zip(digits.as_chunks::<2>().0).take(16) {
            let pair = str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
        }
        id[16..].copy_from_slice(&fs::metadata(dir)?.dev().to_le_bytes());
        Ok(Self(id))
    }

    #[cfg(test)]
    pub(crate) fn other() -> Self {
        Self([7; 24])
    }

    /// An unknown boot is never the same as another.
    fn is_same(self, other: Self) -> bool {
        self == other && self.0[..16] != [0; 16]
    }
}

pub(crate) struct Log {
    file: Arc<File>,
    generation: u64,
    /// Where the records start, where the next one goes, and how far the file is zero-filled.
    start: u64,
    end: u64,
    room: u64,
    /// Behind the last record of a changed run.
    changed: u64,
    /// Up to here the changes are committed, and up to here the log is on disk.
    committed: u64,
    synced: u64,
}

/// What [`Log::open`] found.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) map: BlockMap,
    /// The file is of this boot: it may be written on.
    pub(crate) same_boot: bool,
    /// The file should be rewritten before use (the data synced first): it is of another boot, or
    /// holds changes that were never committed.
    pub(crate) stale: bool,
}

impl Log {
    /// Makes the file anew with `map` in it, on disk, in place of any other.
    pub(crate) fn write(
        dir: &Path,
        name: &str,
        map: &BlockMap,
        generation: u64,
        boot: Boot,
    ) -> io::Result<Self> {
        let body = encode(map);
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&generation.to_le_bytes());
        header[16..40].copy_from_slice(&boot.0);
        header[40..48].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[48..52].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        let crc = crc32c::crc32c(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        let start = (HEADER as u64 + body.len() as u64).next_multiple_of(HEADER as u64);
        let next = dir.join(format!("{name}.next"));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&next)?;
        file.write_all_at(&header, 0)?;
        file.write_all_at(&body, HEADER as u64)?;
        let mut log = Self {
            file: Arc::new(file),
            generation,
            start,
            end: start,
            room: start,
            changed: start,
            committed: start,
            synced: start,
        };
        log.make_room(RECORD as u64)?;
        log.file.sync_all()?;
        fs::rename(&next, dir.join(name))?;
        File::open(dir)?.sync_all()?;
        Ok(log)
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn open(dir: &Path, name: &str, boot: Boot) -> Result<Option<Opened>, DiskError> {
        let path = dir.join(name);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io("open a volume's map")(error)),
        };
        let damaged = |what| DiskError::Damaged { path: path.clone(), what };
        let len = file.metadata().map_err(DiskError::io("open a volume's map"))?.len();
        let read = |at: u64, buf: &mut [u8]| {
            file.read_exact_at(buf, at).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged("the file is cut short"),
                _ => DiskError::io("read a volume's map")(error),
            })
        };
        let mut header = [0; HEADER];
        read(0, &mut header)?;
        let crc = crc32c::crc32c(&header[..HEADER - 4]).to_le_bytes();
        if header[..8] != *MAGIC || header[HEADER - 4..] != crc {
            return Err(damaged("its header's checksum does not match"));
        }
        let generation = u64_at(&header, 8);
        let body_len = u64_at(&header, 40);
        if body_len > len {
            return Err(damaged("the file is cut short"));
        }
        let mut body = vec![0; usize::try_from(body_len).unwrap_or(0)];
        read(HEADER as u64, &mut body)?;
        if header[48..52] != crc32c::crc32c(&body).to_le_bytes() {
            return Err(damaged("its map's checksum does not match"));
        }
        let mut map = decode(&body).ok_or_else(|| damaged("its map makes no sense"))?;
        let start = (HEADER as u64 + body_len).next_multiple_of(HEADER as u64);
        let mut tail = vec![0; usize::try_from(len.saturating_sub(start)).unwrap_or(0)];
        read(start, &mut tail)?;
        let scan = Scan::of(&tail, start, generation)
            .ok_or_else(|| damaged("a record that was on disk is gone"))?;
        let same = Boot(header[16..40].try_into().unwrap_or([0; 24])).is_same(boot);
        let until = if same { scan.end } else { scan.committed };
        for run in scan.runs.iter().filter(|run| run.at < until) {
            map.set(run.first..run.first + run.count, run.state);
        }
        let changed = scan.runs.last().map_or(start, |run| run.at + RECORD as u64);
        let stale = !same || changed > scan.committed;
        let log = Self {
            file: Arc::new(file),
            generation,
            start,
            end: scan.end,
            room: len.max(start),
            changed,
            committed: scan.committed,
            synced: scan.committed,
        };
        Ok(Some(Opened { log, map, same_boot: same, stale }))
    }

    /// Records that `count` blocks from `first` are in `state` now.
    pub(crate) fn record(&mut self, first: u64, count: u64, state: State) -> io::Result<()> {
        // Room for a commit is kept, so that one does not fail for want of space.
        self.make_room(2 * RECORD as u64)?;
        self.append(state as u8, first, count)?;
        self.changed = self.end;
        Ok(())
    }

    /// Behind the last change, if some change is not committed yet.
    pub(crate) fn uncommitted(&self) -> Option<u64> {
        (self.changed > self.committed).then_some(self.changed)
    }

    /// Records that the data of all changes before `covered` is on disk. Sync the file behind
    /// the returned handle, then call [`Log::committed`] with the returned end.
    pub(crate) fn commit(&mut self, covered: u64) -> io::Result<(Arc<File>, u64)> {
        self.make_room(RECORD as u64)?;
        self.append(COMMIT, covered, 0)?;
        Ok((self.file.clone(), self.end))
    }

    pub(crate) fn committed(&mut self, covered: u64, end: u64) {
        self.committed = self.committed.max(covered);
        self.synced = self.synced.max(end);
        // A record that knows what is on disk tells rot in it from a torn end. Losing this one
        // loses nothing but that.
        if self.end + 2 * RECORD as u64 <= self.room
            && let Err(error) = self.append(SEAL, 0, 0)
        {
            tracing::debug!(%error, "no seal written");
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the log has grown out of proportion.
    pub(crate) fn is_long(&self) -> bool {
        self.end - self.start > SLACK + 2 * self.start
    }

    fn append(&mut self, kind: u8, first: u64, second: u64) -> io::Result<()> {
        let mut record = [0; RECORD];
        record[4] = kind;
        record[8..16].copy_from_slice(&first.to_le_bytes());
        record[16..24].copy_from_slice(&second.to_le_bytes());
        record[24..].copy_from_slice(&self.synced.to_le_bytes());
        let crc = seal(&record, self.end, self.generation);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&record, self.end)?;
        self.end += RECORD as u64;
        Ok(())
    }

    fn make_room(&mut self, len: u64) -> io::Result<()> {
        if self.end + len <= self.room {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(GROW).unwrap_or(0)];
        self.file.write_all_at(&zeros, self.room)?;
        self.room += GROW;
        Ok(())
    }
}

struct Run {
    at: u64,
    first: u64,
    count: u64,
    state: State,
}

struct Scan {
    runs: Vec<Run>,
    end: u64,
    committed: u64,
}

impl Scan {
    /// Reads the records up to the first that is not whole. `None` when a later record knows
    /// that this one had been on disk: then it is not a torn end but rot.
    fn of(tail: &[u8], start: u64, generation: u64) -> Option<Self> {
        let mut scan = Self { runs: Vec::new(), end: start, committed: start };
        let mut torn = false;
        for (index, record) in tail.as_chunks::<RECORD>().0.iter().enumerate() {
            let at = start + (index * RECORD) as u64;
            let whole = u32_at(record, 0) == seal(record, at, generation);
            if !whole {
                torn = true;
            } else if torn {
                if u64_at(record, 24) > scan.end {
                    return None;
                }
            } else {
                let (first, count) = (u64_at(record, 8), u64_at(record, 16));
                match (record[4], State::from_bits(record[4])) {
                    (SEAL, _) => {}
                    (COMMIT, _) => scan.committed = scan.committed.max(first.min(at)),
                    (_, Some(state)) => scan.runs.push(Run { at, first, count, state }),
                    _ => return None,
                }
                scan.end = at + RECORD as u64;
            }
        }
        Some(scan)
    }
}

/// A record's checksum also says where it stands and in which file.
fn seal(record: &[u8; RECORD], at: u64, generation: u64) -> u32 {
    let crc = crc32c::crc32c(&record[4..]);
    let crc = crc32c::crc32c_append(crc, &at.to_le_bytes());
    crc32c::crc32c_append(crc, &generation.to_le_bytes())
}

fn encode(map: &BlockMap) -> Vec<u8> {
    let mut body = Vec::with_capacity(map.region_count() * 16);
    for (index, region) in map.regions() {
        body.extend_from_slice(&index.to_le_bytes());
        let (kind, bytes): (u64, &[u8]) = match region {
            Region::Uniform(state) => (*state as u64, &[]),
            Region::Mixed(bytes) => (4, &bytes[..]),
        };
        body.extend_from_slice(&kind.to_le_bytes());
        body.extend_from_slice(bytes);
    }
    body
}

fn decode(mut body: &[u8]) -> Option<BlockMap> {
    let mut map = BlockMap::default();
    while !body.is_empty() {
        let (head, rest) = body.split_at_checked(16)?;
        let (index, kind) = (u64_at(head, 0), u64_at(head, 8));
        index.checked_mul(REGION_BLOCKS)?;
        body = rest;
        let region = if kind == 4 {
            let (bytes, rest) = body.split_first_chunk::<REGION_BYTES>()?;
            body = rest;
            Region::Mixed(Box::new(*bytes))
        } else {
            Region::Uniform(State::from_bits(u8::try_from(kind).ok()?)?)
        };
        map.insert(index, region);
    }
    Some(map)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
