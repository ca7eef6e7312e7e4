//! The first cluster of a qcow2 file, and files that are too short.

use vmint_images::{Limits, open};

use super::builder::{DATA, Image, L1, REFBLOCK, REFTABLE};
use super::{Case, edit, verdict};

pub(crate) fn cases() -> Vec<Case> {
    let path = |name: &[u8]| {
        let name = name.to_vec();
        move |image: &mut Image| {
            image.u64(8, 512).u32(16, name.len() as u32).bytes(512, &name);
        }
    };
    let extension = |kind: u32, len: u32, body: &[u8]| {
        let body = body.to_vec();
        move |image: &mut Image| image.u32(104, kind).u32(108, len).bytes(112, &body).done()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("backing file", edit(path(b"/etc/passwd")), "backing-file"),
        (
            "backing json",
            edit(path(br#"json:{"file":{"filename":"/etc/passwd"}}"#)),
            "backing-file",
        ),
        ("backing nbd", edit(path(b"nbd://10.0.0.1/x")), "backing-file"),
        ("backing offset, no size", edit(|i| i.u64(8, 512).done()), "backing-file"),
        ("backing size, no offset", edit(|i| i.u32(16, 11).done()), "backing-file"),
        ("backing offset beyond", edit(|i| i.u64(8, u64::MAX).done()), "backing-file"),
        ("data file extension", edit(extension(0x4441_5441, 11, b"/etc/passwd")), "data-file"),
        (
            "data file bit and extension",
            edit(|i| {
                i.u64(72, 4);
                extension(0x4441_5441, 11, b"/etc/passwd")(i);
            }),
            "data-file",
        ),
        ("data file bit alone", edit(|i| i.u64(72, 4).done()), "data-file"),
        ("raw external bit", edit(|i| i.u64(72, 4).u64(88, 2).done()), "data-file"),
        ("unknown bit 5", edit(|i| i.u64(72, 1 << 5).done()), "unknown-feature"),
        ("unknown bit 63", edit(|i| i.u64(72, 1 << 63).done()), "unknown-feature"),
        ("all bits", edit(|i| i.u64(72, u64::MAX).done()), "data-file"),
        ("extended L2", edit(|i| i.u64(72, 16).done()), "extended-l2"),
        ("dirty", edit(|i| i.u64(72, 1).done()), "ok"),
        ("corrupt", edit(|i| i.u64(72, 2).done()), "marked-corrupt"),
        ("version 0", edit(|i| i.u32(4, 0).done()), "version"),
        ("version 1", edit(|i| i.u32(4, 1).done()), "version"),
        ("version 4", edit(|i| i.u32(4, 4).done()), "version"),
        ("version 2", edit(|i| i.u32(4, 2).done()), "ok"),
        ("cluster bits 0", edit(|i| i.u32(20, 0).done()), "malformed"),
        ("cluster bits 8", edit(|i| i.u32(20, 8).done()), "malformed"),
        ("cluster bits 22", edit(|i| i.u32(20, 22).done()), "malformed"),
        ("cluster bits 63", edit(|i| i.u32(20, 63).done()), "malformed"),
        ("cluster bits huge", edit(|i| i.u32(20, u32::MAX).done()), "malformed"),
        ("cluster bits 21 of 16", edit(|i| i.u32(20, 21).done()), "malformed"),
        ("size 0", edit(|i| i.u64(24, 0).done()), "empty"),
        ("size 2^63", edit(|i| i.u64(24, 1 << 63).done()), "too-large"),
        ("size 2^64-1", edit(|i| i.u64(24, u64::MAX).done()), "too-large"),
        ("size unaligned", edit(|i| i.u64(24, 1000).done()), "malformed"),
        ("size beyond its L1", edit(|i| i.u64(24, 1 << 40).done()), "malformed"),
        ("L1 size 2^31", edit(|i| i.u32(36, 1 << 31).done()), "malformed"),
        ("L1 size 2^32-1", edit(|i| i.u32(36, u32::MAX).done()), "malformed"),
        ("L1 size 0", edit(|i| i.u32(36, 0).done()), "malformed"),
        ("L1 of 32 MiB in a small file", edit(|i| i.u32(36, 4 << 20).done()), "malformed"),
        ("L1 past the end", edit(|i| i.u64(40, 1 << 40).done()), "malformed"),
        ("L1 at 2^64-1", edit(|i| i.u64(40, u64::MAX).done()), "malformed"),
        ("L1 unaligned", edit(|i| i.u64(40, L1 as u64 + 512).done()), "malformed"),
        ("L1 in the header", edit(|i| i.u64(40, 0).done()), "malformed"),
        ("L1 is the refcount table", edit(|i| i.u64(40, REFTABLE as u64).done()), "malformed"),
        ("refcount table past the end", edit(|i| i.u64(48, 1 << 50).done()), "malformed"),
        ("refcount table huge", edit(|i| i.u32(56, u32::MAX).done()), "malformed"),
        ("refcount block is the L1", edit(|i| i.u64(REFTABLE, L1 as u64).done()), "malformed"),
        ("refcount block past the end", edit(|i| i.u64(REFTABLE, 1 << 50).done()), "malformed"),
        ("refcounts all wrong", edit(|i| i.bytes(REFBLOCK, &[0xff; 64]).done()), "ok"),
        ("refcount order 63", edit(|i| i.u32(96, 63).done()), "malformed"),
        ("header length 0", edit(|i| i.u32(100, 0).done()), "malformed"),
        ("header length 2^32-1", edit(|i| i.u32(100, u32::MAX).done()), "malformed"),
        ("header length odd", edit(|i| i.u32(100, 105).done()), "malformed"),
        ("header length past its cluster", edit(|i| i.u32(100, 65_544).done()), "malformed"),
        ("extension overflows", edit(extension(0x1234, u32::MAX, b"")), "malformed"),
        ("extension past the cluster", edit(extension(0x1234, 65_536, b"")), "malformed"),
        ("unknown extension", edit(extension(0x1234, 8, b"whatever")), "ok"),
        ("AES", edit(|i| i.u32(32, 1).done()), "encrypted"),
        ("LUKS", edit(|i| i.u32(32, 2).done()), "encrypted"),
        ("crypt method 7", edit(|i| i.u32(32, 7).done()), "encrypted"),
        ("LUKS extension alone", edit(extension(0x0537_be77, 16, &[0; 16])), "encrypted"),
        ("snapshots", edit(|i| i.u32(60, 1).u64(64, DATA as u64).done()), "internal-snapshots"),
        (
            "compression without its bit",
            edit(|i| i.u32(100, 112).bytes(104, &[1]).done()),
            "malformed",
        ),
        ("compression bit alone", edit(|i| i.u64(72, 8).done()), "malformed"),
        (
            "compression 2",
            edit(|i| i.u64(72, 8).u32(100, 112).bytes(104, &[2]).done()),
            "compression",
        ),
    ];
    cases
        .into_iter()
        .map(|(name, bytes, wanted)| (format!("qcow2 {name}"), bytes, wanted))
        .collect()
}

#[test]
fn truncated_everywhere() {
    let whole = Image::new().0;
    for part in 0..64 {
        let cut = whole.len() * part / 64;
        let wanted = if cut == 0 { "empty" } else { "malformed" };
        assert_eq!(verdict(whole[..cut].to_vec(), None), wanted, "cut at {cut}");
    }
    for cut in 1..200 {
        // Fewer than four bytes do not even say qcow2; they are a tiny raw disk of bytes that
        // are not the honest image's.
        if cut >= 4 {
            assert_eq!(verdict(whole[..cut].to_vec(), None), "malformed", "cut at {cut}");
        } else {
            assert_eq!(
                open(whole[..cut].to_vec(), None, &Limits::default()).unwrap().size_bytes(),
                512
            );
        }
    }
}
