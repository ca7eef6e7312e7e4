//! Bundles: the archive itself, and its config, map and chunks behind right digests.

use std::sync::LazyLock;

use vmint_images::{Format, Opener, bundle};

use super::{limits, read};
use crate::Target;
use crate::seed::bundle::{around, parts, written};
use crate::seed::edits::{self, Edited};

static BASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let [config, map, chunks] = parts();
    vec![written(), around(&config, &map, &chunks)]
});

pub const TARGET: Target = Target { name: "bundle", run, seeds };

/// A first byte of this says that the rest is one of the three parts; the others stay honest.
const PART: u8 = 0xf0;

fn run(data: &[u8]) {
    match data {
        [pick @ PART..=u8::MAX, part @ ..] => {
            let mut parts = parts();
            parts[usize::from(pick & 0x0f) % 3] = part.to_vec();
            let [config, map, chunks] = parts;
            open(around(&config, &map, &chunks));
        }
        _ => open(Edited::new(data, &BASES)),
    }
}

fn open(source: impl vmint_images::Source + Clone + 'static) {
    let limits = limits();
    let _ = bundle::describe(source.clone(), &limits);
    for index in 0..2 {
        if let Ok(disk) = Opener::new(&limits).disk(index).open(source.clone()) {
            // What no longer looks like a bundle is a raw disk.
            assert_eq!(disk.promised().is_some(), disk.format() == Format::Bundle);
            read(&disk);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = edits::seeds(&BASES, &[0, 100, 124, 156, 257, 512, 560, 600]);
    for (index, part) in (0..).zip(parts()) {
        seeds.push([vec![PART + index], part].concat());
    }
    seeds
}
