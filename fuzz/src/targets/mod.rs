//! What is fuzzed.

pub mod bundle;
pub mod chunked;
pub mod json;
pub mod objects;
pub mod manifest;
pub mod package;
pub mod qcow2;
pub mod query;
pub mod sigv4;
pub mod vhd;
pub mod vmdk;
mod wire;

use std::time::Duration;

use vmint_images::{Disk, Limits, Opener, Source};

use crate::seed::edits::Edited;

/// Small enough that a run is quick, large enough that every path can be taken.
fn limits() -> Limits {
    Limits {
        max_virtual: 1 << 30,
        max_data: 4 << 20,
        max_memory: 4 << 20,
        max_cpu: Duration::from_secs(5),
    }
}

/// Opens what the input describes (see [`Edited`]) and reads all of it.
fn open_and_read(data: &[u8], bases: &'static [Vec<u8>]) {
    if let Ok(disk) = Opener::new(&limits()).open(Edited::new(data, bases)) {
        read(&disk);
    }
}

/// Reads every extent; they must ascend, lie in the disk and keep to the budget.
fn read(disk: &Disk) {
    let size = disk.size_bytes();
    assert!(size > 0 && size % 512 == 0 && size <= 1 << 30);
    let (mut last, mut sum) = (0, 0);
    let mut buf = vec![0; 64 << 10];
    for extent in disk.extents() {
        let Ok(extent) = extent else { return };
        assert!(extent.start >= last && extent.start < extent.end && extent.end <= size);
        last = extent.end;
        let mut at = extent.start;
        while at < extent.end && sum <= 4 << 20 {
            let len = (extent.end - at).min(buf.len() as u64);
            if disk.read_at(at, &mut buf[..len as usize]).is_err() {
                return;
            }
            at += len;
            sum += len;
        }
    }
    assert_eq!(Source::len(disk), size);
}
