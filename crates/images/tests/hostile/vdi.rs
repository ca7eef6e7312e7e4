//! VDIs.

use super::Case;
use super::builder::FILL;
use super::bytes::Bytes;

const MAP: usize = 512;
const DATA: usize = 1024;
const MIB: usize = 1 << 20;

/// Eight blocks, of which the first and the sixth are there.
fn image() -> Bytes {
    Bytes::zeros(DATA + 2 * MIB)
        .put(0, b"<<< a disk image >>>\n")
        .le32(0x40, 0xbeda_107f)
        .le32(0x44, 0x0001_0001)
        .le32(0x48, 0x190)
        .le32(0x4c, 1)
        .le32(0x154, MAP as u32)
        .le32(0x158, DATA as u32)
        .le32(0x168, 512)
        .le64(0x170, 8 << 20)
        .le32(0x178, MIB as u32)
        .le32(0x180, 8)
        .le32(0x184, 2)
        .fill(MAP, 32, 0xff)
        .le32(MAP, 0)
        .le32(MAP + 20, 1)
        .fill(DATA, 2 * MIB, FILL)
}

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        ("of two blocks", image().0, "ok"),
        ("with a zeroed block", image().le32(MAP + 8, u32::MAX - 1).0, "ok"),
        ("version 9", image().le32(0x44, 0x0009_0000).0, "version"),
        ("undo", image().le32(0x4c, 3).0, "differencing"),
        ("differencing", image().le32(0x4c, 4).0, "differencing"),
        ("a parent's id", image().put(0x1b8, &[7; 16]).0, "differencing"),
        ("a link's id", image().put(0x1a8, &[7; 16]).0, "differencing"),
        ("sectors of 4096", image().le32(0x168, 4096).0, "sector-size"),
        ("blocks of 0", image().le32(0x178, 0).0, "malformed"),
        ("blocks of 3", image().le32(0x178, 3 << 20).0, "malformed"),
        ("blocks of 2 GiB", image().le32(0x178, 1 << 31).0, "malformed"),
        ("blocks with more in front", image().le32(0x17c, 512).0, "malformed"),
        ("a size of 2^63", image().le64(0x170, 1 << 63).0, "too-large"),
        ("a size of 2^64-1", image().le64(0x170, u64::MAX).0, "too-large"),
        ("a size of 0", image().le64(0x170, 0).0, "empty"),
        ("a map too small", image().le32(0x180, 7).0, "malformed"),
        ("a map of 2^32-1", image().le32(0x180, u32::MAX).0, "malformed"),
        ("a map in the header", image().le32(0x154, 0).0, "malformed"),
        ("a map over the data", image().le32(0x158, 516).0, "malformed"),
        ("data past the end", image().le32(0x158, u32::MAX).0, "malformed"),
        ("a block behind the last", image().le32(MAP + 4, 2).0, "malformed"),
        ("a block past the end", image().le32(0x184, 100).le32(MAP + 4, 99).0, "malformed"),
        ("a block twice", image().le32(MAP + 4, 1).0, "malformed"),
        ("every block one", (0..8).fold(image(), |b, n| b.le32(MAP + 4 * n, 0)).0, "malformed"),
        ("cut in its header", image().cut(300).0, "malformed"),
        ("cut in its map", image().cut(520).0, "malformed"),
        ("cut in its data", image().cut(MIB).0, "malformed"),
    ];
    cases.into_iter().map(|(name, bytes, wanted)| (format!("vdi {name}"), bytes, wanted)).collect()
}
