//! Packages of several disks: all of them are found, in their machine's order.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use vmint_images::{
    Feature, ImageError, Limits, Opener, Source, disks,
    write::{self, Export, MAX_OVA_DISKS, Machine, WriteError},
};

const MACHINE: Machine<'_> = Machine { name: "web", cpus: 1, memory_mib: 512 };

fn disk(seed: u8, len: usize) -> Vec<u8> {
    let mut disk = vec![0; len];
    disk[..4096].fill(seed);
    disk[len - 512..].fill(seed + 1);
    disk
}

fn package(all: &[Vec<u8>]) -> Result<Vec<u8>, WriteError> {
    let dir = tempfile::tempdir().unwrap();
    let export = |(n, source): (usize, &'_ Vec<u8>)| (n, source.clone());
    let all: Vec<_> = all.iter().enumerate().map(export).collect();
    let exports =
        all.iter().map(|(n, source)| Export { source, id: [*n as u8; 16], watch: &|_| true });
    let exports: Vec<_> = exports.collect();
    let mut out = Vec::new();
    write::ova(&exports, &MACHINE, dir.path(), &mut out)?;
    Ok(out)
}

fn open(ova: &[u8], index: usize) -> Result<Vec<u8>, ImageError> {
    let limits = Limits::default();
    let disk = Opener::new(&limits).disk(index).open(ova.to_vec())?;
    let mut bytes = vec![0; Source::len(&disk) as usize];
    disk.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn every_disk_reads_back_and_is_held_to_its_digest() {
    let all = [disk(1, 1 << 20), disk(3, 70_144), disk(5, 3 << 20)];
    let ova = package(&all).unwrap();
    assert_eq!(disks(&ova, &Limits::default()).unwrap(), 3);
    for (n, disk) in all.iter().enumerate() {
        assert!(open(&ova, n).unwrap() == *disk, "disk {n}");
    }
    let several = Opener::new(&Limits::default()).open(ova.clone()).unwrap_err();
    assert!(matches!(several, ImageError::Feature { feature: Feature::SeveralDisks(3), .. }));
    assert!(matches!(
        open(&ova, 3),
        Err(ImageError::Feature { feature: Feature::NoSuchDisk(3), .. })
    ));
    // The last byte of each VMDK is its own: the others are none the worse for it.
    let name = |n: usize| format!("web-disk{n}.vmdk");
    for n in 1..=3 {
        let header = ova.chunks(512).position(|block| block.starts_with(name(n).as_bytes()));
        let mut other = ova.clone();
        other[(header.unwrap() + 1) * 512 + 512] ^= 1;
        for index in 0..3 {
            assert_eq!(open(&other, index).is_ok(), index + 1 != n, "disk {index} when {n} lies");
        }
    }
    // Anything else is one disk, or one that is refused when it is opened.
    assert_eq!(disks(&disk(1, 4096), &Limits::default()).unwrap(), 1);
    assert!(disks(&ova[..ova.len() / 2].to_vec(), &Limits::default()).is_err());
}

#[test]
fn a_package_has_one_disk_at_least_and_21_at_most() {
    assert!(matches!(package(&[]), Err(WriteError::Disks)));
    let many = vec![disk(1, 8192); MAX_OVA_DISKS];
    assert_eq!(disks(&package(&many).unwrap(), &Limits::default()).unwrap(), MAX_OVA_DISKS);
    assert!(matches!(package(&vec![disk(1, 8192); MAX_OVA_DISKS + 1]), Err(WriteError::Disks)));
}

/// Puts another OVF of the same length into a package of ours, with its digest.
fn with_devices(ova: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let size = |at: usize| {
        let digits = str::from_utf8(&ova[at + 124..at + 135]).unwrap();
        usize::from_str_radix(digits, 8).unwrap()
    };
    let len = size(0);
    let text = str::from_utf8(&ova[512..512 + len]).unwrap();
    let changed = change(text);
    assert_eq!(changed.len(), len, "the archive's headers stay");
    let hex = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let mut out = ova.to_vec();
    out[512..512 + len].copy_from_slice(changed.as_bytes());
    let (old, new) = (hex(text.as_bytes()), hex(changed.as_bytes()));
    let at = out.windows(64).position(|window| window == old.as_bytes()).unwrap();
    out[at..at + 64].copy_from_slice(new.as_bytes());
    out
}

#[test]
fn the_machines_devices_say_which_disk_comes_first() {
    let all = [disk(1, 8192), disk(3, 8192), disk(5, 8192)];
    let ova = package(&all).unwrap();
    let order = |ova: &[u8]| [0, 1, 2].map(|n| (open(ova, n).unwrap()[0] - 1) / 2);
    assert_eq!(order(&ova), [0, 1, 2]);
    let swapped = with_devices(&ova, |ovf| {
        let ovf = ovf.replace("ovf:/disk/disk1", "ovf:/disk/diskX");
        ovf.replace("ovf:/disk/disk3", "ovf:/disk/disk1").replace("/disk/diskX", "/disk/disk3")
    });
    assert_eq!(order(&swapped), [2, 1, 0]);
    // Devices that do not name each disk once say nothing.
    for (from, to) in [("/disk/disk3", "/disk/disk1"), ("/disk/disk1", "/file/file1")] {
        let odd = with_devices(&ova, |ovf| ovf.replace(from, to));
        assert_eq!(order(&odd), [0, 1, 2], "{from} became {to}");
    }
}
