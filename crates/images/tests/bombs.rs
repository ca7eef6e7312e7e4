//! Small files that would unfold to much: each ends in a typed error, or is read, within the
//! budgets of size, data, time and memory.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

use std::fs;
use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;
use vmint_images::{ImageError, Limits, Opener};

const MIB: usize = 1 << 20;
/// What the process may grow by for any of them.
const GROWTH_KIB: u64 = 64 << 10;
static LINE: [u8; 65_536] = [0xab; 65_536];
static ZEROS: [u8; 65_536] = [0; 65_536];

fn limits() -> Limits {
    Limits {
        max_virtual: 128 << 20,
        max_data: 16 << 20,
        max_memory: 32 << 20,
        max_cpu: Duration::from_mins(1),
    }
}

/// Opens and reads all; the reason of a refusal, or "ok".
fn verdict(bytes: Vec<u8>, limits: &Limits) -> &'static str {
    let dir = TempDir::new().unwrap();
    let opened = Opener::new(limits).staging(dir.path()).open(bytes);
    let outcome = opened.and_then(|disk| {
        let mut buf = vec![0; 256 << 10];
        let mut read = 0;
        for extent in disk.extents() {
            let extent = extent?;
            for at in (extent.start..extent.end).step_by(buf.len()) {
                let len = (extent.end - at).min(buf.len() as u64) as usize;
                disk.read_at(at, &mut buf[..len])?;
                read += len as u64;
            }
        }
        // What is read is bounded by the budget, give or take the last block.
        assert!(read <= limits.max_data + (4 << 20), "{read} bytes of data");
        Ok(())
    });
    match outcome {
        Ok(()) => "ok",
        Err(ImageError::Io(error)) => panic!("an untyped error: {error}"),
        Err(error) => error.reason(),
    }
}

/// A line of this process's status, in KiB.
fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|byte: char| !byte.is_ascii_digit()).parse().unwrap()
}

/// `count` pieces of 64 KiB through an encoder.
fn gzip(piece: &[u8], count: usize) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    (0..count).for_each(|_| encoder.write_all(piece).unwrap());
    encoder.finish().unwrap()
}

fn xz(piece: &[u8], count: usize) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    (0..count).for_each(|_| encoder.write_all(piece).unwrap());
    encoder.finish().unwrap()
}

fn zstd(piece: &[u8], count: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    (0..count).for_each(|_| encoder.write_all(piece).unwrap());
    encoder.finish().unwrap()
}

fn bzip2(piece: &[u8], count: usize) -> Vec<u8> {
    let level = bzip2::Compression::fast();
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
    (0..count).for_each(|_| encoder.write_all(piece).unwrap());
    encoder.finish().unwrap()
}

/// An xz stream whose one block asks for a dictionary of 1.5 GiB.
fn dictionary() -> Vec<u8> {
    let mut bytes = xz(&LINE, 1);
    // Behind the stream's header of 12 bytes: the block header's size, flags, filter, and the
    // dictionary's size as one byte, then padding and a CRC of all of it.
    let len = (usize::from(bytes[12]) + 1) * 4;
    let at = bytes[12..12 + len].windows(2).position(|pair| pair == [0x21, 0x01]).unwrap();
    bytes[12 + at + 2] = 37;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..12 + len - 4]);
    bytes[12 + len - 4..12 + len].copy_from_slice(&crc.sum().to_le_bytes());
    bytes
}

/// A qcow2 file of 64 KiB clusters with 2^`bits` guest clusters, all of them the same.
fn aliased(bits: u32) -> Vec<u8> {
    let cluster = 65_536;
    let tables = (1usize << bits) / 8192;
    let mut bytes = vec![0; cluster * (3 + tables)];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &(65_536_u64 << bits).to_be_bytes());
    put(36, &(tables as u32).to_be_bytes());
    put(40, &65_536_u64.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    for table in 0..tables {
        put(cluster + 8 * table, &((cluster * (3 + table)) as u64).to_be_bytes());
        for entry in 0..8192 {
            put(cluster * (3 + table) + 8 * entry, &(2 * cluster as u64).to_be_bytes());
        }
    }
    bytes
}

type Bomb = (&'static str, Box<dyn Fn() -> Vec<u8>>, Limits, &'static str);

#[test]
fn bombs_fizzle() {
    let wide = Limits { max_virtual: 64 << 40, max_data: 64 << 40, ..limits() };
    let hasty = Limits { max_cpu: Duration::ZERO, ..limits() };
    let nested = |pack: fn(&[u8], usize) -> Vec<u8>| gzip(&pack(&ZEROS, 1600), 1);
    let window = [&b"\x28\xb5\x2f\xfd\x00\xa8"[..], &[1, 0, 0, 0]].concat();
    let bombs: Vec<Bomb> = vec![
        ("gzip of 256 MiB of zeros", Box::new(|| gzip(&ZEROS, 4096)), limits(), "too-large"),
        ("xz of 256 MiB of zeros", Box::new(|| xz(&ZEROS, 4096)), limits(), "too-large"),
        ("zstd of 256 MiB of zeros", Box::new(|| zstd(&ZEROS, 4096)), limits(), "too-large"),
        ("bzip2 of 256 MiB of zeros", Box::new(|| bzip2(&ZEROS, 4096)), limits(), "too-large"),
        ("gzip of 96 MiB of data", Box::new(|| gzip(&LINE, 1536)), limits(), "too-much-data"),
        ("xz of 96 MiB of data", Box::new(|| xz(&LINE, 1536)), limits(), "too-much-data"),
        ("zstd of 96 MiB of data", Box::new(|| zstd(&LINE, 1536)), limits(), "too-much-data"),
        ("bzip2 of 96 MiB of data", Box::new(|| bzip2(&LINE, 1536)), limits(), "too-much-data"),
        ("zeros within the limit", Box::new(|| zstd(&ZEROS, 2048)), limits(), "ok"),
        ("gzip in gzip", Box::new(move || nested(gzip)), limits(), "compressed-twice"),
        ("xz in gzip", Box::new(move || nested(xz)), limits(), "compressed-twice"),
        ("zstd with a window of 2 GiB", Box::new(move || window.clone()), limits(), "too-complex"),
        ("xz with a dictionary of 1.5 GiB", Box::new(dictionary), limits(), "too-complex"),
        (
            "100,000 empty gzip members",
            Box::new(|| gzip(&[], 1).repeat(100_000)),
            limits(),
            "empty",
        ),
        (
            "100,000 empty bzip2 streams",
            Box::new(|| bzip2(&[], 1).repeat(100_000)),
            limits(),
            "empty",
        ),
        ("100,000 empty zstd frames", Box::new(|| zstd(&[], 1).repeat(100_000)), limits(), "empty"),
        ("anything in no time", Box::new(|| gzip(&ZEROS, 64)), hasty, "too-slow"),
        ("qcow2 of 2 GiB in one cluster", Box::new(|| aliased(15)), wide.clone(), "malformed"),
        (
            "qcow2 of 8 GiB in one cluster, in xz",
            Box::new(|| xz(&aliased(17), 1)),
            wide,
            "malformed",
        ),
    ];
    assert!(bombs.len() >= 12);
    let at_rest = status("VmRSS:");
    for (name, make, limits, wanted) in bombs {
        let bytes = make();
        assert!(bytes.len() < 4 * MIB, "{name} is no small file");
        // Forgets the peak so far: making the bomb may take more.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let seen = verdict(bytes, &limits);
        assert_eq!(seen, wanted, "{name}");
        let grown = status("VmHWM:").saturating_sub(at_rest);
        assert!(grown <= GROWTH_KIB, "{name}: grew by {grown} KiB");
        println!("{name}: {seen}, grew by {grown} KiB");
    }
}
