//! The headers of a tar.

pub(super) const BLOCK: u64 = 512;
/// What eleven octal digits hold.
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// The header of a plain file whose name has at most 100 bytes.
pub(super) fn header(name: &str, size: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size <= MAX_OCTAL {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // Larger numbers stand there in binary, marked by the highest bit.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}
