//! Disks to store, how they are sent, and how they are compared.

use super::*;

/// Bytes that compress badly and repeat nowhere.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `mib` MiB with noise in the first and the last of them and nothing between.
pub fn sparse(seed: u64, mib: usize) -> Vec<u8> {
    let mut disk = vec![0; mib * MIB];
    disk[..MIB].copy_from_slice(&noise(seed, MIB));
    let last = (mib - 1) * MIB;
    disk[last..].copy_from_slice(&noise(seed + 1000, MIB));
    disk
}

/// Compares without printing megabytes.
pub fn assert_same(seen: &[u8], wanted: &[u8]) {
    assert_eq!(seen.len(), wanted.len());
    if let Some(at) = seen.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!("they differ at byte {at}: {} instead of {}", seen[at], wanted[at]);
    }
}

/// Copies files as a kill would leave them.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn header(format: &str, file_bytes: usize) -> pb::ImportHeader {
    pb::ImportHeader {
        description: "brought in".to_owned(),
        format: format.to_owned(),
        file_bytes: file_bytes as i64,
        request_id: String::new(),
    }
}

pub fn head(header: pb::ImportHeader) -> pb::ImportSnapshotRequest {
    pb::ImportSnapshotRequest { part: Some(Part::Header(header)) }
}

pub fn piece(offset: i64, content: &[u8]) -> pb::ImportSnapshotRequest {
    let content = content.to_vec().into();
    pb::ImportSnapshotRequest { part: Some(Part::Data(pb::ImportData { offset, content })) }
}

/// A file in pieces; what is zero is left out, as the tool does.
pub fn pieces(header: pb::ImportHeader, file: &[u8]) -> Vec<pb::ImportSnapshotRequest> {
    let mut parts = vec![head(header)];
    for (n, part) in file.chunks(256 << 10).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            parts.push(piece((n * (256 << 10)) as i64, part));
        }
    }
    parts
}
