//! Several volumes frozen at one moment, and freezes found again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::{DiskError, freeze_all};

fn count(frozen: &Frozen) -> u64 {
    let mut bytes = [0; 8];
    frozen.read_at(4096, &mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

#[test]
fn a_set_never_holds_a_later_write_without_the_earlier_one() {
    let dir = TempDir::new().unwrap();
    let make = |name: &str| Volume::create(&dir.path().join(name), 1 << 20, None).unwrap();
    // Frozen in the order of their directories, written in the other.
    let (first, second) = (make("b"), make("a"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Ordering::Acquire) {
                n += 1;
                first.write_at(4096, &n.to_be_bytes()).unwrap();
                second.write_at(4096, &n.to_be_bytes()).unwrap();
            }
        });
        for _ in 0..40 {
            let set = freeze_all(&[&first, &second]).unwrap();
            let (one, two) = (count(&set[0]), count(&set[1]));
            assert!(one == two || one == two + 1, "{one} and {two}");
        }
        stop.store(true, Ordering::Release);
    });
    assert!(matches!(freeze_all(&[&first, &first]), Err(DiskError::InUse(_))));
    assert!(freeze_all(&[]).unwrap().is_empty());
}

#[test]
fn a_freeze_is_found_again_after_a_restart_until_it_is_built_upon() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("v");
    let none = |_: &str| -> io::Result<Arc<dyn Base>> { Err(io::ErrorKind::NotFound.into()) };
    let volume = Volume::create(&path, 1 << 20, None).unwrap();
    volume.write_at(0, b"before").unwrap();
    let layer = volume.freeze().unwrap().layer();
    volume.write_at(0, b"behind").unwrap();
    volume.grow(2 << 20).unwrap();
    volume.flush().unwrap();
    drop(volume);

    let volume = Volume::open(&path, none).unwrap();
    let again = volume.frozen(layer, 1 << 20).unwrap();
    assert_eq!((again.size(), again.layer()), (1 << 20, layer));
    let mut text = [0; 6];
    again.read_at(0, &mut text).unwrap();
    assert_eq!(&text, b"before");
    assert_eq!(again.dirty(), vec![0..4096]);
    assert!(volume.frozen(layer + 1, 2 << 20).is_none(), "the top is still written");
    assert!(volume.frozen(layer, 4 << 20).is_none(), "it never was that large");

    let newest = volume.freeze().unwrap();
    let mut content = vec![0; 2 << 20];
    newest.read_at(0, &mut content).unwrap();
    assert!(volume.rebase("later", Arc::new(Mem(content)), &newest).unwrap());
    assert!(volume.frozen(layer, 1 << 20).is_none());
}
