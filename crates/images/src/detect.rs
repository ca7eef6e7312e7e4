//! Telling formats apart by their bytes.
//!
//! Every format is tested on its own, so a file made to look like two things is seen as both.

use crate::{Format, ImageError, Source, bundle, ova};

/// ISO 9660's first volume descriptor: sector 16, one byte in.
const ISO_AT: usize = 16 * 2048 + 1;
const HEAD: usize = ISO_AT + 5;
const SECTOR: u64 = 512;

/// A magic string and where it stands from the start of the file.
const MAGICS: &[(Format, usize, &[u8])] = &[
    (Format::Qcow2, 0, b"QFI\xfb"),
    (Format::Qed, 0, b"QED\0"),
    (Format::Vmdk, 0, b"KDMV"),
    (Format::Vmdk, 0, b"COWD"),
    (Format::Vmdk, 0, b"SESPARSE"),
    (Format::Vhd, 0, b"conectix"),
    (Format::Vhdx, 0, b"vhdxfile"),
    (Format::Vdi, 64, b"\x7f\x10\xda\xbe"),
    (Format::Parallels, 0, b"WithoutFreeSpace"),
    (Format::Parallels, 0, b"WithouFreSpacExt"),
    (Format::Luks, 0, b"LUKS\xba\xbe"),
    (Format::Iso, ISO_AT, b"CD001"),
    (Format::Tar, 257, b"ustar"),
    (Format::Zip, 0, b"PK\x03\x04"),
    (Format::Gzip, 0, b"\x1f\x8b\x08"),
    (Format::Xz, 0, b"\xfd7zXZ\0"),
    (Format::Zstd, 0, b"\x28\xb5\x2f\xfd"),
    (Format::Lz4, 0, b"\x04\x22\x4d\x18"),
];

/// What stands at the start of a file's last 512 bytes.
const TAILS: &[(Format, &[u8])] = &[(Format::Vhd, b"conectix"), (Format::Dmg, b"koly")];

/// Every format the bytes satisfy, in a fixed order; raw is what satisfies none.
pub(crate) fn all<S: Source + ?Sized>(source: &S) -> Result<Vec<Format>, ImageError> {
    let len = source.len();
    if len == 0 {
        return Err(ImageError::Empty);
    }
    let mut head = vec![0; HEAD.min(usize::try_from(len).unwrap_or(HEAD))];
    source.read_at(0, &mut head)?;
    let mut found = Vec::new();
    for &(format, at, magic) in MAGICS {
        if head.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            found.push(format);
        }
    }
    if vmdk_descriptor(&head) {
        found.push(Format::Vmdk);
    }
    if head.starts_with(b"BZh")
        && matches!(head.get(4..10), Some(b"1AY&SY" | b"\x17\x72\x45\x38\x50\x90"))
    {
        found.push(Format::Bzip2);
    }
    if zstd_skippable(&head) {
        found.push(Format::Zstd);
    }
    if len >= SECTOR {
        let mut tail = [0; 8];
        source.read_at(len - SECTOR, &mut tail)?;
        for &(format, magic) in TAILS {
            if tail.starts_with(magic) {
                found.push(format);
            }
        }
        // Old Virtual PC wrote a footer of 511 bytes.
        source.read_at(len - SECTOR + 1, &mut tail)?;
        if &tail == b"conectix" {
            found.push(Format::Vhd);
        }
    }
    for format in &mut found {
        if *format == Format::Tar && ova::is_one(source) {
            *format = Format::Ova;
        } else if *format == Format::Tar && bundle::is_one(source) {
            *format = Format::Bundle;
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The one format among `found`, or why there is none.
pub(crate) fn only(found: &[Format]) -> Result<Format, ImageError> {
    match found {
        [] => Ok(Format::Raw),
        [format] => Ok(*format),
        several => Err(ImageError::Ambiguous(several.to_vec())),
    }
}

/// A VMDK may be a text file that names other files; case and leading blanks are no excuse.
fn vmdk_descriptor(head: &[u8]) -> bool {
    let text = head.get(..512.min(head.len())).unwrap_or_default().trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let line = b"# disk descriptorfile";
    text.get(..line.len()).is_some_and(|start| start.eq_ignore_ascii_case(line))
}

fn zstd_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}
