//! VMDKs of both kinds.

use vmint_images::write::{self, Export};

use super::{Disk, put};

const SECTOR: usize = 512;

/// monolithicSparse with grains of 4 KiB.
pub fn sparse() -> Vec<u8> {
    let mut image = vec![0; 56 * SECTOR];
    put(&mut image, 0, b"KDMV\x01\0\0\0\x01");
    for (at, value) in [(12, 64_u64), (20, 8), (28, 1), (36, 2), (44, 512), (56, 3), (64, 8)] {
        put(&mut image, at, &value.to_le_bytes());
    }
    put(&mut image, 73, b"\n \r\n");
    let text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
                createType=\"monolithicSparse\"\nRW 64 SPARSE \"a.vmdk\"\nddb.adapterType = \"ide\"\n";
    put(&mut image, SECTOR, text.as_bytes());
    put(&mut image, 3 * SECTOR, &4_u32.to_le_bytes());
    for (grain, sector) in [(0, 8_u32), (1, 16), (5, 24)] {
        put(&mut image, 4 * SECTOR + 4 * grain, &sector.to_le_bytes());
        image[sector as usize * SECTOR..][..8 * SECTOR].fill(0xab);
    }
    image
}

/// What our writer makes of two grains.
pub fn streamed() -> Vec<u8> {
    let disk = Disk { len: 1 << 20, data: 100_000 };
    let mut out = Vec::new();
    let _ = write::vmdk(&Export { source: &disk, id: [1; 16], watch: &|_| true }, &mut out);
    out
}
