//! VHD, VHDX and VDI. Checksums are put right after the edits, or nothing behind them is reached.

use std::sync::LazyLock;

use super::open_and_read;
use crate::Target;
use crate::seed::{edits, vhd, vhdx};

static BASES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| vec![vhd::dynamic(), vhd::fixed(), vhdx::image(), vhd::vdi()]);

pub const TARGET: Target = Target {
    name: "vhd",
    run: |data| open_and_read(data, &BASES),
    seeds: || {
        edits::seeds(
            &BASES,
            &[16, 48, 60, 64, 68, 76, 340, 368, 376, 528, 540, 544, 1536, 65_600, 196_640],
        )
    },
};
