//! VHDs, fixed and dynamic.

use vmint_images::write::{self, Export};

use super::Case;
use super::builder::FILL;
use super::bytes::Bytes;

const HEADER: usize = 512;
const TABLE: usize = 1536;
const SUM: usize = 64;

/// What our own writer makes of a disk of 16 MiB with data in its first and third block.
fn dynamic() -> Bytes {
    let mut disk = vec![0; 16 << 20];
    disk[..512].fill(FILL);
    disk[4 << 20..][..512].fill(FILL);
    let source = super::Holes(disk);
    let export = Export { source: &source, id: [1; 16], watch: &|_| true };
    let mut out = Vec::new();
    write::vhd(&export, &mut out).unwrap();
    Bytes(out)
}

fn fixed() -> Bytes {
    let footer = dynamic().0[..512].to_vec();
    let image = Bytes::zeros(1 << 20).fill(0, 1 << 20, FILL).put(1 << 20, &footer);
    sum(image.be64((1 << 20) + 48, 1 << 20).be32((1 << 20) + 60, 2), 1 << 20, SUM, 512)
}

/// Puts a right checksum at `at + field` of a structure of `len` bytes.
fn sum(bytes: Bytes, at: usize, field: usize, len: usize) -> Bytes {
    let bytes = bytes.be32(at + field, 0);
    let sum: u32 = bytes.0[at..at + len].iter().map(|byte| u32::from(*byte)).sum();
    bytes.be32(at + field, !sum)
}

/// A dynamic disk with both footers changed alike.
fn footers(change: impl Fn(Bytes, usize) -> Bytes) -> Vec<u8> {
    let end = dynamic().0.len() - 512;
    let bytes = sum(change(dynamic(), 0), 0, SUM, 512);
    sum(change(bytes, end), end, SUM, 512).0
}

fn header(change: impl FnOnce(Bytes) -> Bytes) -> Vec<u8> {
    sum(change(dynamic()), HEADER, 36, 1024).0
}

pub(crate) fn cases() -> Vec<Case> {
    let end = dynamic().0.len() - 512;
    let last = fixed().0.len() - 512;
    let bat = |index: usize, sector: u32| dynamic().be32(TABLE + 4 * index, sector).0;
    let cases = vec![
        ("dynamic", dynamic().0, "ok"),
        ("fixed", fixed().0, "ok"),
        ("fixed, cut at its front", fixed().0[512..].to_vec(), "malformed"),
        ("a wrong checksum", dynamic().put(end + 70, &[9]).0, "malformed"),
        ("a wrong checksum at the start", dynamic().put(70, &[9]).0, "malformed"),
        ("footers that differ", sum(dynamic().be64(48, 1 << 20), 0, SUM, 512).0, "malformed"),
        ("no copy at the start", dynamic().fill(0, 512, 0).0, "malformed"),
        ("a differencing disk", footers(|b, at| b.be32(at + 60, 4)), "differencing"),
        ("an unknown type", footers(|b, at| b.be32(at + 60, 9)), "malformed"),
        ("version 2", footers(|b, at| b.be32(at + 12, 0x0002_0000)), "version"),
        ("a saved state", footers(|b, at| b.put(at + 84, &[1])), "saved-state"),
        ("a size of 2^63", footers(|b, at| b.be64(at + 48, 1 << 63)), "too-large"),
        ("a size of 0", footers(|b, at| b.be64(at + 48, 0)), "empty"),
        ("an odd size", footers(|b, at| b.be64(at + 48, 1000)), "malformed"),
        (
            "a fixed disk longer than its file",
            sum(fixed().be64(last + 48, 1 << 21), last, SUM, 512).0,
            "malformed",
        ),
        ("a dynamic disk that says fixed", footers(|b, at| b.be32(at + 60, 2)), "malformed"),
        ("a header past the end", footers(|b, at| b.be64(at + 16, 1 << 50)), "malformed"),
        ("a header in the footer", footers(|b, at| b.be64(at + 16, 0)), "malformed"),
        ("a header at 2^64-1", footers(|b, at| b.be64(at + 16, u64::MAX)), "malformed"),
        ("no header", header(|b| b.put(HEADER, b"nosparse")), "malformed"),
        ("a header's wrong checksum", dynamic().put(HEADER + 300, &[1]).0, "malformed"),
        ("a header of version 7", header(|b| b.be32(HEADER + 24, 7)), "malformed"),
        ("a parent's id", header(|b| b.put(HEADER + 40, &[7; 16])), "differencing"),
        ("blocks of 0", header(|b| b.be32(HEADER + 32, 0)), "malformed"),
        ("blocks of 3", header(|b| b.be32(HEADER + 32, 3 << 20)), "malformed"),
        ("blocks of 2 GiB", header(|b| b.be32(HEADER + 32, 1 << 31)), "malformed"),
        ("a table too small", header(|b| b.be32(HEADER + 28, 3)), "malformed"),
        ("a table of 2^32-1", header(|b| b.be32(HEADER + 28, u32::MAX)), "malformed"),
        ("a table past the end", header(|b| b.be64(HEADER + 16, 1 << 60)), "malformed"),
        ("a table over the header", header(|b| b.be64(HEADER + 16, 1024)), "malformed"),
        ("a table unaligned", header(|b| b.be64(HEADER + 16, 1537)), "malformed"),
        ("a block past the end", bat(0, 1 << 30), "malformed"),
        ("a block over the footer", bat(0, (end / 512) as u32 - 4096), "malformed"),
        ("a block over the table", bat(0, 3), "malformed"),
        ("a block over the header", bat(0, 1), "malformed"),
        ("a block at 0", bat(0, 0), "malformed"),
        ("a block twice", bat(5, 4), "malformed"),
        ("blocks that overlap", bat(5, 5), "malformed"),
        ("every block one", (0..8).fold(dynamic(), |b, n| b.be32(TABLE + 4 * n, 4)).0, "malformed"),
        ("cut at its end", dynamic().cut(end).0, "malformed"),
        ("cut in its data", dynamic().cut(1 << 20).0, "malformed"),
        ("eight bytes", b"conectix".to_vec(), "malformed"),
        ("a footer alone", dynamic().cut(512).0, "malformed"),
    ];
    cases.into_iter().map(|(name, bytes, wanted)| (format!("vhd {name}"), bytes, wanted)).collect()
}
