//! Numbers at fixed places of a buffer known to be long enough.

/// Little-endian numbers.
pub(crate) struct Le<'a>(pub(crate) &'a [u8]);

impl Le<'_> {
    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from(self.0[at]) | u16::from(self.0[at + 1]) << 8
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }
}

/// Big-endian numbers.
pub(crate) struct Be<'a>(pub(crate) &'a [u8]);

impl Be<'_> {
    pub(crate) fn u32(&self, at: usize) -> u32 {
        self.0[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }
}
