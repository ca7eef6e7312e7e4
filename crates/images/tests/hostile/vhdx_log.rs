//! VHDXs with writes in their log.

use super::Case;
use super::bytes::Bytes;
use super::vhdx::{BAT, DATA, HEADERS, LOG, MIB, PRESENT, image, sums};

const ID: [u8; 16] = [7; 16];
const SECTOR: usize = 4096;
/// What the headers' other end lies behind.
const FIRST: u64 = 192 << 10;

enum Write {
    Sector(u64, Vec<u8>),
    Zeros(u64, u64),
}

/// One entry as it stands in the log, its sum put right.
fn entry(number: u64, tail: u32, writes: &[Write]) -> Vec<u8> {
    changed(number, tail, writes, |bytes| bytes)
}

/// The same, changed before it is summed.
fn changed(
    number: u64,
    tail: u32,
    writes: &[Write],
    change: impl FnOnce(Bytes) -> Bytes,
) -> Vec<u8> {
    let table = (64 + 32 * writes.len()).next_multiple_of(SECTOR);
    let sectors = writes.iter().filter(|write| matches!(write, Write::Sector(..))).count();
    let len = table + sectors * SECTOR;
    let file = (DATA + 2 * MIB) as u64;
    let mut bytes = Bytes::zeros(len).put(0, b"loge").le32(8, len as u32).le32(12, tail);
    bytes = bytes.le64(16, number).le32(24, writes.len() as u32).put(32, &ID);
    bytes = bytes.le64(48, file).le64(56, file);
    let mut data = table;
    for (index, write) in writes.iter().enumerate() {
        let at = 64 + 32 * index;
        bytes = bytes.le64(at + 24, number);
        bytes = match write {
            Write::Zeros(place, len) => {
                bytes.put(at, b"zero").le64(at + 8, *len).le64(at + 16, *place)
            }
            Write::Sector(place, sector) => {
                let (head, tail) = (&sector[..8], &sector[SECTOR - 4..]);
                let b = bytes.put(at, b"desc").put(at + 4, tail).put(at + 8, head);
                let b = b.le64(at + 16, *place).put(data, sector).put(data, b"data");
                let b = b.le32(data + 4, (number >> 32) as u32);
                let b = b.le32(data + SECTOR - 4, number as u32);
                data += SECTOR;
                b
            }
        };
    }
    summed(change(bytes)).0
}

fn summed(bytes: Bytes) -> Bytes {
    let bytes = bytes.le32(4, 0);
    let sum = crc32c::crc32c(&bytes.0);
    bytes.le32(4, sum)
}

/// An image whose log holds these bytes at these places of the ring.
fn logged(parts: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = image().put(HEADERS[1] + 48, &ID);
    for (at, part) in parts {
        let (first, rest) = part.split_at(part.len().min(MIB - at));
        bytes = bytes.put(LOG + at, first).put(LOG, rest);
    }
    sums(bytes)
}

/// The table's first sector with its second block set to `value`.
fn table(value: u64) -> Write {
    let b = Bytes::zeros(SECTOR).le64(0, DATA as u64 | PRESENT).le64(8, value);
    Write::Sector(BAT as u64, b.0)
}

fn one(write: Write) -> Vec<u8> {
    logged(&[(0, entry(1, 0, &[write]))])
}

/// One good write, in an entry that is not.
fn odd(change: impl FnOnce(Bytes) -> Bytes) -> Vec<u8> {
    logged(&[(0, changed(1, 0, &[table((DATA + MIB) as u64 | PRESENT)], change))])
}

/// Each sector of the log claims to begin an entry of the whole of it.
fn echo() -> Vec<u8> {
    let head = Bytes::zeros(SECTOR).put(0, b"loge").le32(8, MIB as u32).le64(16, 1).put(32, &ID);
    logged(&(0..MIB / SECTOR).map(|n| (n * SECTOR, head.0.clone())).collect::<Vec<_>>())
}

pub(crate) fn cases() -> Vec<Case> {
    let good = || table((DATA + MIB) as u64 | PRESENT);
    let file = (DATA + 2 * MIB) as u64;
    let sector = |at: u64| one(Write::Sector(at, vec![1; SECTOR]));
    let zeros = |at: u64, len: u64| one(Write::Zeros(at, len));
    let end = MIB - SECTOR;
    let cases = vec![
        ("of one write", one(good()), "ok"),
        ("of zeros over the table", zeros(BAT as u64, 4096), "ok"),
        ("around the end", logged(&[(end, entry(1, end as u32, &[good()]))]), "ok"),
        (
            "of two entries",
            logged(&[(0, entry(5, 0, &[good()])), (8192, entry(6, 0, &[good()]))]),
            "ok",
        ),
        (
            "of an older run beside it",
            logged(&[(0, entry(9, 0, &[good()])), (8192, entry(3, 8192, &[table(4)]))]),
            "ok",
        ),
        ("that makes the file longer", odd(|b| b.le64(56, file + MIB as u64)), "ok"),
        ("without its beginning", logged(&[(8192, entry(6, 0, &[good()]))]), "dirty-log"),
        (
            "with a hole in its numbers",
            logged(&[(0, entry(5, 0, &[good()])), (8192, entry(7, 0, &[good()]))]),
            "ok",
        ),
        ("of number 0", logged(&[(0, entry(0, 0, &[good()]))]), "dirty-log"),
        ("of another id", odd(|b| b.put(32, &[8; 16])), "dirty-log"),
        (
            "with another sum",
            logged(&[(0, Bytes(entry(1, 0, &[good()])).put(200, &[1]).0)]),
            "dirty-log",
        ),
        ("of length 0", odd(|b| b.le32(8, 0)), "dirty-log"),
        ("of an odd length", odd(|b| b.le32(8, 8191)), "dirty-log"),
        ("longer than itself", odd(|b| b.le32(8, 2 << 20)), "dirty-log"),
        ("of length 2^32-4096", odd(|b| b.le32(8, u32::MAX - 4095)), "dirty-log"),
        ("from past its end", odd(|b| b.le32(12, MIB as u32)), "dirty-log"),
        ("from an odd place", odd(|b| b.le32(12, 5)), "dirty-log"),
        ("of 2^32-1 writes", odd(|b| b.le32(24, u32::MAX)), "dirty-log"),
        ("of more writes than data", odd(|b| b.le32(24, 2)), "dirty-log"),
        ("of a write of no kind", odd(|b| b.put(64, b"none")), "dirty-log"),
        ("of a write of another entry", odd(|b| b.le64(64 + 24, 2)), "dirty-log"),
        ("of data of another entry", odd(|b| b.le32(SECTOR + 4, 1)), "dirty-log"),
        ("of data that are none", odd(|b| b.put(SECTOR, b"none")), "dirty-log"),
        ("that repeats itself", echo(), "too-complex"),
        ("over the identifier", sector(0), "malformed"),
        ("over a header", sector(HEADERS[1] as u64), "malformed"),
        ("over itself", sector(LOG as u64 + 4096), "malformed"),
        ("past the end", sector(file), "malformed"),
        ("at 2^64", sector(0_u64.wrapping_sub(4096)), "malformed"),
        ("at an odd place", sector(BAT as u64 + 512), "malformed"),
        ("of no zeros", zeros(BAT as u64, 0), "malformed"),
        ("of 2^63 zeros", zeros(BAT as u64, 1 << 63), "malformed"),
        ("of zeros over the region tables", zeros(FIRST, 128 << 10), "malformed"),
        ("of odd zeros", zeros(BAT as u64, 100), "dirty-log"),
        ("of zeros over all", zeros(FIRST, file - FIRST), "malformed"),
        ("of a file once longer", odd(|b| b.le64(48, file + 1)), "malformed"),
        ("of a file of 2^62", odd(|b| b.le64(56, 1 << 62)), "malformed"),
        ("that puts a block over it", one(table(LOG as u64 | PRESENT)), "malformed"),
        ("that puts a block past the end", one(table(file | PRESENT)), "malformed"),
        ("that puts two blocks in one place", one(table(DATA as u64 | PRESENT)), "malformed"),
    ];
    let named = |(name, bytes, wanted)| (format!("vhdx log writes {name}"), bytes, wanted);
    cases.into_iter().map(named).collect()
}
