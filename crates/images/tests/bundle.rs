//! What a bundle is written from is what is read of it.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

use std::fs::File;

use vmint_images::{
    Format, Limits, Opener, Source,
    bundle::{self, Mapping, Registration},
    write::BundleWriter,
};

const BLOCK: usize = 4096;
const REGION: u64 = 4096;

/// Bytes of a chunk, some of which compress well and some not at all.
fn chunk(seed: u64, blocks: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = (0..blocks * BLOCK).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if seed.is_multiple_of(3) { seed as u8 | 1 } else { state as u8 }
    });
    noise.collect()
}

/// Where chunks lie: neighbours, gaps, the end of a region, far away and the last block.
fn places(size: u64) -> Vec<(u64, usize)> {
    let last = size.div_ceil(BLOCK as u64) - 1;
    let mut all = vec![(0, 4), (4, 64), (100, 1), (REGION - 2, 2), (REGION, 17)];
    all.extend((0..1500).map(|n| (2 * REGION + n * 2, 1)));
    all.push((last, 1));
    all
}

fn write(dir: &std::path::Path, sizes: &[u64], image: Option<Registration>) -> File {
    let file = tempfile::tempfile_in(dir).unwrap();
    let mut out = BundleWriter::new(file, dir);
    for (n, size) in sizes.iter().enumerate() {
        out.begin_disk(*size).unwrap();
        for (first, blocks) in places(*size) {
            out.chunk(first, &chunk(first, blocks)).unwrap();
        }
        out.end_disk([n as u8 + 1; 32]).unwrap();
    }
    out.finish(image).unwrap()
}

fn all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; Source::len(file) as usize];
    Source::read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn image() -> Registration {
    let device = |name: &str, disk| Mapping {
        device_name: name.to_owned(),
        disk,
        size_gib: 3,
        delete_on_termination: Some(false),
        volume_type: "io1".to_owned(),
        iops: 100,
        throughput_mibps: 0,
        encrypted: true,
        kms_key_id: "kms-0".to_owned(),
    };
    Registration {
        name: "web".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_mode: "uefi".to_owned(),
        root_device_name: "/dev/sda1".to_owned(),
        mappings: vec![
            device("/dev/sda1", Some(0)),
            device("/dev/sdb", Some(1)),
            device("c", None),
        ],
        ..Registration::default()
    }
}

#[test]
fn disks_read_back_and_the_same_is_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    // The last block of the second is not whole, and its layers hold many regions each.
    let sizes = [64 << 20, (3_u64 << 40) + 512];
    let file = write(dir.path(), &sizes, Some(image()));
    let bytes = all(&file);
    assert!(all(&write(dir.path(), &sizes, Some(image()))) == bytes);
    // Equal disks share all their blobs.
    let [one, two] =
        [&sizes[..1], &[sizes[0]; 2]].map(|sizes| all(&write(dir.path(), sizes, None)));
    assert!(two.len() < one.len() + 2048, "{} and {}", one.len(), two.len());
    let limits = Limits { max_virtual: 4 << 40, ..Limits::default() };
    let note = bundle::describe(file.try_clone().unwrap(), &limits).unwrap();
    assert_eq!(note.image, Some(image()));
    for (n, size) in sizes.iter().enumerate() {
        let disk = Opener::new(&limits).disk(n).open(file.try_clone().unwrap()).unwrap();
        assert_eq!((disk.size_bytes(), disk.format()), (*size, Format::Bundle));
        assert_eq!(disk.promised(), Some([n as u8 + 1; 32]));
        let (mut at, mut seen) = (0, Vec::new());
        for extent in disk.extents() {
            let extent = extent.unwrap();
            assert!(extent.start >= at && extent.end <= *size);
            at = extent.end;
            seen.push(extent.start / BLOCK as u64);
            let mut bytes = vec![0; (extent.end - extent.start) as usize];
            disk.read_at(extent.start, &mut bytes).unwrap();
            let first = extent.start / BLOCK as u64;
            let blocks = bytes.len().div_ceil(BLOCK);
            assert!(bytes == chunk(first, blocks)[..bytes.len()], "at block {first}");
        }
        assert_eq!(seen, places(*size).iter().map(|(first, _)| *first).collect::<Vec<_>>());
        // Across chunks and holes, from the middle of one.
        let mut bytes = vec![0xff; 102 * BLOCK];
        disk.read_at(3 * BLOCK as u64 + 7, &mut bytes).unwrap();
        assert_eq!(bytes[0], chunk(0, 4)[3 * BLOCK + 7]);
        assert_eq!(bytes[80 * BLOCK], 0);
        assert_eq!(bytes[97 * BLOCK - 7], chunk(100, 1)[0]);
    }
}

#[test]
fn an_empty_disk_is_a_bundle_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = BundleWriter::new(tempfile::tempfile_in(dir.path()).unwrap(), dir.path());
    out.begin_disk(1 << 30).unwrap();
    out.end_disk([0; 32]).unwrap();
    let file = out.finish(None).unwrap();
    let disk = Opener::new(&Limits::default()).open(file).unwrap();
    assert_eq!((disk.size_bytes(), disk.extents().count()), (1 << 30, 0));
}

#[test]
fn a_writer_is_not_misled() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = BundleWriter::new(tempfile::tempfile_in(dir.path()).unwrap(), dir.path());
    out.chunk(0, &[1; BLOCK]).unwrap_err();
    out.begin_disk(1000).unwrap_err();
    out.begin_disk(1 << 20).unwrap();
    out.chunk(256, &[1; BLOCK]).unwrap_err();
    out.chunk(0, &[1; 100]).unwrap_err();
    out.chunk(0, &vec![1; 65 * BLOCK]).unwrap_err();
    out.chunk(5, &[1; BLOCK]).unwrap();
    out.chunk(5, &[1; BLOCK]).unwrap_err();
    out.begin_disk(1 << 20).unwrap_err();
    out.finish(None).unwrap_err();
}
