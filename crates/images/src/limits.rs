//! What one image may cost.

use std::time::Duration;

const TIB: u64 = 1 << 40;

/// Bounds for one image; sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest disk an image may describe. At most [`Limits::MAX_VIRTUAL`].
    pub max_virtual: u64,
    /// The most non-hole bytes an image may unfold to.
    pub max_data: u64,
    /// The most memory the structural walk may hold.
    pub max_memory: u64,
    /// The most processor time that opening it may take, decompression included.
    pub max_cpu: Duration,
}

impl Limits {
    /// The largest volume there is: 64 TiB.
    pub const MAX_VIRTUAL: u64 = 64 * TIB;

    /// The default limits with another disk size, clamped to [`Limits::MAX_VIRTUAL`].
    #[must_use]
    pub fn with_max_virtual(max_virtual: u64) -> Self {
        let max_virtual = max_virtual.min(Self::MAX_VIRTUAL);
        Self { max_virtual, max_data: max_virtual, ..Self::default() }
    }

    /// The disk size limit that holds, whatever was configured.
    pub(crate) fn virtual_limit(&self) -> u64 {
        self.max_virtual.min(Self::MAX_VIRTUAL)
    }
}

impl Default for Limits {
    /// 1 TiB of disk, all of which may be data, 160 MiB of memory and ten minutes.
    fn default() -> Self {
        Self {
            max_virtual: TIB,
            max_data: TIB,
            max_memory: 160 << 20,
            max_cpu: Duration::from_mins(10),
        }
    }
}
