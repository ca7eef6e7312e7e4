//! A bundle's manifest and stream read back as what they were written from, and as nothing else.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use vmint_images::Source;
use vmint_images::instance_bundle::{
    BundleError, MAX_DISK_BYTES, MAX_MANIFEST_BYTES, MAX_PARTS, Manifest, Mapping, PART_BYTES,
    Part, TAG_BYTES, Unpacker, pack, read, signed,
};
use vmint_images::write::WriteError;

const FULL: u64 = (PART_BYTES + TAG_BYTES) as u64;

/// Stands in for a signature: a digest, twice.
fn sign(text: &[u8]) -> [u8; 64] {
    let digest: [u8; 32] = Sha256::digest(text).into();
    [digest, digest].concat().try_into().unwrap()
}

fn holds(text: &[u8], signature: &[u8; 64]) -> bool {
    sign(text) == *signature
}

fn mapping(name: &str, device: &str) -> Mapping {
    Mapping { virtual_name: name.to_owned(), device_name: device.to_owned() }
}

fn manifest() -> Manifest {
    Manifest {
        id: "bun-0123456789abcdef0".to_owned(),
        account: "100000000001".to_owned(),
        name: "web-1.0_x".to_owned(),
        architecture: "x86_64".to_owned(),
        platform: "windows".to_owned(),
        mappings: vec![mapping("ami", "sda1"), mapping("root", "/dev/sda1")],
        product_codes: vec!["abc123".to_owned()],
        encrypted: true,
        size_bytes: 1 << 30,
        digest: [3; 32],
        key_id: "kms-0123456789abcdef0".to_owned(),
        wrapped_key: vec![9; 60],
        parts: vec![Part { bytes: FULL, digest: [1; 32] }, Part { bytes: 17, digest: [2; 32] }],
    }
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let devices = prop::collection::btree_map(
        prop_oneof![Just("swap".to_owned()), (0..24u8).prop_map(|n| format!("ephemeral{n}"))],
        "[a-z0-9/]{1,32}",
        0..10,
    );
    let texts = ("[a-z0-9-]{1,64}", "[0-9]{12}", "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}");
    let kinds = (prop_oneof!["x86_64", "i386", "arm64"], prop_oneof!["", "windows"]);
    let codes = prop::collection::vec("[a-z0-9]{1,25}", 0..5);
    let numbers = (any::<bool>(), 1..=MAX_DISK_BYTES / 512, any::<[u8; 32]>());
    let key = ("[a-z0-9-]{1,64}", prop::collection::vec(any::<u8>(), 1..=256));
    let parts = (prop::collection::vec(any::<[u8; 32]>(), 1..20), 17..=FULL);
    (devices, texts, kinds, codes, numbers, key, parts).prop_map(
        |(devices, texts, kinds, product_codes, numbers, key, (digests, last))| {
            let mut mappings = vec![mapping("root", "/dev/sda1"), mapping("ami", "sda1")];
            mappings.extend(devices.into_iter().map(|(name, device)| mapping(&name, &device)));
            let mut parts: Vec<Part> =
                digests.into_iter().map(|digest| Part { bytes: FULL, digest }).collect();
            parts.last_mut().unwrap().bytes = last;
            Manifest {
                id: texts.0,
                account: texts.1,
                name: texts.2,
                architecture: kinds.0,
                platform: kinds.1,
                mappings,
                product_codes,
                encrypted: numbers.0,
                size_bytes: numbers.1 * 512,
                digest: numbers.2,
                key_id: key.0,
                wrapped_key: key.1,
                parts,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read(manifest in any_manifest()) {
        let text = signed(&manifest, sign).unwrap();
        prop_assert_eq!(read(&text, holds).unwrap(), manifest);
    }

    /// Whoever could sign anything still makes us read only what we would write.
    #[test]
    fn what_is_read_is_what_would_be_written(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let text = signed(&manifest(), sign).unwrap();
        let mut other = text.clone();
        let place = at.index(text.len());
        other[place] = byte;
        for text in [other, text[..cut.index(text.len())].to_vec()] {
            if let Ok(found) = read(&text, |_, _| true) {
                // Only the signature's own digits may differ.
                let again = signed(&found, |_| [0; 64]).unwrap();
                let body = |text: &[u8]| text[..text.len() - 128 - 25].to_vec();
                prop_assert_eq!(body(&again), body(&text));
            }
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes, |_, _| true).is_err());
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let text = signed(&manifest(), sign).unwrap();
    for at in 0..text.len() {
        for bit in [0, 5] {
            let mut other = text.clone();
            other[at] ^= 1 << bit;
            let refused = read(&other, holds).expect_err("it was changed");
            let told = matches!(refused, BundleError::Signature | BundleError::NotOne);
            assert!(told, "byte {at}: {refused}");
        }
    }
    for cut in 0..text.len() {
        assert!(read(&text[..cut], holds).is_err(), "cut at {cut}");
    }
    assert!(read(&[&text[..], b" "].concat(), holds).is_err());
}

#[test]
fn hostile_manifests_are_refused_although_they_are_signed() {
    let text = String::from_utf8(signed(&manifest(), sign).unwrap()).unwrap();
    let (body, rest) = text.split_at(text.find("  <signature").unwrap());
    let part =
        &body[body.find("      <part index=\"1\">").unwrap()..body.find("    </parts>").unwrap()];
    let swaps = [
        ("web-1.0_x.part.00", "../../etc/passwd"),
        ("web-1.0_x.part.01", "web-1.0_x.part.00"),
        ("<name>web-1.0_x</name>", "<name>&lt;</name>"),
        ("<name>web-1.0_x</name>", "<name>a/b</name>"),
        ("<size>1073741824</size>", "<size>1152921504606846976</size>"),
        ("<size>1073741824</size>", "<size>01073741824</size>"),
        ("<size>1073741824</size>", "<size>1073741825</size>"),
        ("<size>1073741824</size>", "<size>-1</size>"),
        ("<size>17</size>", "<size>10485777</size>"),
        ("<size>17</size>", "<size>16</size>"),
        ("count=\"2\"", "count=\"1\""),
        ("<virtual>ami</virtual>", "<virtual>root</virtual>"),
        ("<virtual>ami</virtual>", "<virtual>ephemeral24</virtual>"),
        ("<version>2026-11-01</version>", "<version>2007-10-10</version>"),
        ("<encrypted>true</encrypted>", "<encrypted>TRUE</encrypted>"),
        ("<manifest>", "<!DOCTYPE a [<!ENTITY b \"c\">]>\n<manifest>"),
        ("<manifest>", "<manifest><!-- -->"),
        ("<user>100000000001</user>", "<user>1000000000011</user>"),
        ("<product_code>abc123</product_code>", "<product_code>ABC</product_code>"),
        ("</parts>", "</parts><parts/>"),
    ];
    for (from, to) in swaps {
        assert!(body.contains(from), "{from}");
        let other = body.replacen(from, to, 1) + rest;
        assert!(read(other.as_bytes(), |_, _| true).is_err(), "{from} became {to}");
    }
    let many = body.replacen(part, &part.repeat(MAX_PARTS), 1) + rest;
    let refused = read(many.as_bytes(), |_, _| true).unwrap_err();
    assert!(matches!(refused, BundleError::Manifest(_)), "{refused}");
    let deep = body.replacen("<manifest>", &format!("<manifest>{}", "<a>".repeat(5000)), 1) + rest;
    assert!(read(deep.as_bytes(), |_, _| true).is_err());
    let large = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
    assert!(matches!(read(&large, |_, _| true), Err(BundleError::TooLarge)));
}

#[test]
fn the_largest_manifest_fits() {
    let mut largest = manifest();
    largest.name = "n".repeat(200);
    largest.parts = vec![Part { bytes: FULL, digest: [0xaa; 32] }; MAX_PARTS];
    let text = signed(&largest, sign).unwrap();
    assert!(text.len() as u64 <= MAX_MANIFEST_BYTES, "{} bytes", text.len());
    assert_eq!(read(&text, holds).unwrap(), largest);
    largest.parts.push(Part { bytes: 20, digest: [0; 32] });
    assert!(signed(&largest, sign).is_err());
}

fn packed(disk: &dyn Source) -> (Manifest, Vec<Vec<u8>>) {
    let mut parts = Vec::new();
    let packed = pack(disk, &|_| true, &mut |part| {
        parts.push(part);
        Ok(())
    });
    let packed = packed.unwrap();
    (Manifest { size_bytes: packed.size_bytes, digest: packed.digest, ..manifest() }, parts)
}

fn unpacked(manifest: &Manifest, parts: &[Vec<u8>]) -> Result<File, BundleError> {
    let mut disk = Unpacker::new(tempfile::tempfile().unwrap(), manifest);
    for part in parts {
        disk.take(part)?;
    }
    disk.finish()
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; Source::len(file) as usize];
    Source::read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 7u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn a_disk_comes_out_as_it_went_in() {
    let two = [noise(PART_BYTES + 4096), vec![0; 1 << 20], noise(512)].concat();
    for disk in [vec![0; 512], noise(512), vec![0; 3 << 20], two] {
        let (manifest, parts) = packed(&disk);
        let (last, others) = parts.split_last().unwrap();
        assert!(others.iter().all(|part| part.len() == PART_BYTES));
        assert!((1..=PART_BYTES).contains(&last.len()));
        assert_eq!(manifest.digest, <[u8; 32]>::from(Sha256::digest(&disk)));
        assert!(bytes(&unpacked(&manifest, &parts).unwrap()) == disk);
    }
    // Holes are not read, and are holes again.
    let file = tempfile::tempfile().unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(4096), 10 << 20).unwrap();
    let (manifest, parts) = packed(&file);
    let back = unpacked(&manifest, &parts).unwrap();
    assert!(bytes(&back) == bytes(&file));
    let there = std::os::unix::fs::MetadataExt::blocks(&back.metadata().unwrap()) * 512;
    assert!(there < 1 << 20, "{there} bytes for 4 KiB of data");
}

#[test]
fn streams_that_lie_are_refused_before_they_are_large() {
    let gzip = |disk: &[u8]| {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(disk).unwrap();
        out.finish().unwrap()
    };
    let disk = vec![0; 1 << 20];
    let (honest, parts) = packed(&disk);
    let refused = |parts: &[Vec<u8>]| match unpacked(&honest, parts) {
        Err(BundleError::Stream(why)) => why,
        other => panic!("{other:?}"),
    };
    // A bomb: a thousand times what the manifest says.
    assert_eq!(refused(&[gzip(&vec![0; 1 << 30])]), "they go on beyond its end");
    assert_eq!(refused(&[gzip(&disk[512..])]), "they end before it does");
    assert_eq!(refused(&[gzip(&vec![1; 1 << 20])]), "its SHA-256 is another");
    assert_eq!(refused(&[noise(4096)]), "they are not one gzip stream");
    assert_eq!(refused(&[]), "they are not one gzip stream");
    assert_eq!(refused(&[parts[0].clone(), parts[0].clone()]), "they are not one gzip stream");
    for cut in [1, 8, 11, parts[0].len() - 9] {
        let cut = parts[0][..parts[0].len() - cut].to_vec();
        assert_eq!(refused(&[cut]), "they are not one gzip stream");
    }
    let mut sum = parts[0].clone();
    let at = sum.len() - 6;
    sum[at] ^= 1;
    assert_eq!(refused(&[sum]), "they are not one gzip stream");
}

#[test]
fn packing_ends_when_it_is_asked_to_or_nobody_takes_it() {
    let disk = noise(2 * PART_BYTES);
    let asked = RefCell::new(0);
    let watch = |at: u64| {
        *asked.borrow_mut() += 1;
        at < 1 << 20
    };
    let ended = pack(&disk, &watch, &mut |_| Ok(()));
    assert!(matches!(ended, Err(WriteError::Cancelled)));
    assert!(*asked.borrow() < 10);
    let full = pack(&disk, &|_| true, &mut |_| Err(std::io::ErrorKind::StorageFull.into()));
    let Err(WriteError::Io(error)) = full else { panic!("{full:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
