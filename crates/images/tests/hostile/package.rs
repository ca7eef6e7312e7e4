//! OVAs: a tar of an OVF, digests and disks.

use std::fmt::Write as _;

use sha2::Digest as _;
use vmint_images::{Format, Opener};

use super::builder::{FILL, Image};
use super::streams::gzip;
use super::tar::{Tar, fix};
use super::{Case, drain, limits, staging};

const NAMESPACES: &str = "xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
                          xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"";

/// An OVF of one disk; `file` and `disk` are further attributes.
fn ovf(href: &str, file: &str, disk: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<Envelope {NAMESPACES}><References>\
         <File ovf:href=\"{href}\" ovf:id=\"file1\" {file}/></References>\
         <DiskSection><Info>disks</Info><Disk ovf:capacity=\"16\" \
         ovf:capacityAllocationUnits=\"byte * 2^20\" ovf:diskId=\"d1\" ovf:fileRef=\"file1\" \
         {disk}/></DiskSection></Envelope>"
    )
}

fn of(ovf: &str, disk: &[u8]) -> Vec<u8> {
    Tar::default().file("vm.ovf", ovf.as_bytes()).file("disk.img", disk).done()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn honest() -> Vec<u8> {
    let (disk, text) = (Image::new().0, ovf("disk.img", "", ""));
    let list = format!(
        "SHA256(vm.ovf)= {}\nSHA1(disk.img)= {}\r\n",
        hex(&sha2::Sha256::digest(&text)),
        hex(&sha1::Sha1::digest(&disk)),
    );
    let tar = Tar::default().file("vm.ovf", text.as_bytes()).file("vm.mf", list.as_bytes());
    tar.file("disk.img", &disk).done()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = archives();
    cases.extend(texts());
    cases.extend(digests());
    cases.into_iter().map(|(name, bytes, wanted)| (format!("ova {name}"), bytes, wanted)).collect()
}

fn archives() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (disk, text) = (Image::new().0, ovf("disk.img", "", ""));
    let start = || Tar::default().file("vm.ovf", text.as_bytes());
    let size = disk.len().to_string();
    let many = (0..100_000u32).fold(start(), |tar, n| tar.file(&format!("f{n}"), b"")).done();
    let mut damaged = honest();
    damaged[600] ^= 1;
    vec![
        ("honest", honest(), "ok"),
        ("gnu magic", honest_gnu(), "ok"),
        (
            "up and away",
            start().file("../../etc/x", b"").file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "an absolute name",
            start().file("/etc/x", b"").file("disk.img", &disk).done(),
            "malformed",
        ),
        ("a folder's name", start().file("a/disk.img", &disk).done(), "malformed"),
        (
            "a name with a NUL in pax",
            start().pax(&[("path", "disk.img\0x")]).file("d", &disk).done(),
            "malformed",
        ),
        ("a symlink", start().entry("disk.img", b'2', 0, b"").done(), "malformed"),
        ("a hard link", start().entry("disk.img", b'1', 0, b"").done(), "malformed"),
        ("a character device", start().entry("disk.img", b'3', 0, b"").done(), "malformed"),
        ("a block device", start().entry("disk.img", b'4', 0, b"").done(), "malformed"),
        ("a fifo", start().entry("disk.img", b'6', 0, b"").done(), "malformed"),
        ("a folder", start().entry("disk.img", b'5', 0, b"").done(), "malformed"),
        ("a sparse file", start().entry("disk.img", b'S', 512, &[0; 512]).done(), "malformed"),
        (
            "a pax sparse file",
            start().pax(&[("GNU.sparse.major", "1")]).file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "a pax link",
            start().pax(&[("linkpath", "/etc/passwd")]).file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "pax with the right size",
            start().pax(&[("size", &size)]).file("disk.img", &disk).done(),
            "ok",
        ),
        (
            "pax with another size",
            start().pax(&[("size", "512")]).file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "pax with a huge size",
            start().pax(&[("size", "99999999999999")]).entry("disk.img", b'0', 0, b"").done(),
            "malformed",
        ),
        (
            "pax with two sizes",
            start().pax(&[("size", &size), ("size", &size)]).file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "pax with a long name",
            start().pax(&[("path", "disk.img")]).file("x", &disk).done(),
            "ok",
        ),
        (
            "pax for all members",
            start().entry("g", b'g', 18, b"18 path=disk.img2\n").file("disk.img", &disk).done(),
            "malformed",
        ),
        ("a pax header of 1 GiB", start().entry("x", b'x', 1 << 30, b"").done(), "malformed"),
        (
            "pax garbage",
            start().entry("x", b'x', 5, b"hello").file("disk.img", &disk).done(),
            "malformed",
        ),
        (
            "a gnu long name",
            start().entry("././@LongLink", b'L', 9, b"disk.img\0").file("x", &disk).done(),
            "ok",
        ),
        (
            "a gnu long link",
            start().entry("././@LongLink", b'K', 9, b"disk.img\0").file("x", &disk).done(),
            "malformed",
        ),
        (
            "a size beyond the file",
            start().entry("disk.img", b'0', 1 << 32, &disk).done(),
            "malformed",
        ),
        (
            "a size that is no number",
            {
                let mut t = start().0;
                let at = t.len();
                t.extend(Tar::default().file("disk.img", &disk).0);
                t[at + 124] = b'x';
                fix(&mut t, at);
                t
            },
            "malformed",
        ),
        (
            "two of one name",
            start().file("disk.img", &disk).file("disk.img", &[0; 512]).done(),
            "malformed",
        ),
        (
            "two OVFs",
            start().file("disk.img", &disk).file("b.ovf", text.as_bytes()).done(),
            "malformed",
        ),
        (
            "the OVF after the disk",
            Tar::default().file("disk.img", &disk).file("vm.ovf", text.as_bytes()).done(),
            "unsupported-format",
        ),
        ("100,000 members", many, "too-complex"),
        ("a wrong checksum", damaged, "malformed"),
        ("cut in the disk", honest()[..honest().len() - 8192].to_vec(), "malformed"),
        (
            "an OVF of 1 GiB",
            Tar::default().entry("vm.ovf", b'0', 1 << 30, text.as_bytes()).done(),
            "unsupported-format",
        ),
        (
            "an OVF of 2 MiB",
            Tar::default().file("vm.ovf", &vec![b' '; 2 << 20]).file("disk.img", &disk).done(),
            "malformed",
        ),
        ("no disk", start().done(), "malformed"),
        ("an OVA in an OVA", of(&text, &honest()), "malformed"),
        ("a disk that is compressed and does not say so", of(&text, &gzip(&disk)), "malformed"),
    ]
}

/// As older tars write it: another magic, spaces in numbers.
fn honest_gnu() -> Vec<u8> {
    let mut bytes = honest();
    bytes[257..265].copy_from_slice(b"ustar  \0");
    fix(&mut bytes, 0);
    bytes
}

fn texts() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let disk = Image::new().0;
    let with = |text: &str| of(text, &disk);
    let plain = ovf("disk.img", "", "");
    let laughs = format!(
        "<!DOCTYPE x [<!ENTITY a \"ha\">{}]>{plain}",
        (0..20).fold(String::new(), |text, _| text + "<!ENTITY b \"&a;&a;&a;&a;&a;&a;\">")
    );
    let mut flood = String::new();
    for n in 0..20_000 {
        write!(flood, " xmlns:n{n}=\"u{n}\"").unwrap();
    }
    let deep = "<a>".repeat(100_000);
    let second =
        plain.replace("<References>", "<References><File href=\"b\" id=\"file2\"/>").replace(
            "</DiskSection>",
            "<Disk capacity=\"16\" diskId=\"d2\" fileRef=\"file2\"/></DiskSection>",
        );
    vec![
        ("billion laughs", with(&laughs), "malformed"),
        (
            "an external entity",
            with(&format!("<!DOCTYPE x SYSTEM \"file:///etc/passwd\">{plain}")),
            "malformed",
        ),
        ("an entity of its own", with(&ovf("&secret;", "", "")), "malformed"),
        ("a file: href", with(&ovf("file:///etc/passwd", "", "")), "malformed"),
        ("an http: href", with(&ovf("http://169.254.169.254/x", "", "")), "malformed"),
        ("an absolute href", with(&ovf("/etc/passwd", "", "")), "malformed"),
        ("a href upwards", with(&ovf("../disk.img", "", "")), "malformed"),
        ("a href backwards", with(&ovf("..\\disk.img", "", "")), "malformed"),
        ("a href to the OVF", with(&ovf("vm.ovf", "", "")), "malformed"),
        ("a href to nothing", with(&ovf("other.img", "", "")), "malformed"),
        (
            "a href split in chunks",
            with(&ovf("disk.img", "ovf:chunkSize=\"1\"", "")),
            "external-extents",
        ),
        ("a wrong size", with(&ovf("disk.img", "ovf:size=\"5\"", "")), "malformed"),
        (
            "a size in the OVF that is no number",
            with(&ovf("disk.img", "ovf:size=\"x\"", "")),
            "malformed",
        ),
        ("a right size", with(&ovf("disk.img", &format!("ovf:size=\"{}\"", disk.len()), "")), "ok"),
        (
            "unknown compression",
            with(&ovf("disk.img", "ovf:compression=\"lzma\"", "")),
            "malformed",
        ),
        (
            "compression that is not",
            with(&ovf("disk.img", "ovf:compression=\"gzip\"", "")),
            "format-mismatch",
        ),
        (
            "a compressed disk",
            of(&ovf("disk.img", "ovf:compression=\"gzip\"", ""), &gzip(&disk)),
            "ok",
        ),
        (
            "a disk compressed twice",
            of(&ovf("disk.img", "ovf:compression=\"gzip\"", ""), &gzip(&gzip(&disk))),
            "compressed-twice",
        ),
        (
            "another format",
            with(&ovf("disk.img", "", "ovf:format=\"http://x/vmdk.html#streamOptimized\"")),
            "format-mismatch",
        ),
        ("a parent", with(&ovf("disk.img", "", "ovf:parentRef=\"d0\"")), "differencing"),
        ("a disk larger than said", with(&plain.replace("\"16\"", "\"15\"")), "malformed"),
        ("an attribute twice", with(&ovf("disk.img", "href=\"other\"", "")), "malformed"),
        ("two disks", with(&second), "several-disks"),
        ("no disk at all", with(&plain.replace("fileRef", "none")), "malformed"),
        (
            "a disk of no file",
            with(&plain.replace("fileRef=\"file1\"", "fileRef=\"file9\"")),
            "malformed",
        ),
        (
            "two files of one id",
            with(&plain.replace("</References>", "<File href=\"b\" id=\"file1\"/></References>")),
            "malformed",
        ),
        (
            "a namespace flood",
            with(&plain.replace("<DiskSection", &format!("<DiskSection{flood}"))),
            "ok",
        ),
        ("an attribute flood", with(&ovf("disk.img", &flood, "")), "malformed"),
        ("100,000 elements deep", with(&deep), "malformed"),
        ("not XML", with("hello"), "malformed"),
        ("cut short", with(&plain[..plain.len() - 9]), "malformed"),
        ("crossed elements", with(&plain.replace("</References>", "</Envelope>")), "malformed"),
        (
            "UTF-16",
            Tar::default()
                .file(
                    "vm.ovf",
                    &plain.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
                )
                .file("disk.img", &disk)
                .done(),
            "malformed",
        ),
    ]
}

fn digests() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (disk, text) = (Image::new().0, ovf("disk.img", "", ""));
    let (of_text, of_disk) = (hex(&sha1::Sha1::digest(&text)), hex(&sha1::Sha1::digest(&disk)));
    let with = |list: &str| {
        let tar = Tar::default().file("vm.ovf", text.as_bytes()).file("vm.mf", list.as_bytes());
        tar.file("disk.img", &disk).done()
    };
    let both = format!("SHA1(vm.ovf)= {of_text}\nSHA1(disk.img)= {of_disk}\n");
    let wrong = |part: &str| both.replace(part, &hex(&sha1::Sha1::digest(b"else")));
    vec![
        ("digests", with(&both), "ok"),
        ("digests of another method", with(&both.replace("SHA1", "CRC32")), "malformed"),
        ("digests of too few digits", with(&both.replace("SHA1", "SHA256")), "malformed"),
        ("a wrong digest of the OVF", with(&wrong(&of_text)), "malformed"),
        ("a wrong digest of the disk", with(&wrong(&of_disk)), "malformed"),
        ("digests without the disk", with(both.lines().next().unwrap()), "malformed"),
        ("digests without the OVF", with(both.lines().nth(1).unwrap()), "malformed"),
        ("digests twice", with(&both.repeat(2)), "malformed"),
        ("digests that are no text", with("\0\0\0"), "malformed"),
        (
            "two lists of digests",
            {
                let tar = Tar::default().file("vm.ovf", text.as_bytes()).file("disk.img", &disk);
                tar.file("a.mf", both.as_bytes()).file("b.mf", both.as_bytes()).done()
            },
            "malformed",
        ),
    ]
}

#[test]
fn a_package_is_read_in_place() {
    let limits = limits();
    let disk = Opener::new(&limits).declared(Some(Format::Ova)).open(honest()).unwrap();
    assert_eq!(disk.layers(), [Format::Ova, Format::Qcow2]);
    assert_eq!(disk.format(), Format::Ova);
    assert_eq!(drain(&disk, &[FILL]).unwrap(), 3 << 16);
    for declared in [Format::Qcow2, Format::Tar, Format::Raw] {
        let error = Opener::new(&limits).declared(Some(declared)).open(honest()).unwrap_err();
        assert_eq!(error.reason(), "format-mismatch");
    }
    let dir = staging();
    let disk = Opener::new(&limits).staging(dir.path()).open(gzip(&honest())).unwrap();
    assert_eq!(disk.layers(), [Format::Gzip, Format::Ova, Format::Qcow2]);
    assert_eq!(drain(&disk, &[FILL]).unwrap(), 3 << 16);
}

#[test]
fn one_of_several_disks_can_be_chosen() {
    let text = ovf("disk.img", "", "")
        .replace("<References>", "<References><File ovf:href=\"b.img\" ovf:id=\"file2\"/>")
        .replace(
            "</DiskSection>",
            "<Disk ovf:fileRef=\"file2\" ovf:capacity=\"512\"/></DiskSection>",
        );
    let tar = Tar::default().file("vm.ovf", text.as_bytes()).file("disk.img", &Image::new().0);
    let bytes = tar.file("b.img", &[7; 512]).done();
    let limits = limits();
    let open = |index| Opener::new(&limits).disk(index).open(bytes.clone());
    assert_eq!(open(0).unwrap().size_bytes(), super::builder::SIZE);
    assert_eq!(open(1).unwrap().size_bytes(), 512);
    assert_eq!(open(2).unwrap_err().reason(), "no-such-disk");
}
