//! OVAs (tar, OVF, digests) and compressed streams.

use std::sync::LazyLock;

use vmint_images::Opener;

use super::{limits, read};
use crate::Target;
use crate::seed::edits::{self, Edited};
use crate::seed::package;

static BASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(package::all);
/// In memory where the machine has such a place.
static STAGING: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let shared = std::path::PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
});

pub const TARGET: Target = Target { name: "package", run, seeds };

fn run(data: &[u8]) {
    let limits = limits();
    let opener = Opener::new(&limits).staging(&STAGING);
    if let Ok(disk) = opener.open(Edited::new(data, &BASES)) {
        read(&disk);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    edits::seeds(&BASES, &[0, 100, 124, 156, 257, 512, 600, 700, 800, 900, 1100])
}
