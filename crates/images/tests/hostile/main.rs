//! Files made to hurt: each ends in a typed error, or is read within its budget.
#![allow(clippy::cast_possible_truncation, clippy::large_stack_arrays, clippy::unwrap_used)] // sizes are small
#![allow(clippy::too_many_lines, clippy::maybe_infinite_iter, clippy::format_collect)] // tables of cases

mod builder;
mod bundle;
mod bytes;
mod foreign;
mod header;
mod mutated;
mod package;
mod streams;
mod tables;
mod tar;
mod vdi;
mod vhd;
mod vhdx;
mod vhdx_log;
mod vmdk;

use std::io::{self, Write};
use std::ops::Range;

use builder::{CLUSTER, FILL, Image};
use tempfile::TempDir;
use vmint_images::{Disk, Format, ImageError, Limits, Opener, Source, open};

/// What a host file named by an image holds; no output may.
const CANARY: &[u8] = b"canary-7d1f0a-host-bytes";
const BUDGET: u64 = 64 << 20;

/// A name, a file, and the reason it must be refused for, or "ok".
type Case = (String, Vec<u8>, &'static str);

fn limits() -> Limits {
    Limits { max_memory: 64 << 20, ..Limits::default() }
}

/// A folder for what is unfolded.
fn staging() -> TempDir {
    TempDir::new().unwrap()
}

/// Reads at most [`BUDGET`] of the disk's data. Each byte must come from `allowed`.
fn drain(disk: &Disk, allowed: &[u8]) -> Result<u64, ImageError> {
    let mut read = 0;
    let mut buf = vec![0; 256 << 10];
    for extent in disk.extents() {
        let extent = extent?;
        let mut at = extent.start;
        while at < extent.end && read < BUDGET {
            let len = (extent.end - at).min(buf.len() as u64).min(disk.size_bytes() - at) as usize;
            if len == 0 {
                break;
            }
            disk.read_at(at, &mut buf[..len])?;
            assert!(!buf.windows(CANARY.len()).any(|window| window == CANARY), "a foreign byte");
            let foreign = buf[..len].iter().find(|byte| !allowed.contains(byte));
            assert_eq!(foreign, None, "a byte that nobody wrote");
            at += len as u64;
            read += len as u64;
        }
    }
    Ok(read)
}

/// Opens and reads it all; the reason it was refused for, or "ok".
fn verdict(bytes: Vec<u8>, declared: Option<Format>) -> &'static str {
    let (limits, dir) = (limits(), staging());
    // What is declared is held against the file itself where nothing is unfolded.
    let opener = Opener::new(&limits).declared(declared);
    let opener = if declared.is_none() { opener.staging(dir.path()) } else { opener };
    let outcome = opener.open(bytes).and_then(|disk| drain(&disk, &[0, FILL]));
    match outcome {
        Ok(_) => "ok",
        Err(ImageError::Io(error)) => panic!("an untyped error: {error}"),
        Err(error) => {
            assert!(error.is_senders_fault() && !error.to_string().is_empty());
            error.reason()
        }
    }
}

/// Bytes whose zeros are holes, in steps of 64 KiB.
struct Holes(Vec<u8>);

impl Source for Holes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let mut steps = self.0.chunks(CLUSTER).enumerate().skip(from as usize / CLUSTER);
        let data = steps.find(|(_, step)| step.iter().any(|byte| *byte != 0));
        let start = data.map(|(index, _)| (index * CLUSTER) as u64);
        Ok(start.map(|start| start.max(from)..start + CLUSTER as u64))
    }
}

/// The disk of the honest qcow2 image.
fn qcow2_disk() -> Holes {
    let disk = open(Image::new().0, None, &Limits::default()).unwrap();
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    Holes(bytes)
}

fn edit(change: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = Image::new();
    change(&mut image);
    image.0
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::best();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

#[test]
fn the_corpus_does_no_harm() {
    let corpus = [
        header::cases(),
        tables::cases(),
        vmdk::cases(),
        vhd::cases(),
        vhdx::cases(),
        vhdx_log::cases(),
        vdi::cases(),
        streams::cases(),
        package::cases(),
    ]
    .concat();
    let mut names = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, bytes, wanted) in corpus {
        let seen = verdict(bytes, None);
        if seen != wanted {
            wrong.push(format!("{name}: {seen}, not {wanted}"));
        }
        assert!(names.insert(name.clone()), "{name} stands twice");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} named inputs", names.len());
    assert!(names.len() >= 300, "the corpus shrank to {}", names.len());
}

#[test]
fn the_honest_image_is_read() {
    assert_eq!(verdict(Image::new().0, Some(Format::Qcow2)), "ok");
    let disk = open(Image::new().0, None, &Limits::default()).unwrap();
    let extents: Vec<_> = disk.extents().map(Result::unwrap).collect();
    assert_eq!(extents, [0..131_072, 327_680..393_216]);
    for compressed in [
        edit(|image| image.packed(&deflate(&[FILL; CLUSTER]), 0).done()),
        edit(|image| image.zstd().packed(&zstd(&[FILL; CLUSTER]), 0).done()),
    ] {
        assert_eq!(verdict(compressed, None), "ok");
    }
}

/// The file a hostile image names exists, and none of its bytes come out.
#[test]
fn no_named_file_is_opened() {
    let dir = tempfile::TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, CANARY.repeat(1000)).unwrap();
    let name = secret.to_str().unwrap().as_bytes();
    let flat = format!(
        "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"{}\" 0\n",
        secret.display()
    );
    let images = [
        edit(|i| i.u64(8, 512).u32(16, name.len() as u32).bytes(512, name).done()),
        edit(|i| i.u32(104, 0x4441_5441).u32(108, name.len() as u32).bytes(112, name).done()),
        flat.into_bytes(),
    ];
    for bytes in images {
        assert_ne!(verdict(bytes, None), "ok");
    }
}
