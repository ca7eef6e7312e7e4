//! Bundles whose parts come from the fuzzer and whose digests are right all the same.

use sha2::{Digest, Sha256};
use vmint_images::bundle::{ARTIFACT, CHUNKS, CONFIG, MANIFEST, MAP, Record};
use vmint_images::write::BundleWriter;

use super::put;

/// What our writer makes: two disks, the second much like the first.
pub fn written() -> Vec<u8> {
    let dir = std::env::temp_dir();
    let Ok(file) = tempfile::tempfile_in(&dir) else { return Vec::new() };
    let mut out = BundleWriter::new(file, &dir);
    for blocks in [1, 3] {
        let _ = out.begin_disk(1 << 20);
        let _ = out.chunk(2, &[0xab; 4096]);
        let _ = out.chunk(9, &vec![0xab; blocks * 4096]);
        let _ = out.end_disk([7; 32]);
    }
    let Ok(file) = out.finish(None) else { return Vec::new() };
    let mut bytes = vec![0; vmint_images::Source::len(&file) as usize];
    let _ = vmint_images::Source::read_at(&file, 0, &mut bytes);
    bytes
}

/// The honest parts of a bundle of one disk: config, map and chunks.
pub fn parts() -> [Vec<u8>; 3] {
    let config = format!(
        "{{\"version\":1,\"disks\":[{{\"sizeBytes\":1048576,\"root\":\"{}\"}}]}}",
        "ab".repeat(32)
    );
    let packed = zstd::bulk::compress(&[0xab; 8192], 1).unwrap_or_default();
    let stored = packed.len() as u32;
    let first = Record { first: 3, blocks: 2, zstd: true, offset: 0, stored };
    let second = Record { first: 9, blocks: 1, zstd: false, offset: stored.into(), stored: 4096 };
    let map = [first.encode(), second.encode()].concat();
    [config.into_bytes(), map, [packed, vec![0xab; 4096]].concat()]
}

/// A bundle of such parts.
pub fn around(config: &[u8], map: &[u8], chunks: &[u8]) -> Vec<u8> {
    let named = |kind: &str, bytes: &[u8]| {
        let (digest, size) = (digest(bytes), bytes.len());
        format!("{{\"mediaType\":\"{kind}\",\"digest\":\"sha256:{digest}\",\"size\":{size}}}")
    };
    let manifest = format!(
        "{{\"schemaVersion\":2,\"artifactType\":\"{ARTIFACT}\",\"config\":{},\"layers\":[{},{}]}}",
        named(CONFIG, config),
        named(MAP, map),
        named(CHUNKS, chunks)
    );
    let index = format!("{{\"manifests\":[{}]}}", named(MANIFEST, manifest.as_bytes()));
    let mut tar = Vec::new();
    member(&mut tar, "oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
    let mut seen = Vec::new();
    for blob in [config, map, chunks, manifest.as_bytes()] {
        let name = format!("blobs/sha256/{}", digest(blob));
        if !seen.contains(&name) {
            member(&mut tar, &name, blob);
            seen.push(name);
        }
    }
    member(&mut tar, "index.json", index.as_bytes());
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn member(tar: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let mut header = [0; 512];
    put(&mut header, 0, name.as_bytes());
    put(&mut header, 124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(&mut header, 148, b"        0");
    put(&mut header, 257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(bytes);
    tar.resize(tar.len().next_multiple_of(512), 0);
}
