//! VMDK headers, descriptors, tables, markers and footers.

use std::sync::LazyLock;

use super::open_and_read;
use crate::Target;
use crate::seed::{edits, vmdk};

static BASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![vmdk::sparse(), vmdk::streamed()]);

pub const TARGET: Target = Target {
    name: "vmdk",
    run: |data| open_and_read(data, &BASES),
    seeds: || {
        edits::seeds(&BASES, &[4, 8, 12, 20, 28, 36, 44, 56, 512, 600, 1536, 2048, 65536, 65544])
    },
};
