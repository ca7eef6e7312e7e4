//! VMDKs: sparse, streamed, and descriptors that point elsewhere.

use std::io::Write as _;

use vmint_images::write::{self, Export};

use super::Case;
use super::builder::FILL;
use super::bytes::Bytes;

const SECTOR: usize = 512;
const CAPACITY: u64 = 32_768;
const GRAIN: usize = 128 * SECTOR;
const GD: usize = 21 * SECTOR;
const GT: usize = 22 * SECTOR;
const DATA: usize = 128 * SECTOR;
const END: usize = DATA + 3 * GRAIN;

fn text(kind: &str, extent: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\
         \n# Extent description\n{extent}\n\n#DDB\nddb.adapterType = \"ide\"\n"
    )
}

const EXTENT: &str = "RW 32768 SPARSE \"disk.vmdk\"";

/// A monolithicSparse file of three grains.
pub(crate) fn sparse() -> Bytes {
    Bytes::zeros(END)
        .put(0, b"KDMV")
        .le32(4, 1)
        .le32(8, 1)
        .le64(12, CAPACITY)
        .le64(20, 128)
        .le64(28, 1)
        .le64(36, 20)
        .le32(44, 512)
        .le64(56, 21)
        .le64(64, 128)
        .put(73, b"\n \r\n")
        .put(SECTOR, text("monolithicSparse", EXTENT).as_bytes())
        .le32(GD, 22)
        .le32(GT, 128)
        .le32(GT + 4, 256)
        .le32(GT + 20, 384)
        .fill(DATA, 3 * GRAIN, FILL)
}

/// A sparse file with another descriptor.
fn described(text: &str) -> Vec<u8> {
    sparse().fill(SECTOR, 20 * SECTOR, 0).put(SECTOR, text.as_bytes()).0
}

/// What our own writer makes of three grains.
pub(crate) fn streamed() -> Bytes {
    let disk = super::qcow2_disk();
    let export = Export { source: &disk, id: [1; 16], watch: &|_| true };
    let mut out = Vec::new();
    write::vmdk(&export, &mut out).unwrap();
    Bytes(out)
}

fn zlib(len: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..len / GRAIN {
        encoder.write_all(&[FILL; GRAIN]).unwrap();
    }
    encoder.write_all(&[FILL; GRAIN][..len % GRAIN]).unwrap();
    encoder.finish().unwrap()
}

/// A streamed file whose first grain holds `packed`.
fn first(packed: &[u8]) -> Vec<u8> {
    streamed().le32(DATA + 8, packed.len() as u32).put(DATA + 12, packed).0
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = descriptors();
    cases.extend(tables());
    cases.extend(streams());
    let named = |(name, bytes, wanted)| (format!("vmdk {name}"), bytes, wanted);
    cases.into_iter().map(named).collect()
}

fn descriptors() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let flat = |kind, extent| text(kind, extent).into_bytes();
    let with = |kind, extent| described(&text(kind, extent));
    let good = text("monolithicSparse", EXTENT);
    vec![
        (
            "flat, absolute",
            flat("monolithicFlat", "RW 8 FLAT \"/etc/passwd\" 0"),
            "external-extents",
        ),
        ("flat, relative", flat("monolithicFlat", "RW 8 FLAT \"../secret\" 0"), "external-extents"),
        (
            "flat in two GiB",
            flat("twoGbMaxExtentFlat", "RW 8 FLAT \"a-f001\" 0"),
            "external-extents",
        ),
        ("a device", flat("fullDevice", "RW 8 FLAT \"/dev/sda\" 0"), "external-extents"),
        ("vmfs", flat("vmfs", "RW 8 VMFS \"a-flat\""), "external-extents"),
        ("custom", flat("custom", "RW 8 FLAT \"/dev/sda\" 0"), "external-extents"),
        ("an old ESX extent", b"COWD\x01\0\0\0".repeat(200), "external-extents"),
        ("SEsparse", b"SESPARSE".repeat(200), "external-extents"),
        ("an embedded flat type", with("monolithicFlat", EXTENT), "external-extents"),
        (
            "an embedded flat extent",
            with("monolithicSparse", "RW 32768 FLAT \"/etc/passwd\" 0"),
            "external-extents",
        ),
        ("a type in other case", with("MonolithicSparse", EXTENT), "external-extents"),
        (
            "two types",
            described(&good.replace("version=1", "createType=\"monolithicSparse\"")),
            "malformed",
        ),
        ("no type", described(&good.replace("createType", "otherType")), "malformed"),
        (
            "two extents",
            with("monolithicSparse", &format!("{EXTENT}\n{EXTENT}")),
            "external-extents",
        ),
        ("no extent", with("monolithicSparse", ""), "malformed"),
        (
            "an extent with a path",
            with("monolithicSparse", "RW 32768 SPARSE \"/etc/passwd\""),
            "malformed",
        ),
        ("an extent of another size", with("monolithicSparse", "RW 8 SPARSE \"a\""), "malformed"),
        (
            "an extent of 2^64 sectors",
            with("monolithicSparse", "RW 18446744073709551616 SPARSE \"a\""),
            "malformed",
        ),
        (
            "an extent without access",
            with("monolithicSparse", "NOACCESS 32768 SPARSE \"a\""),
            "malformed",
        ),
        ("an unquoted extent", with("monolithicSparse", "RW 32768 SPARSE a"), "malformed"),
        ("a parent's id", described(&good.replace("ffffffff", "12345679")), "differencing"),
        (
            "a parent's name",
            described(&(good.clone() + "parentFileNameHint=\"/etc/passwd\"\n")),
            "differencing",
        ),
        ("encryption", described(&(good.clone() + "encryption.keySafe = \"x\"\n")), "encrypted"),
        (
            "change tracking",
            described(&(good.clone() + "changeTrackPath = \"/etc/x\"\n")),
            "external-extents",
        ),
        ("a line nobody knows", described(&(good.clone() + "include /etc/passwd\n")), "malformed"),
        ("a key of odd letters", described(&(good.clone() + "a\u{e9}b = 1\n")), "malformed"),
        ("control characters", described(&(good.clone() + "a = \x1b[2J\n")), "malformed"),
        (
            "a name of other letters",
            with("monolithicSparse", "RW 32768 SPARSE \"Ger\u{e4}t.vmdk\""),
            "ok",
        ),
        ("no title", described(&good[2..]), "malformed"),
        (
            "text behind its end",
            described(&(good.clone() + "\0createType=\"monolithicFlat\"\n")),
            "malformed",
        ),
        ("a descriptor of 2 MiB", sparse().le64(36, 4096).0, "malformed"),
        ("a descriptor elsewhere", sparse().le64(28, 128).0, "malformed"),
        ("no descriptor", sparse().le64(28, 0).0, "external-extents"),
        ("an empty descriptor", sparse().fill(SECTOR, 20 * SECTOR, 0).0, "malformed"),
    ]
}

fn tables() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let double = sparse()
        .le64(12, 2 * 65_536)
        .fill(SECTOR, 20 * SECTOR, 0)
        .put(SECTOR, text("monolithicSparse", "RW 131072 SPARSE \"a\"").as_bytes());
    vec![
        ("sparse", sparse().0, "ok"),
        ("version 9", sparse().le32(4, 9).0, "version"),
        ("changed line ends", sparse().put(73, b"\n \n\n").0, "malformed"),
        ("capacity 2^60", sparse().le64(12, 1 << 60).0, "too-large"),
        ("capacity 2^40", sparse().le64(12, 1 << 40).0, "too-large"),
        ("capacity 0", sparse().le64(12, 0).0, "empty"),
        ("grains of 0", sparse().le64(20, 0).0, "malformed"),
        ("grains of 3", sparse().le64(20, 3).0, "malformed"),
        ("grains of 2^60", sparse().le64(20, 1 << 60).0, "malformed"),
        ("tables of 1", sparse().le32(44, 1).0, "malformed"),
        ("tables of 2^31", sparse().le32(44, 1 << 31).0, "malformed"),
        ("directory past the end", sparse().le64(56, 1 << 40).0, "malformed"),
        ("directory at 2^63", sparse().le64(56, 1 << 63).0, "malformed"),
        ("directory in the header", sparse().le64(56, 0).0, "malformed"),
        ("directory in the descriptor", sparse().le64(56, 5).0, "malformed"),
        ("directory at the end, unpacked", sparse().le64(56, u64::MAX).0, "malformed"),
        ("table past the end", sparse().le32(GD, 1 << 30).0, "malformed"),
        ("table in the header", sparse().le32(GD, 1).0, "malformed"),
        ("table that is the directory", sparse().le32(GD, 21).0, "malformed"),
        ("table for two places", double.clone().le32(GD + 4, 22).0, "malformed"),
        ("tables that overlap", double.le32(GD + 4, 24).0, "malformed"),
        ("grain past the end", sparse().le32(GT, 1 << 30).0, "malformed"),
        ("grain half past the end", sparse().le32(GT, 385).0, "malformed"),
        ("grain in the descriptor", sparse().le32(GT, 2).0, "malformed"),
        ("grain over the directory", sparse().le32(GT, 20).0, "malformed"),
        ("grain over its table", sparse().le32(GT, 25).0, "malformed"),
        ("grain twice", sparse().le32(GT + 8, 128).0, "malformed"),
        ("grains that overlap", sparse().le32(GT + 8, 130).0, "malformed"),
        ("every grain one", (0..256).fold(sparse(), |b, n| b.le32(GT + 4 * n, 128)).0, "malformed"),
        ("zeroed grain", sparse().le32(GT + 8, 1).0, "ok"),
        ("packed without markers", sparse().le32(8, 0x1_0001).le32(77, 1).0, "malformed"),
        ("packed by another method", sparse().le32(8, 0x3_0001).le32(77, 9).0, "compression"),
        ("packed by its header only", sparse().le32(8, 0x3_0001).le32(77, 1).0, "malformed"),
        ("cut in its header", sparse().cut(300).0, "malformed"),
        ("cut in its descriptor", sparse().cut(4000).0, "malformed"),
        ("cut in its table", sparse().cut(GT + 100).0, "malformed"),
        ("cut in its data", sparse().cut(END - 1).0, "malformed"),
        ("four bytes", b"KDMV".to_vec(), "malformed"),
    ]
}

fn streams() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let end = streamed().0.len();
    let footer = end - 2 * SECTOR;
    let again = {
        // The table's second grain is its first.
        let bytes = streamed();
        let table = bytes
            .0
            .windows(8)
            .position(|w| w == [128u32.to_le_bytes(), 129u32.to_le_bytes()].concat());
        bytes.le32(table.unwrap() + 4, 128).0
    };
    vec![
        ("streamed", streamed().0, "ok"),
        ("streamed without a footer", streamed().cut(footer).0, "malformed"),
        ("streamed and cut", streamed().cut(DATA + 700).0, "malformed"),
        ("streamed without an end", streamed().put(end - SECTOR, &[1]).0, "malformed"),
        ("a footer of another size", streamed().le64(footer + 12, 1).0, "malformed"),
        ("a footer of another kind", streamed().le32(footer + 8, 1).0, "malformed"),
        ("a footer's directory past the end", streamed().le64(footer + 56, 1 << 40).0, "malformed"),
        ("a footer that refers to itself", streamed().le64(footer + 56, u64::MAX).0, "malformed"),
        ("a marker of another place", streamed().le64(DATA, 128).0, "malformed"),
        ("a marker of nothing", streamed().le32(DATA + 8, 0).0, "malformed"),
        ("a marker past the end", streamed().le32(DATA + 8, 1 << 31).0, "malformed"),
        ("a marker into the next grain", streamed().le32(DATA + 8, 600).0, "malformed"),
        ("one grain for two", again, "malformed"),
        ("a grain of garbage", first(&[0xff; 100]), "malformed"),
        ("a short grain", first(&zlib(GRAIN - 1)), "malformed"),
        ("a long grain", first(&zlib(GRAIN + 1)), "malformed"),
        ("a grain that is a bomb", first(&zlib(300 * GRAIN)[..490]), "malformed"),
        ("a grain cut off", first(&zlib(GRAIN)[..20]), "malformed"),
    ]
}
