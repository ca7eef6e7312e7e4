//! Makes qcow2 files byte by byte, so that every byte can be wrong.

pub(crate) const CLUSTER: usize = 65_536;
/// What every honest data cluster here is filled with.
pub(crate) const FILL: u8 = 0xab;

/// A qcow2 file of version 3 with 64 KiB clusters: header, refcount table and block, L1, one L2,
/// and three data clusters for guest clusters 0, 1 and 5.
#[derive(Clone)]
pub(crate) struct Image(pub(crate) Vec<u8>);

pub(crate) const REFTABLE: usize = CLUSTER;
pub(crate) const REFBLOCK: usize = 2 * CLUSTER;
pub(crate) const L1: usize = 3 * CLUSTER;
pub(crate) const L2: usize = 4 * CLUSTER;
pub(crate) const DATA: usize = 5 * CLUSTER;
pub(crate) const SIZE: u64 = 16 << 20;
const COPIED: u64 = 1 << 63;

impl Image {
    pub(crate) fn new() -> Self {
        let mut image = Self(vec![0; 8 * CLUSTER]);
        image.0[..4].copy_from_slice(b"QFI\xfb");
        image
            .u32(4, 3)
            .u32(20, 16)
            .u64(24, SIZE)
            .u32(36, 1)
            .u64(40, L1 as u64)
            .u64(48, REFTABLE as u64)
            .u32(56, 1)
            .u32(96, 4)
            .u32(100, 104)
            .u64(REFTABLE, REFBLOCK as u64)
            .u64(L1, L2 as u64 | COPIED)
            .u64(L2, DATA as u64 | COPIED)
            .u64(L2 + 8, (DATA + CLUSTER) as u64 | COPIED)
            .u64(L2 + 40, (DATA + 2 * CLUSTER) as u64 | COPIED);
        for cluster in 0..8 {
            image.0[REFBLOCK + 2 * cluster + 1] = 1;
        }
        image.0[DATA..].fill(FILL);
        image
    }

    /// Ends a chain of changes.
    #[allow(clippy::unused_self)] // being called is all it is for
    pub(crate) fn done(&mut self) {}

    pub(crate) fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.bytes(at, &value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.bytes(at, &value.to_be_bytes())
    }

    /// Writes over what is there; the file grows when it must.
    pub(crate) fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        if self.0.len() < at + bytes.len() {
            self.0.resize(at + bytes.len(), 0);
        }
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Turns guest cluster 0 into a compressed one that holds `packed`.
    pub(crate) fn packed(&mut self, packed: &[u8], more_sectors: u64) -> &mut Self {
        self.bytes(DATA, packed).u64(L2, packed_entry(DATA as u64, more_sectors))
    }

    /// Says that compressed clusters are zstd.
    pub(crate) fn zstd(&mut self) -> &mut Self {
        self.u64(72, 8).u32(100, 112).bytes(104, &[1])
    }
}

/// An L2 entry of a compressed cluster, for 64 KiB clusters.
pub(crate) fn packed_entry(offset: u64, more_sectors: u64) -> u64 {
    1 << 62 | more_sectors << 54 | offset
}
