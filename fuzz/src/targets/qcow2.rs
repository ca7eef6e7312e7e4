//! qcow2 headers, tables and compressed clusters.

use std::sync::LazyLock;

use super::open_and_read;
use crate::Target;
use crate::seed::{edits, qcow2};

static BASES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| vec![qcow2::plain(), qcow2::packed(false), qcow2::packed(true)]);

pub const TARGET: Target = Target {
    name: "qcow2",
    run: |data| open_and_read(data, &BASES),
    seeds: || {
        edits::seeds(&BASES, &[4, 8, 20, 24, 36, 40, 48, 56, 72, 96, 100, 104, 512, 1536, 2048])
    },
};
