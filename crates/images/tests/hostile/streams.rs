//! Compressed files.

use std::io::Write;

use flate2::Compression;
use vmint_images::{Format, Opener};

use super::builder::{FILL, Image};
use super::{Case, drain, limits, staging};

/// The methods we unfold, by what they do to bytes.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Method = (&'static str, fn(&[u8]) -> Vec<u8>, Format);

pub(crate) const METHODS: [Method; 4] = [
    ("gzip", gzip, Format::Gzip),
    ("xz", xz, Format::Xz),
    ("zstd", zstd, Format::Zstd),
    ("bzip2", bzip2, Format::Bzip2),
];

pub(crate) fn cases() -> Vec<Case> {
    let image = Image::new().0;
    let mut cases = Vec::new();
    for (name, pack, _) in METHODS {
        let mut case = |what: &str, bytes: Vec<u8>, wanted| {
            cases.push((format!("{name} {what}"), bytes, wanted));
        };
        let whole = pack(&image);
        let mut flipped = whole.clone();
        let middle = whole.len() / 2;
        flipped[whole.len() - 3] ^= 0x10;
        let two = [pack(&image[..100_000]), pack(&image[100_000..])].concat();
        case("of an image", whole.clone(), "ok");
        case("of two members", two, "ok");
        case("cut in the middle", whole[..middle].to_vec(), "malformed");
        case("without its last byte", whole[..whole.len() - 1].to_vec(), "malformed");
        case("with a flipped bit", flipped, "malformed");
        case("followed by garbage", [&whole[..], b"\x01garbage"].concat(), "malformed");
        case("in itself", pack(&whole), "compressed-twice");
        case("in gzip", gzip(&whole), "compressed-twice");
        case("of nothing", pack(&[]), "empty");
        case("of a directory of an iso", pack(&iso()), "unsupported-format");
        case("of a qcow2 that is also a vdi", pack(&polyglot()), "ambiguous-format");
        let backing = super::edit(|i| i.u64(8, 512).u32(16, 11).bytes(512, b"/etc/passwd").done());
        case("of a qcow2 with a backing file", pack(&backing), "backing-file");
    }
    let padded = [gzip(&image), vec![0; 10_000]].concat();
    cases.push(("gzip padded with zeros".to_owned(), padded, "ok"));
    let name = [&b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"[..], &vec![b'a'; 200_000]].concat();
    cases.push(("gzip with an endless name".to_owned(), name, "malformed"));
    let skip = [&b"\x50\x2a\x4d\x18\xff\xff\xff\xff"[..], &[0; 100]].concat();
    cases.push(("zstd with a frame skipped past the end".to_owned(), skip, "malformed"));
    let skip = [&b"\x50\x2a\x4d\x18\x04\0\0\0skip"[..], &zstd(&image)].concat();
    cases.push(("zstd after a skipped frame".to_owned(), skip, "ok"));
    cases
}

fn iso() -> Vec<u8> {
    let mut bytes = vec![0; 40_000];
    bytes[32_769..32_774].copy_from_slice(b"CD001");
    bytes
}

fn polyglot() -> Vec<u8> {
    super::edit(|image| image.bytes(64, b"\x7f\x10\xda\xbe").done())
}

#[test]
fn each_method_is_unfolded() {
    let (dir, limits) = (staging(), limits());
    for (name, pack, format) in METHODS {
        let packed = pack(&Image::new().0);
        for declared in [None, Some(Format::Qcow2), Some(format)] {
            let opener = Opener::new(&limits).declared(declared).staging(dir.path());
            let disk =
                opener.open(packed.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(disk.layers(), [format, Format::Qcow2]);
            assert_eq!(disk.format(), Format::Qcow2);
            assert_eq!(drain(&disk, &[FILL]).unwrap(), 3 << 16);
        }
        let opener = Opener::new(&limits).declared(Some(Format::Raw)).staging(dir.path());
        assert_eq!(opener.open(packed.clone()).unwrap_err().reason(), "format-mismatch");
        // Without a folder to unfold it in it is refused with advice.
        let error = Opener::new(&limits).open(packed).unwrap_err();
        assert!(error.to_string().contains("decompress"), "{error}");
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "staging files have no names");
}

#[test]
fn a_watched_job_can_be_cancelled() {
    let (dir, limits) = (staging(), limits());
    let packed = gzip(&vec![FILL; 8 << 20]);
    let seen = std::cell::Cell::new(0);
    let watch = |done| {
        seen.set(seen.get().max(done));
        seen.get() < 4096
    };
    let opener = Opener::new(&limits).staging(dir.path()).watch(&watch);
    assert_eq!(opener.open(packed).unwrap_err().reason(), "cancelled");
    assert!(seen.get() >= 4096);
}

#[test]
fn zeros_take_no_space() {
    let dir = staging();
    let mut limits = limits();
    limits.max_data = 1 << 20;
    let mut bytes = vec![0; 200 << 20];
    bytes[150 << 20..][..7].fill(FILL);
    let opener = Opener::new(&limits).staging(dir.path());
    let disk = opener.open(gzip(&bytes)).unwrap();
    assert_eq!(disk.size_bytes(), 200 << 20);
    assert!(drain(&disk, &[0, FILL]).unwrap() <= 1 << 20);
}
