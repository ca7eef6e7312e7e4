//! A VHDX.

use super::edits::Edited;
use super::put;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The two headers and the two region tables.
const SUMMED: [(usize, usize, &[u8]); 4] = [
    (64 * KIB, 4096, b"head"),
    (128 * KIB, 4096, b"head"),
    (192 * KIB, 64 * KIB, b"regi"),
    (256 * KIB, 64 * KIB, b"regi"),
];

const BAT: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
const METADATA: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const LOGICAL: [u8; 16] = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";

/// Four blocks of 1 MiB, one of them there.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; 4 * MIB];
    put(&mut image, 0, b"vhdxfile");
    for (index, (at, _, magic)) in SUMMED.into_iter().enumerate() {
        put(&mut image, at, magic);
        if magic == b"head" {
            put(&mut image, at + 8, &[u8::try_from(index).unwrap_or(0) + 1]);
            put(&mut image, at + 66, &[1]);
            continue;
        }
        put(&mut image, at + 8, &[2]);
        for (entry, id, start) in [(at + 16, BAT, 2 * MIB), (at + 48, METADATA, MIB)] {
            put(&mut image, entry, &id);
            put(&mut image, entry + 16, &(start as u64).to_le_bytes());
            put(&mut image, entry + 24, &(1_u32 << 20).to_le_bytes());
            put(&mut image, entry + 28, &[1]);
        }
    }
    put(&mut image, MIB, b"metadata");
    put(&mut image, MIB + 10, &[3]);
    let items = [(PARAMETERS, 8_u32, 1_u64 << 20), (SIZE, 8, 4 << 20), (LOGICAL, 4, 512)];
    for (index, (id, len, value)) in items.into_iter().enumerate() {
        let (entry, offset) = (MIB + 32 + 32 * index, 64 * KIB + 8 * index);
        put(&mut image, entry, &id);
        put(&mut image, entry + 16, &u32::try_from(offset).unwrap_or(0).to_le_bytes());
        put(&mut image, entry + 20, &len.to_le_bytes());
        put(&mut image, entry + 24, &[4]);
        put(&mut image, MIB + offset, &value.to_le_bytes());
    }
    put(&mut image, 2 * MIB, &(3 << 20 | 6_u64).to_le_bytes());
    image
}

/// Puts the checksums right, where there are any.
pub fn sums(file: &mut Edited) {
    if file.get(0, 8).is_none_or(|magic| magic != b"vhdxfile") {
        return;
    }
    for (at, len, magic) in SUMMED {
        if let Some(mut bytes) = file.get(at, len)
            && bytes.starts_with(magic)
        {
            bytes[4..8].fill(0);
            file.set(at + 4, &crc32c::crc32c(&bytes).to_le_bytes());
        }
    }
}
