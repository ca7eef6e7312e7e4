//! Valid files of every format read exactly as QEMU reads them (qemu-img is only the oracle).
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vmint_images::{Disk, Format, Limits, open};

/// Runs a tool; `None` (with a note) when it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<()> {
    let status = match Command::new(tool).args(args).stdout(Stdio::null()).status() {
        Ok(status) => status,
        Err(error) => {
            skip(&format!("{tool} cannot be run: {error}"));
            return None;
        }
    };
    assert!(status.success(), "{tool} {args:?}");
    Some(())
}

/// Says that nothing was compared; `VMINT_SKIP_LOG` names a file to note it in.
fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = File::options().create(true).append(true).open(log).unwrap();
    writeln!(log, "vmint-images oracle: {why}").unwrap();
}

/// Repeatable bytes that compress somewhat.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|at| {
            if at % 3 == 0 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            }
            (state >> 56) as u8
        })
        .collect()
}

/// A sparse raw disk of `size` bytes: data, zeros, data across odd boundaries, a long hole.
fn raw_disk(path: &Path, size: u64) {
    use std::os::unix::fs::FileExt;
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (seed, at, len) in
        [(1, 0, 70_000), (2, 300_000, 5), (3, 1 << 20, 600_001), (4, size - 3_000, 3_000)]
    {
        file.write_all_at(&noise(seed, len), at).unwrap();
    }
    file.write_all_at(&vec![0; 100_000], 2 << 20).unwrap();
}

/// The whole disk through its extents; what lies between must read zero.
fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size_bytes()).unwrap()];
    let mut last = 0;
    for range in disk.extents() {
        let range = range.unwrap();
        assert!(range.start >= last && range.start < range.end, "{range:?} after {last}");
        last = range.end;
        let (start, end) = (range.start as usize, (range.end as usize).min(bytes.len()));
        // Odd pieces, so that reads cross clusters.
        for from in (start..end).step_by(77_777) {
            let to = (from + 77_777).min(end);
            disk.read_at(from as u64, &mut bytes[from..to]).unwrap();
        }
    }
    let mut whole = vec![1; bytes.len()];
    disk.read_at(0, &mut whole).unwrap();
    assert!(whole == bytes, "extents leave data out");
    bytes
}

fn oracle(dir: &TempDir, image: &Path, driver: &str) -> Vec<u8> {
    let out = dir.path().join("oracle.raw");
    run(
        "qemu-img",
        &["convert", "-f", driver, "-O", "raw", image.to_str().unwrap(), out.to_str().unwrap()],
    )
    .unwrap();
    let mut bytes = Vec::new();
    File::open(out).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn reads_what_qemu_wrote() {
    let dir = TempDir::new().unwrap();
    let raw = dir.path().join("in.raw");
    let image = dir.path().join("in.qcow2");
    let options = [
        (vec!["-o", "compat=0.10"], 9 << 20),
        (vec!["-o", "compat=1.1"], 9 << 20),
        (vec!["-o", "compat=1.1,lazy_refcounts=on"], 5 << 20),
        (vec!["-o", "cluster_size=512"], 4 << 20),
        (vec!["-o", "cluster_size=4k"], (7 << 20) + 512),
        (vec!["-o", "cluster_size=2M"], (31 << 20) + 1024),
        (vec!["-o", "refcount_bits=1"], 6 << 20),
        (vec!["-o", "refcount_bits=64,cluster_size=4k"], 6 << 20),
        (vec!["-c"], 9 << 20),
        (vec!["-c", "-o", "compat=0.10"], (9 << 20) + 512),
        (vec!["-c", "-o", "cluster_size=512"], 4 << 20),
        (vec!["-c", "-o", "cluster_size=2M"], (31 << 20) + 1024),
        (vec!["-c", "-o", "compression_type=zstd"], (9 << 20) + 512),
        (vec!["-c", "-o", "compression_type=zstd,cluster_size=2M"], 33 << 20),
        (vec!["-c", "-o", "compression_type=zstd,cluster_size=4k"], 9 << 20),
        (vec!["-S", "0"], 9 << 20),
    ];
    for (options, size) in options {
        raw_disk(&raw, size);
        let paths = [raw.to_str().unwrap(), image.to_str().unwrap()];
        let args = [&["convert", "-f", "raw", "-O", "qcow2"], &options[..], &paths].concat();
        if run("qemu-img", &args).is_none() {
            return;
        }
        let disk = open(File::open(&image).unwrap(), Some(Format::Qcow2), &Limits::default());
        let disk = disk.unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(disk.size_bytes(), size);
        assert!(content(&disk) == std::fs::read(&raw).unwrap(), "{options:?} differs");
    }
}

#[test]
fn reads_what_a_guest_wrote() {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("guest.qcow2");
    let path = image.to_str().unwrap();
    for options in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=1k",
        "preallocation=metadata",
        "preallocation=falloc",
        "lazy_refcounts=on",
    ] {
        if run("qemu-img", &["create", "-f", "qcow2", "-o", options, path, "20M"]).is_none() {
            return;
        }
        let mut args = vec!["-f", "qcow2"];
        for command in [
            "write -P 7 4096 100000",
            "write -P 8 10M 3M",
            "write -z 11M 512k",
            "discard 12M 256k",
            "write -P 9 20971008 512",
            "write -P 5 64k 1",
        ] {
            args.extend(["-c", command]);
        }
        args.push(path);
        run("qemu-io", &args).unwrap();
        run("qemu-img", &["resize", "-q", "-f", "qcow2", path, "41M"]).unwrap();
        let disk = open(File::open(&image).unwrap(), None, &Limits::default());
        let disk = disk.unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(content(&disk) == oracle(&dir, &image, "qcow2"), "{options} differs");
    }
}

#[test]
fn reads_every_other_format_qemu_wrote() {
    let dir = TempDir::new().unwrap();
    let raw = dir.path().join("in.raw");
    let image = dir.path().join("in.image");
    let (mib, odd) = (1 << 20, 512);
    let cases = [
        ("vmdk", "subformat=monolithicSparse", 9 * mib),
        ("vmdk", "subformat=monolithicSparse", 33 * mib + odd),
        ("vmdk", "subformat=monolithicSparse,compat6", 5 * mib),
        ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", 9 * mib),
        ("vmdk", "subformat=monolithicSparse,adapter_type=lsilogic", 129 * mib + odd),
        ("vmdk", "subformat=streamOptimized", 9 * mib),
        ("vmdk", "subformat=streamOptimized", 70 * mib + 3 * odd),
        ("vpc", "subformat=dynamic", 9 * mib),
        ("vpc", "subformat=dynamic,force_size", 9 * mib + odd),
        ("vpc", "subformat=fixed", 5 * mib),
        ("vpc", "subformat=fixed,force_size", 5 * mib + odd),
        ("vhdx", "subformat=dynamic", 9 * mib),
        ("vhdx", "subformat=dynamic,block_size=1M", 40 * mib + odd),
        ("vhdx", "subformat=dynamic,block_size=32M,block_state_zero=off", 70 * mib),
        ("vhdx", "subformat=dynamic,block_size=256M", 9 * mib),
        ("vhdx", "subformat=fixed,log_size=4M", 9 * mib),
        ("vdi", "static=off", 9 * mib),
        ("vdi", "static=off", 33 * mib + odd),
        ("vdi", "static=on", 5 * mib + odd),
    ];
    for (driver, options, size) in cases {
        raw_disk(&raw, size);
        let paths = [raw.to_str().unwrap(), image.to_str().unwrap()];
        let args = ["convert", "-f", "raw", "-O", driver, "-o", options, paths[0], paths[1]];
        if run("qemu-img", &args).is_none() {
            return;
        }
        let declared = driver.parse().unwrap();
        let disk = open(File::open(&image).unwrap(), Some(declared), &Limits::default());
        let disk = disk.unwrap_or_else(|error| panic!("{driver} {options}: {error}"));
        assert_eq!(disk.format(), declared);
        let mut wanted = oracle(&dir, &image, driver);
        assert!(wanted.len() as u64 >= size, "{driver} {options}");
        // VHD without `force_size` rounds up to whole cylinders; the rest reads zero.
        assert!(content(&disk) == wanted, "{driver} {options} differs");
        wanted.truncate(usize::try_from(size).unwrap());
        assert!(wanted == std::fs::read(&raw).unwrap(), "{driver} {options}: the oracle differs");
    }
}

#[test]
fn a_sparse_raw_disk_costs_its_data_only() {
    let file = tempfile::tempfile().unwrap();
    file.set_len((1 << 40) - 7).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 40) - 10).unwrap();
    let disk = open(file, Some(Format::Raw), &Limits::default()).unwrap();
    assert_eq!(disk.size_bytes(), 1 << 40, "rounded up to a sector");
    let extents: Vec<_> = disk.extents().collect::<Result<_, _>>().unwrap();
    let data: u64 = extents.iter().map(|range| range.end - range.start).sum();
    assert!(data <= 1 << 20, "{extents:?}");
    let mut tail = [1; 16];
    disk.read_at((1 << 40) - 16, &mut tail).unwrap();
    assert_eq!(&tail, b"\0\0\0\0\0\0end\0\0\0\0\0\0\0");
}

/// The newest header's place in a VHDX.
fn header(vhdx: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(vhdx[at + 8..at + 16].try_into().unwrap());
    if number(64 << 10) > number(128 << 10) { 64 << 10 } else { 128 << 10 }
}

/// Sets the sum of `bytes` right, which stands at 4.
fn sum(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// `after`, as it would be had the machine died before its tables were in place: they are as
/// `before`, and in the log, in two entries that go around its end.
fn dirty(before: &[u8], after: &[u8]) -> Vec<u8> {
    const SECTOR: usize = 4096;
    let (mut file, head) = (after.to_vec(), header(after));
    let number = |at: usize, len| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&after[at..at + len]);
        u64::from_le_bytes(bytes) as usize
    };
    let (len, log) = (number(head + 68, 4), number(head + 72, 8));
    let sectors = (log + len..before.len()).step_by(SECTOR);
    let moved: Vec<_> =
        sectors.filter(|at| before[*at..at + SECTOR] != after[*at..at + SECTOR]).collect();
    assert!(!moved.is_empty(), "nothing of the tables changed");
    let (tail, mut at) = (len - SECTOR, len - SECTOR);
    // The first entry writes what is wrong, the second what is right and a stretch of zeros.
    for (sequence, right) in [(77_u64, false), (78, true)] {
        let table = (64 + 32 * (moved.len() + 1)).next_multiple_of(SECTOR);
        let mut entry = vec![0; table + moved.len() * SECTOR];
        let size = entry.len() as u32;
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"loge");
        put(8, &size.to_le_bytes());
        put(12, &(tail as u32).to_le_bytes());
        put(16, &sequence.to_le_bytes());
        put(24, &(moved.len() as u32 + 1).to_le_bytes());
        put(32, &[7; 16]);
        put(48, &(after.len() as u64).to_le_bytes());
        put(56, &(after.len() as u64).to_le_bytes());
        for (n, place) in moved.iter().enumerate() {
            let sector = &if right { after } else { before }[*place..place + SECTOR];
            let (descriptor, data) = (64 + 32 * n, table + n * SECTOR);
            put(descriptor, b"desc");
            put(descriptor + 4, &sector[SECTOR - 4..]);
            put(descriptor + 8, &sector[..8]);
            put(descriptor + 16, &(*place as u64).to_le_bytes());
            put(descriptor + 24, &sequence.to_le_bytes());
            put(data, sector);
            put(data, b"data");
            put(data + 4, &((sequence >> 32) as u32).to_le_bytes());
            put(data + SECTOR - 4, &(sequence as u32).to_le_bytes());
        }
        // Of the first block there is, two sectors.
        let descriptor = 64 + 32 * moved.len();
        put(descriptor, b"zero");
        put(descriptor + 8, &8192_u64.to_le_bytes());
        put(descriptor + 16, &((before.len() + SECTOR) as u64).to_le_bytes());
        put(descriptor + 24, &sequence.to_le_bytes());
        sum(&mut entry);
        for byte in entry {
            file[log + at] = byte;
            at = (at + 1) % len;
        }
    }
    for place in &moved {
        file[*place..place + SECTOR].copy_from_slice(&before[*place..place + SECTOR]);
    }
    file[head + 48..head + 64].fill(7);
    sum(&mut file[head..head + SECTOR]);
    file
}

#[test]
fn a_log_is_replayed_as_qemu_replays_it() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (options, size) in [
        ("subformat=dynamic,block_size=1M", "40M"),
        ("subformat=dynamic,block_size=1M,log_size=4M", "200M"),
        ("subformat=dynamic,block_size=32M", "70M"),
    ] {
        let image = path("in.vhdx");
        let name = image.to_str().unwrap();
        if run("qemu-img", &["create", "-f", "vhdx", "-o", options, name, size]).is_none() {
            return;
        }
        let before = std::fs::read(&image).unwrap();
        let writes = ["-c", "write -P 0x5a 1M 70k", "-c", "write -P 0x33 35M 300k"];
        if run("qemu-io", &[&["-f", "vhdx"], &writes[..], &[name]].concat()).is_none() {
            return;
        }
        let file = dirty(&before, &std::fs::read(&image).unwrap());
        std::fs::write(&image, &file).unwrap();
        let limits = Limits::default();
        let disk = open(File::open(&image).unwrap(), Some(Format::Vhdx), &limits).unwrap();
        let seen = content(&disk);
        let written = &seen[35 << 20..][..300 << 10];
        assert!(written.iter().all(|byte| *byte == 0x33), "{options}");
        assert!(std::fs::read(&image).unwrap() == file, "the file was written");
        // QEMU repairs it in place and reads the same.
        run("qemu-img", &["check", "-q", "-r", "all", name]).unwrap();
        assert!(std::fs::read(&image).unwrap() != file, "QEMU found nothing to replay");
        assert!(seen == oracle(&dir, &image, "vhdx"), "{options}");
    }
}
