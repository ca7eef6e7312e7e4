//! Disk files made to do harm.

const CLUSTER: usize = 64 << 10;

/// A qcow2 file to be spoilt.
pub(crate) struct Qcow2 {
    pub(crate) version: u32,
    pub(crate) backing: &'static str,
    pub(crate) incompatible: u64,
    pub(crate) size: u64,
    pub(crate) l1_entries: u32,
    pub(crate) l1_offset: u64,
}

impl Default for Qcow2 {
    /// Well made and empty.
    fn default() -> Self {
        let (l1_entries, l1_offset) = (1, 3 * CLUSTER as u64);
        Self { version: 3, backing: "", incompatible: 0, size: 1 << 20, l1_entries, l1_offset }
    }
}

impl Qcow2 {
    /// Header, reference table, reference block, first table: a cluster each.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; 4 * CLUSTER];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QFI\xfb");
        put(4, &self.version.to_be_bytes());
        if !self.backing.is_empty() {
            put(8, &512u64.to_be_bytes());
            put(16, &u32::try_from(self.backing.len()).unwrap().to_be_bytes());
            put(512, self.backing.as_bytes());
        }
        put(20, &16u32.to_be_bytes());
        put(24, &self.size.to_be_bytes());
        put(36, &self.l1_entries.to_be_bytes());
        put(40, &self.l1_offset.to_be_bytes());
        put(48, &(CLUSTER as u64).to_be_bytes());
        put(56, &1u32.to_be_bytes());
        if self.version == 3 {
            put(72, &self.incompatible.to_be_bytes());
            put(96, &4u32.to_be_bytes());
            put(100, &104u32.to_be_bytes());
        }
        put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
        for cluster in 0..4 {
            put(2 * CLUSTER + 2 * cluster, &1u16.to_be_bytes());
        }
        file
    }
}
