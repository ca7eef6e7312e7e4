//! What we write is what others read: qemu-img as the oracle, and our own readers.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vmint_images::write::{self, Export, Machine, Sparse, WriteError};
use vmint_images::{Format, Limits, Source, open};

const ID: [u8; 16] = *b"an id of a disk.";
const MACHINE: Machine<'static> = Machine { name: "web-1.2", cpus: 2, memory_mib: 1024 };

fn all(_done: u64) -> bool {
    true
}

fn export(source: &dyn Source) -> Export<'_> {
    Export { source, id: ID, watch: &all }
}

/// A sparse disk: data at odd places, stored zeros, holes, something at the very end.
fn disk(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    let mut state = size | 1;
    for (at, len) in [(0, 70_000), (300_000, 5), (size / 2 + 7, 600_001), (size - 3_000, 3_000)] {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 58) as u8
            })
            .collect();
        file.write_all_at(&bytes, at).unwrap();
    }
    file.write_all_at(&vec![0; 100_000], size / 4).unwrap();
    file
}

fn whole(source: &dyn Source) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    source.read_at(0, &mut bytes).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Writes `source` as `format` into a sparse file.
fn written(source: &dyn Source, format: Format, dir: &Path) -> File {
    let path = dir.join("out");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let mut out = Sparse::new(file.unwrap());
    let export = export(source);
    match format {
        Format::Raw => write::raw(&export, &mut out),
        Format::Qcow2 => write::qcow2(&export, &mut out),
        Format::Vmdk => write::vmdk(&export, &mut out),
        Format::Vhd => write::vhd(&export, &mut out),
        Format::Ova => write::ova(&[export], &MACHINE, dir, &mut out),
        _ => unreachable!(),
    }
    .unwrap();
    out.finish().unwrap()
}

const WRITTEN: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vhd, Format::Ova];

#[test]
fn our_readers_read_what_we_write() {
    let dir = TempDir::new().unwrap();
    for size in [(9 << 20) + 512, 2 << 20, 70 << 20, 65_536 * 3 + 1024, (33 << 20) + 77] {
        let source = disk(size.max(2 << 20));
        for format in WRITTEN {
            let file = written(&source, format, dir.path());
            let disk = open(file, Some(format), &Limits::default()).unwrap();
            assert!(whole(&disk) == whole(&source), "{format} of {size}");
        }
    }
    // Nothing at all but zeros.
    let zeros = tempfile::tempfile().unwrap();
    zeros.set_len(3 << 20).unwrap();
    for format in WRITTEN {
        let file = written(&zeros, format, dir.path());
        assert!(Source::len(&file) <= 3 << 20, "{format}");
        let disk = open(file, Some(format), &Limits::default()).unwrap();
        assert_eq!(disk.size_bytes(), 3 << 20);
        assert!(whole(&disk).iter().all(|byte| *byte == 0), "{format}");
    }
}

#[test]
fn qemu_reads_what_we_write() {
    let dir = TempDir::new().unwrap();
    let (image, out) = (dir.path().join("out"), dir.path().join("oracle.raw"));
    for size in [(9 << 20) + 512, 70 << 20, 600 << 20] {
        let source = disk(size);
        // The largest is there for its several L2 tables.
        let count = if size > 500 << 20 { 1 } else { 4 };
        for (format, driver) in [
            (Format::Qcow2, "qcow2"),
            (Format::Vmdk, "vmdk"),
            (Format::Vhd, "vpc"),
            (Format::Raw, "raw"),
        ]
        .into_iter()
        .take(count)
        {
            drop(written(&source, format, dir.path()));
            let convert = ["convert", "-f", driver, "-O", "raw"];
            let outcome = Command::new("qemu-img").args(convert).arg(&image).arg(&out).status();
            match outcome {
                Ok(status) => assert!(status.success(), "{format}"),
                Err(error) => return skip(&format!("qemu-img cannot be run: {error}")),
            }
            let mut bytes = Vec::new();
            File::open(&out).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == whole(&source), "{format} of {size} differs");
            if format == Format::Qcow2 {
                let check = ["check", "-f", driver];
                let check = Command::new("qemu-img").args(check).arg(&image).output().unwrap();
                assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
            }
        }
    }
}

/// The packages of others are unpacked by tar; ours must be too.
#[test]
fn tar_unpacks_our_package() {
    let dir = TempDir::new().unwrap();
    drop(written(&disk(9 << 20), Format::Ova, dir.path()));
    let tar = |args: &[&str]| Command::new("tar").args(args).current_dir(dir.path()).output();
    let list = match tar(&["-tf", "out"]) {
        Ok(list) => String::from_utf8(list.stdout).unwrap(),
        Err(error) => return skip(&format!("tar cannot be run: {error}")),
    };
    assert_eq!(list, "web-1.2.ovf\nweb-1.2.mf\nweb-1.2-disk1.vmdk\n");
    assert!(tar(&["-xf", "out"]).unwrap().status.success());
    let text = std::fs::read_to_string(dir.path().join("web-1.2.ovf")).unwrap();
    let size = std::fs::metadata(dir.path().join("web-1.2-disk1.vmdk")).unwrap().len();
    assert!(text.contains(&format!("ovf:size=\"{size}\"")));
    let disk = dir.path().join("web-1.2-disk1.vmdk");
    let sums = Command::new("sha256sum").arg(disk).output().unwrap().stdout;
    let list = std::fs::read_to_string(dir.path().join("web-1.2.mf")).unwrap();
    assert!(list.contains(str::from_utf8(&sums[..64]).unwrap()), "{list}");
}

#[test]
fn holes_stay_holes() {
    let dir = TempDir::new().unwrap();
    let source = tempfile::tempfile().unwrap();
    source.set_len(40 << 30).unwrap();
    source.write_all_at(b"somewhere", 33 << 30).unwrap();
    for format in WRITTEN {
        let file = written(&source, format, dir.path());
        let stored = file.metadata().unwrap().blocks() * 512;
        assert!(stored <= 8 << 20, "{format} takes {stored}");
        let disk = open(file, Some(format), &Limits::default()).unwrap();
        assert_eq!(disk.size_bytes(), 40 << 30);
        let mut bytes = [0; 9];
        disk.read_at(33 << 30, &mut bytes).unwrap();
        assert_eq!(&bytes, b"somewhere");
    }
}

#[test]
fn exports_have_bounds() {
    let dir = TempDir::new().unwrap();
    let source = tempfile::tempfile().unwrap();
    source.set_len(write::MAX_VHD + 512).unwrap();
    let error = write::vhd(&export(&source), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { format: Format::Vhd, .. }));
    for name in ["", "../x", "a b", ".hidden", "a\"b", &"x".repeat(65)] {
        let machine = Machine { name, ..MACHINE };
        let error = write::ova(&[export(&source)], &machine, dir.path(), &mut Vec::new());
        assert!(matches!(error, Err(WriteError::Name)), "{name}");
    }
    let source = disk(9 << 20);
    let asked = Cell::new(0);
    let watch = |_| {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let export = Export { source: &source, id: ID, watch: &watch };
    let error = write::raw(&export, &mut std::io::sink()).unwrap_err();
    assert!(matches!(error, WriteError::Cancelled));
    assert_eq!(asked.get(), 3);
}

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = File::options().create(true).append(true).open(log).unwrap();
    writeln!(log, "vmint-images export: {why}").unwrap();
}
