//! VHDXs.

use super::Case;
use super::builder::FILL;
use super::bytes::Bytes;

const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const HEADERS: [usize; 2] = [64 * KIB, 128 * KIB];
const REGIONS: [usize; 2] = [192 * KIB, 256 * KIB];
pub(super) const LOG: usize = MIB;
const METADATA: usize = 2 * MIB;
pub(super) const BAT: usize = 3 * MIB;
pub(super) const DATA: usize = 4 * MIB;
const ITEMS: usize = METADATA + 64 * KIB;
pub(super) const PRESENT: u64 = 6;

const OF_BAT: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
const OF_METADATA: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const LOGICAL: [u8; 16] = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
const PARENT: [u8; 16] = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";

/// Eight blocks of 1 MiB, of which the first and the third are there.
pub(super) fn image() -> Bytes {
    let mut bytes = Bytes::zeros(DATA + 2 * MIB).put(0, b"vhdxfile").fill(DATA, 2 * MIB, FILL);
    for (index, at) in HEADERS.into_iter().enumerate() {
        bytes = bytes.put(at, b"head").le64(at + 8, index as u64 + 1).le16(at + 66, 1);
        bytes = bytes.le32(at + 68, MIB as u32).le64(at + 72, LOG as u64);
    }
    for at in REGIONS {
        bytes = bytes.put(at, b"regi").le32(at + 8, 2);
        bytes = region(bytes, at, 0, OF_BAT, BAT);
        bytes = region(bytes, at, 1, OF_METADATA, METADATA);
    }
    bytes = bytes.put(METADATA, b"metadata").le16(METADATA + 10, 3);
    bytes = item(bytes, 0, PARAMETERS, 0, 8).le64(ITEMS, MIB as u64);
    bytes = item(bytes, 1, SIZE, 8, 8).le64(ITEMS + 8, 8 << 20);
    bytes = item(bytes, 2, LOGICAL, 16, 4).le32(ITEMS + 16, 512);
    bytes.le64(BAT, DATA as u64 | PRESENT).le64(BAT + 16, (DATA + MIB) as u64 | PRESENT)
}

fn region(bytes: Bytes, table: usize, index: usize, id: [u8; 16], at: usize) -> Bytes {
    let entry = table + 16 + 32 * index;
    bytes
        .put(entry, &id)
        .le64(entry + 16, at as u64)
        .le32(entry + 24, MIB as u32)
        .le32(entry + 28, 1)
}

fn item(bytes: Bytes, index: usize, id: [u8; 16], offset: usize, len: u32) -> Bytes {
    let entry = METADATA + 32 + 32 * index;
    let offset = (64 * KIB + offset) as u32;
    bytes.put(entry, &id).le32(entry + 16, offset).le32(entry + 20, len).le32(entry + 24, 4)
}

/// Puts all four checksums right.
pub(super) fn sums(mut bytes: Bytes) -> Vec<u8> {
    let headers = HEADERS.map(|at| (at, 4096));
    for (at, len) in headers.into_iter().chain(REGIONS.map(|at| (at, 64 * KIB))) {
        bytes = bytes.le32(at + 4, 0);
        let sum = crc32c::crc32c(&bytes.0[at..at + len]);
        bytes = bytes.le32(at + 4, sum);
    }
    bytes.0
}

fn with(change: impl FnOnce(Bytes) -> Bytes) -> Vec<u8> {
    sums(change(image()))
}

/// The same change to both region tables.
fn regions(change: impl Fn(Bytes, usize) -> Bytes) -> Vec<u8> {
    sums(REGIONS.into_iter().fold(image(), change))
}

fn bat(index: usize, value: u64) -> Vec<u8> {
    with(|b| b.le64(BAT + 8 * index, value))
}

pub(crate) fn cases() -> Vec<Case> {
    let good = || Bytes(sums(image()));
    let count = METADATA + 10;
    let cases = vec![
        ("of two blocks", good().0, "ok"),
        ("with one header", good().fill(HEADERS[0], 4096, 1).0, "ok"),
        (
            "without headers",
            good().fill(HEADERS[0], 4096, 1).fill(HEADERS[1], 4096, 1).0,
            "malformed",
        ),
        (
            "two newest headers",
            with(|b| b.le64(HEADERS[0] + 8, 2).put(HEADERS[0] + 16, &[1])),
            "malformed",
        ),
        ("version 2", with(|b| b.le16(HEADERS[1] + 66, 2)), "version"),
        ("a dirty log", with(|b| b.put(HEADERS[1] + 48, &[7; 16])), "dirty-log"),
        ("a log past the end", with(|b| b.le64(HEADERS[1] + 72, 1 << 50)), "malformed"),
        ("a log unaligned", with(|b| b.le64(HEADERS[1] + 72, (MIB + 512) as u64)), "malformed"),
        ("a log over the headers", with(|b| b.le64(HEADERS[1] + 72, 0)), "malformed"),
        ("a log over the table", with(|b| b.le64(HEADERS[1] + 72, BAT as u64)), "malformed"),
        (
            "without region tables",
            good().put(REGIONS[0] + 50, &[9]).put(REGIONS[1] + 50, &[9]).0,
            "malformed",
        ),
        ("with one region table", good().put(REGIONS[0] + 5000, &[9]).0, "ok"),
        ("region tables that differ", with(|b| b.put(REGIONS[0] + 5000, &[9])), "malformed"),
        ("2^31 regions", regions(|b, at| b.le32(at + 8, 1 << 31)), "malformed"),
        ("a region past the end", regions(|b, at| b.le64(at + 32, 1 << 50)), "malformed"),
        (
            "a region at 2^64",
            regions(|b, at| b.le64(at + 32, 0u64.wrapping_sub(MIB as u64))),
            "malformed",
        ),
        ("a region unaligned", regions(|b, at| b.le64(at + 32, (BAT + 4096) as u64)), "malformed"),
        ("a region of nothing", regions(|b, at| b.le32(at + 40, 0)), "malformed"),
        (
            "a region twice",
            regions(|b, at| region(b.le32(at + 8, 3), at, 2, OF_BAT, DATA)),
            "malformed",
        ),
        (
            "two regions in one place",
            regions(|b, at| region(b, at, 0, OF_BAT, METADATA)),
            "malformed",
        ),
        ("no block table", regions(|b, at| b.put(at + 16, &[9]).le32(at + 44, 0)), "malformed"),
        (
            "an unknown region",
            regions(|b, at| region(b.le32(at + 8, 3), at, 2, [9; 16], DATA)),
            "unknown-feature",
        ),
        ("metadata that are none", with(|b| b.put(METADATA, b"nonsense")), "malformed"),
        ("65,535 items", with(|b| b.le16(count, u16::MAX)), "malformed"),
        ("an item past its region", with(|b| b.le32(METADATA + 48, 1 << 30)), "malformed"),
        ("an item in the table", with(|b| b.le32(METADATA + 48, 32)), "malformed"),
        ("an item of 2^32-1", with(|b| b.le32(METADATA + 52, u32::MAX)), "malformed"),
        ("an item twice", with(|b| item(b.le16(count, 4), 3, SIZE, 8, 8)), "malformed"),
        ("an unknown item", with(|b| item(b.le16(count, 4), 3, [9; 16], 24, 8)), "unknown-feature"),
        ("a parent's locator", with(|b| item(b.le16(count, 4), 3, PARENT, 24, 8)), "differencing"),
        ("a parent", with(|b| b.le64(ITEMS, MIB as u64 | 2 << 32)), "differencing"),
        ("no size", with(|b| b.put(METADATA + 64, &[9; 16]).le32(METADATA + 88, 0)), "malformed"),
        ("blocks of 0", with(|b| b.le64(ITEMS, 0)), "malformed"),
        ("blocks of 3", with(|b| b.le64(ITEMS, 3 << 20)), "malformed"),
        ("blocks of 2 GiB", with(|b| b.le64(ITEMS, 1 << 31)), "malformed"),
        ("sectors of 4096", with(|b| b.le32(ITEMS + 16, 4096)), "sector-size"),
        ("sectors of 0", with(|b| b.le32(ITEMS + 16, 0)), "sector-size"),
        ("a size of 2^63", with(|b| b.le64(ITEMS + 8, 1 << 63)), "too-large"),
        ("a size of 0", with(|b| b.le64(ITEMS + 8, 0)), "empty"),
        ("an odd size", with(|b| b.le64(ITEMS + 8, 1000)), "malformed"),
        ("a table too small", with(|b| b.le64(ITEMS + 8, 1 << 39)), "malformed"),
        ("a block partly there", bat(0, DATA as u64 | 7), "differencing"),
        ("a block in no state", bat(0, DATA as u64 | 4), "malformed"),
        ("a block with reserved bits", bat(0, DATA as u64 | 8 | PRESENT), "malformed"),
        ("a block past the end", bat(0, 1 << 40 | PRESENT), "malformed"),
        ("a block at 2^64", bat(0, 0xffff_ffff_fff0_0006), "malformed"),
        ("a block over the headers", bat(0, PRESENT), "malformed"),
        ("a block over the log", bat(0, LOG as u64 | PRESENT), "malformed"),
        ("a block over the table", bat(0, BAT as u64 | PRESENT), "malformed"),
        ("a block over the metadata", bat(0, METADATA as u64 | PRESENT), "malformed"),
        ("a block twice", bat(1, DATA as u64 | PRESENT), "malformed"),
        ("cut in its headers", good().cut(MIB - 1).0, "malformed"),
        ("cut in its table", good().cut(BAT + 100).0, "malformed"),
        ("cut in its data", good().cut(DATA + MIB + 5).0, "malformed"),
        ("eight bytes", b"vhdxfile".to_vec(), "malformed"),
    ];
    cases.into_iter().map(|(name, bytes, wanted)| (format!("vhdx {name}"), bytes, wanted)).collect()
}
