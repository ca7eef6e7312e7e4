//! Single situations.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::Mem;
use crate::log::Boot;
use crate::volume::{Extent, Volume};
use crate::{BLOCK, Base, DiskError, VolumeKey};

#[test]
fn a_large_volume_costs_nothing_until_it_is_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vol");
    let size = 64 << 40;
    let volume = Volume::create(&path, size, None).unwrap();
    assert_eq!(volume.extent(0, size).unwrap(), (Extent::Hole, size));
    volume.write_zeroes(0, size).unwrap();
    assert_eq!(volume.allocated_bytes(), 0);
    let places = [0, (1 << 40) - 5, (17 << 40) + 4096, size - 10];
    for at in places {
        volume.write_at(at, b"0123456789").unwrap();
    }
    volume.flush().unwrap();
    volume.write_zeroes(1 << 20, size - (2 << 20)).unwrap();
    volume.write_at(20 << 40, b"later").unwrap();
    drop(volume);
    let volume = Volume::open(&path, |_| unreachable!()).unwrap();
    let mut bytes = [0; 10];
    for (at, wanted) in places.into_iter().zip([*b"0123456789", [0; 10], [0; 10], *b"0123456789"]) {
        volume.read_at(at, &mut bytes).unwrap();
        assert_eq!(bytes, wanted);
    }
    volume.read_at(20 << 40, &mut bytes).unwrap();
    assert_eq!(&bytes, b"later\0\0\0\0\0");
    assert!(volume.allocated_bytes() < 1 << 20);
    let frozen = volume.freeze().unwrap();
    assert!(frozen.dirty().len() <= places.len() + 1, "{:?}", frozen.dirty());
}

#[test]
fn damage_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vol");
    let volume = Volume::create(&path, 1 << 20, None).unwrap();
    for at in 0..20 {
        volume.write_at(at * 3 * BLOCK, &[7; 4096]).unwrap();
        if at % 5 == 4 {
            volume.flush().unwrap();
        }
    }
    drop(volume);
    let open = || Volume::open(&path, |_| unreachable!());
    let files: Vec<_> = ["manifest", "1.map"].iter().map(|name| path.join(name)).collect();
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..used).step_by(7).chain(4096..used) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            std::fs::write(file, &flipped).unwrap();
            match open() {
                Err(DiskError::Damaged { .. }) => {}
                Ok(volume) => {
                    // Only the last mark may go unnoticed: nothing depends on it.
                    assert!(at + 32 > used && *file != files[0], "{} byte {at}", file.display());
                    drop(volume);
                }
                Err(other) => panic!("{other}"),
            }
        }
        std::fs::write(file, &whole).unwrap();
    }
    drop(open().unwrap());
    std::fs::remove_file(&files[1]).unwrap();
    assert!(matches!(open(), Err(DiskError::Damaged { .. })));
}

#[test]
fn a_torn_end_is_not_damage() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vol");
    let volume = Volume::create(&path, 1 << 20, None).unwrap();
    volume.write_at(0, &[1; 4096]).unwrap();
    volume.flush().unwrap();
    volume.write_at(8192, &[2; 4096]).unwrap();
    volume.write_at(16384, &[3; 4096]).unwrap();
    drop(volume);
    let file = path.join("1.map");
    let mut bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The power went while the kernel wrote: the record before the last never arrived.
    let record = used / 32 * 32;
    bytes[record - 32..record].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let volume = Volume::open_in(&path, |_| unreachable!(), Boot::other(), None).unwrap();
    let mut block = [0; 4096];
    volume.read_at(0, &mut block).unwrap();
    assert_eq!(block, [1; 4096]);
    volume.read_at(8192, &mut block).unwrap();
    assert_eq!(block, [0; 4096]);
}

#[test]
fn a_volume_is_open_once_and_made_once() {
    let dir = TempDir::new().unwrap();
    let path: &Path = &dir.path().join("vol");
    assert!(matches!(Volume::open(path, |_| unreachable!()), Err(DiskError::Missing(_))));
    let volume = Volume::create(path, 4096, None).unwrap();
    assert!(matches!(Volume::open(path, |_| unreachable!()), Err(DiskError::InUse(_))));
    assert!(matches!(Volume::create(path, 4096, None), Err(DiskError::InUse(_))));
    drop(volume);
    assert!(matches!(Volume::create(path, 4096, None), Err(DiskError::Exists(_))));
    assert!(matches!(Volume::create(&dir.path().join("b"), 0, None), Err(DiskError::BadSize(0))));
    let base: Arc<dyn Base> = Arc::new(Mem(vec![0; 8192]));
    let small = Volume::create(&dir.path().join("c"), 4096, Some(("x", base.clone())));
    assert!(matches!(small, Err(DiskError::BadSize(4096))));
    let label = Volume::create(&dir.path().join("d"), 8192, Some(("two\nlines", base)));
    assert!(matches!(label, Err(DiskError::BadLabel)));
    Volume::delete(path).unwrap();
    Volume::delete(path).unwrap();
    assert!(!path.exists());
}

#[test]
fn ranges_outside_are_refused() {
    let dir = TempDir::new().unwrap();
    let volume = Volume::create(&dir.path().join("vol"), 5000, None).unwrap();
    let mut buf = [0; 2];
    for at in [4999, 5000, 5001, u64::MAX] {
        let errors = [
            volume.read_at(at, &mut buf).unwrap_err(),
            volume.write_at(at, &buf).unwrap_err(),
            volume.write_zeroes(at, 2).unwrap_err(),
            volume.extent(at, 2).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == io::ErrorKind::InvalidInput), "{at}");
    }
    volume.write_at(5000, &[]).unwrap();
    volume.read_at(5000, &mut []).unwrap();
}

#[test]
fn a_volume_with_a_key_keeps_nothing_readable_and_opens_with_no_other() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vol");
    let key = VolumeKey::from_bytes([5; 64]);
    let other = VolumeKey::from_bytes([6; 64]);
    let volume = Volume::create_with(&path, 1 << 20, None, Some(&key)).unwrap();
    let secret = super::noise(1, 40_000);
    volume.write_at(10_000, &secret).unwrap();
    volume.write_at(10_100, &secret[100..101]).unwrap();
    let frozen = volume.freeze().unwrap();
    volume.write_at(10_000, &secret).unwrap();
    volume.flush().unwrap();
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(&path).unwrap() {
        stored.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let data = ["1.data.0", "2.data.0"].map(|name| std::fs::read(path.join(name)).unwrap());
    let windows: std::collections::HashSet<_> = secret.windows(32).collect();
    assert!(stored.iter().all(|file| file.windows(32).all(|window| !windows.contains(window))));
    // Equal bytes at an equal place in two layers are not equal on disk.
    assert!(data[0].chunks(16).zip(data[1].chunks(16)).skip(768).all(|(a, b)| a != b));
    drop((frozen, volume));
    let open = |key| Volume::open_with(&path, key, |_| unreachable!());
    assert!(matches!(open(None), Err(DiskError::WrongKey(_))));
    assert!(matches!(open(Some(&other)), Err(DiskError::WrongKey(_))));
    let mut found = vec![0; secret.len()];
    open(Some(&key)).unwrap().read_at(10_000, &mut found).unwrap();
    assert!(found == secret);
    let plain = dir.path().join("plain");
    drop(Volume::create(&plain, 4096, None).unwrap());
    let sealed = Volume::open_with(&plain, Some(&key), |_| unreachable!());
    assert!(matches!(sealed, Err(DiskError::WrongKey(_))));
}
