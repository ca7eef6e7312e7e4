//! VHDs and a VDI.

use vmint_images::write::{self, Export};

use super::edits::Edited;
use super::{Disk, put};

/// What our writer makes of one block.
pub fn dynamic() -> Vec<u8> {
    let disk = Disk { len: 8 << 20, data: 1000 };
    let mut out = Vec::new();
    let _ = write::vhd(&Export { source: &disk, id: [1; 16], watch: &|_| true }, &mut out);
    out
}

/// A fixed disk of 4 KiB; its checksum is put right when it is read.
pub fn fixed() -> Vec<u8> {
    let mut image = vec![0xab; 4096];
    image.extend_from_slice(&dynamic()[..512]);
    put(&mut image, 4096 + 48, &4096_u64.to_be_bytes());
    put(&mut image, 4096 + 60, &2_u32.to_be_bytes());
    let sum = sum(&image[4096..], 64);
    put(&mut image, 4096 + 64, &sum);
    image
}

/// Eight blocks of 4 KiB, two of them there.
pub fn vdi() -> Vec<u8> {
    let mut image = vec![0; 1024 + 8192];
    let fields = [
        (0x40, 0xbeda_107f_u32),
        (0x44, 0x0001_0001),
        (0x48, 0x190),
        (0x4c, 1),
        (0x154, 512),
        (0x158, 1024),
        (0x168, 512),
        (0x170, 32 << 10),
        (0x178, 4096),
        (0x180, 8),
        (0x184, 2),
    ];
    for (at, value) in fields {
        put(&mut image, at, &value.to_le_bytes());
    }
    image[512..544].fill(0xff);
    put(&mut image, 512, &0_u32.to_le_bytes());
    put(&mut image, 532, &1_u32.to_le_bytes());
    image[1024..].fill(0xab);
    image
}

/// Puts the checksums of the footers and the header right, where there are any.
pub fn sums(file: &mut Edited) {
    let end = file.len().saturating_sub(512);
    for (at, cookie, field, len) in
        [(0, b"conectix", 64, 512), (end, b"conectix", 64, 512), (512, b"cxsparse", 36, 1024)]
    {
        if let Some(bytes) = file.get(at, len)
            && bytes.starts_with(cookie)
        {
            file.set(at + field, &sum(&bytes, field));
        }
    }
}

fn sum(bytes: &[u8], field: usize) -> [u8; 4] {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    (!(sum(&bytes[..field]) + sum(&bytes[field + 4..]))).to_be_bytes()
}
