//! Valid inputs, made by code, and how a fuzzer's bytes change them.

pub mod bundle;
pub mod edits;
pub mod package;
pub mod qcow2;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;

use std::io;
use std::ops::Range;

use vmint_images::Source;

/// Puts `bytes` at `at`.
fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A disk of `len` bytes whose first `data` bytes are not zero.
struct Disk {
    len: u64,
    data: u64,
}

impl Source for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for (index, byte) in buf.iter_mut().enumerate() {
            *byte = if offset + (index as u64) < self.data { 0xab } else { 0 };
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok((from < self.data).then_some(from..self.data))
    }
}
