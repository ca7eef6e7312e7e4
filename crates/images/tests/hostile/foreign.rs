//! Raw disks, other formats, and files of two formats.

use vmint_images::{Format, ImageError, Limits, open};

use super::builder::{CLUSTER, FILL, Image};
use super::{edit, verdict};

#[test]
fn raw_that_is_something_else() {
    let start = |magic: &[u8]| [magic, &[0; 4096]].concat();
    let at = |offset: usize, magic: &[u8]| [&vec![0; offset][..], magic, &[0; 4096]].concat();
    let end = |magic: &[u8]| [&[0; 4096], magic, &vec![0; 512 - magic.len()][..]].concat();
    let flat = b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\n\
                 RW 2048 FLAT \"/etc/passwd\" 0\n";
    let mut fixed_vhd = end(b"conectix");
    fixed_vhd.truncate(fixed_vhd.len() - 1);
    let cases = [
        ("qcow2", Image::new().0, Format::Qcow2),
        ("qed", start(b"QED\0"), Format::Qed),
        ("vmdk sparse", start(b"KDMV\x01\0\0\0"), Format::Vmdk),
        ("vmdk esx", start(b"COWD"), Format::Vmdk),
        ("vmdk text", start(flat), Format::Vmdk),
        ("vmdk text in capitals", start(&flat.to_ascii_uppercase()), Format::Vmdk),
        ("vmdk text after blanks", start(&[b" \t\r\n", &flat[..]].concat()), Format::Vmdk),
        ("vmdk text after a mark", start(&[b"\xef\xbb\xbf", &flat[..]].concat()), Format::Vmdk),
        ("vhd dynamic", start(b"conectix"), Format::Vhd),
        ("vhd fixed", end(b"conectix"), Format::Vhd),
        ("vhd fixed, 511 bytes", fixed_vhd, Format::Vhd),
        ("vhdx", start(b"vhdxfile"), Format::Vhdx),
        ("vdi", at(64, b"\x7f\x10\xda\xbe"), Format::Vdi),
        ("parallels", start(b"WithouFreSpacExt"), Format::Parallels),
        ("dmg", end(b"koly"), Format::Dmg),
        ("luks", start(b"LUKS\xba\xbe\0\x01"), Format::Luks),
        ("iso", at(32_769, b"CD001"), Format::Iso),
        ("tar", at(257, b"ustar\0"), Format::Tar),
        ("zip", start(b"PK\x03\x04"), Format::Zip),
        ("gzip", start(b"\x1f\x8b\x08\0"), Format::Gzip),
        ("xz", start(b"\xfd7zXZ\0"), Format::Xz),
        ("zstd", start(b"\x28\xb5\x2f\xfd"), Format::Zstd),
        ("zstd skippable", start(b"\x5e\x2a\x4d\x18"), Format::Zstd),
        ("bzip2", start(b"BZh91AY&SY"), Format::Bzip2),
        ("lz4", start(b"\x04\x22\x4d\x18"), Format::Lz4),
    ];
    for (name, bytes, format) in cases {
        assert_eq!(verdict(bytes.clone(), Some(Format::Raw)), "format-mismatch", "{name}");
        match open(bytes, None, &Limits::default()) {
            Ok(disk) => assert_eq!((disk.format(), format), (Format::Qcow2, Format::Qcow2)),
            Err(ImageError::Empty | ImageError::TooLarge { .. }) if format.is_readable() => {}
            Err(
                ImageError::Unsupported { format: found }
                | ImageError::Malformed { format: found, .. }
                | ImageError::Feature { format: found, .. },
            ) => assert_eq!(found, format, "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
    assert_eq!(
        verdict(vec![0; 5], Some(Format::Qcow2)),
        "format-mismatch",
        "raw that is not qcow2"
    );
}

#[test]
fn two_formats_in_one_file() {
    let with = |change: &dyn Fn(&mut Image)| edit(change);
    let cases = [
        ("qcow2 and vdi", with(&|i| i.bytes(64, b"\x7f\x10\xda\xbe").done())),
        ("qcow2 and tar", with(&|i| i.bytes(257, b"ustar").done())),
        ("qcow2 and iso", with(&|i| i.bytes(32_769, b"CD001").done())),
        ("qcow2 and vhd", with(&|i| i.bytes(8 * CLUSTER - 512, b"conectix").done())),
        ("qcow2 and dmg", with(&|i| i.bytes(8 * CLUSTER - 512, b"koly").done())),
        ("gzip and vhd", [b"\x1f\x8b\x08", &[0; 509][..], b"conectix", &[0; 504]].concat()),
        ("luks and iso", [b"LUKS\xba\xbe", &vec![0; 32_763][..], b"CD001"].concat()),
        ("vmdk and tar", [b"KDMV", &[0; 253][..], b"ustar", &[0; 300]].concat()),
    ];
    for (name, bytes) in cases {
        for declared in [None, Some(Format::Raw), Some(Format::Qcow2)] {
            assert_eq!(verdict(bytes.clone(), declared), "ambiguous-format", "{name}");
        }
    }
}

#[test]
fn raw_disks_have_bounds_too() {
    assert_eq!(verdict(Vec::new(), None), "empty");
    let limits = Limits::with_max_virtual(4096);
    let error = open(vec![0; 4097], None, &limits).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { size: 4097, limit: 4096 }));
    let disk = open(vec![FILL; 513], Some(Format::Raw), &limits).unwrap();
    assert_eq!(disk.size_bytes(), 1024);
    let mut bytes = [1; 1024];
    disk.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..513] == [FILL; 513] && bytes[513..] == [0; 511]);
    for (offset, len) in [(1024, 1), (1000, 25), (u64::MAX, 2)] {
        let error = disk.read_at(offset, &mut vec![0; len]).unwrap_err();
        assert_eq!(error.reason(), "out-of-range");
    }
}

/// Whatever a raw disk's first sectors claim to be, they are its bytes and nothing else.
#[test]
fn partition_tables_are_only_bytes() {
    let mbr = |entries: &[(usize, u8)]| {
        let mut disk = vec![0; 1 << 20];
        disk[510..512].copy_from_slice(b"\x55\xaa");
        for (slot, kind) in entries {
            disk[446 + 16 * slot] = 0x80;
            disk[446 + 16 * slot + 4] = *kind;
            disk[446 + 16 * slot + 8..][..8].copy_from_slice(b"\x3f\0\0\0\xff\xff\xff\xff");
        }
        disk
    };
    let with = |mut disk: Vec<u8>, at: usize, bytes: &[u8]| {
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        disk
    };
    let gpt = with(mbr(&[(0, 0xee)]), 512, b"EFI PART\0\0\x01\0");
    let disks = [
        ("an MBR of one partition at sector 63", mbr(&[(0, 0x83)])),
        ("an MBR with every slot taken", mbr(&[(0, 7), (1, 7), (2, 7), (3, 7)])),
        ("a GPT", gpt.clone()),
        ("a GPT with two protective entries", with(gpt, 446 + 16 + 4, b"\xee")),
        ("a GPT for sectors of 4096", with(mbr(&[(0, 0xee)]), 4096, b"EFI PART\0\0\x01\0")),
        ("a GPT without an MBR", with(vec![0; 1 << 20], 512, b"EFI PART\0\0\x01\0")),
        ("a FAT boot record", with(mbr(&[]), 0, b"\xeb\x3c\x90MSDOS5.0\0\x02\x08")),
        ("an NTFS boot record", with(mbr(&[]), 0, b"\xeb\x52\x90NTFS    ")),
        ("a qcow2 header one sector in", with(mbr(&[(0, 0x83)]), 512, &Image::new().0[..512])),
    ];
    for (name, bytes) in disks {
        let disk = open(bytes.clone(), Some(Format::Raw), &Limits::default()).unwrap();
        let mut read = vec![1; bytes.len()];
        disk.read_at(0, &mut read).unwrap();
        assert!(read == bytes, "{name}");
    }
}
