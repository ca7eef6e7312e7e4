//! qcow2 files of 512-byte clusters: small enough to be whole inputs.

use std::io::Write;

use super::put;

const CLUSTER: usize = 512;
const FILL: [u8; CLUSTER] = [0xab; CLUSTER];
const COPIED: u64 = 1 << 63;

/// Header, reference counts, L1, L2 and three clusters of data.
pub fn plain() -> Vec<u8> {
    let mut image = vec![0; 8 * CLUSTER];
    put(&mut image, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut image, 20, &9_u32.to_be_bytes());
    put(&mut image, 24, &(32_u64 << 10).to_be_bytes());
    put(&mut image, 36, &1_u32.to_be_bytes());
    put(&mut image, 40, &1536_u64.to_be_bytes());
    put(&mut image, 48, &512_u64.to_be_bytes());
    put(&mut image, 56, &1_u32.to_be_bytes());
    put(&mut image, 96, &4_u32.to_be_bytes());
    put(&mut image, 100, &104_u32.to_be_bytes());
    put(&mut image, 512, &1024_u64.to_be_bytes());
    put(&mut image, 1536, &(2048 | COPIED).to_be_bytes());
    for (slot, at) in [(0, 2560), (1, 3072), (5, 3584)] {
        put(&mut image, 2048 + 8 * slot, &(at | COPIED).to_be_bytes());
        put(&mut image, at as usize, &FILL);
    }
    image
}

/// The same with its first cluster compressed.
pub fn packed(zstd: bool) -> Vec<u8> {
    let mut image = plain();
    let bytes = if zstd {
        put(&mut image, 72, &8_u64.to_be_bytes());
        put(&mut image, 100, &112_u32.to_be_bytes());
        put(&mut image, 104, &[1]);
        zstd::bulk::compress(&FILL, 1).unwrap_or_default()
    } else {
        let level = flate2::Compression::best();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        let _ = encoder.write_all(&FILL);
        encoder.finish().unwrap_or_default()
    };
    put(&mut image, 2560, &bytes);
    put(&mut image, 2048, &(1_u64 << 62 | 2560).to_be_bytes());
    image
}
