//! OVAs and compressed streams.

use std::io::Write;

use vmint_images::write::{self, Export, Machine};

use super::{Disk, put, qcow2};

/// Packages, and one small image in each compression.
pub fn all() -> Vec<Vec<u8>> {
    let image = qcow2::plain();
    let level = flate2::Compression::fast();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    let _ = gzip.write_all(&image);
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    let _ = xz.write_all(&image);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    let _ = bzip2.write_all(&image);
    vec![
        written(),
        plain(),
        gzip.finish().unwrap_or_default(),
        xz.finish().unwrap_or_default(),
        bzip2.finish().unwrap_or_default(),
        zstd::bulk::compress(&image, 1).unwrap_or_default(),
    ]
}

/// What our writer makes.
fn written() -> Vec<u8> {
    let disk = Disk { len: 256 << 10, data: 1000 };
    let export = Export { source: &disk, id: [1; 16], watch: &|_| true };
    let machine = Machine { name: "vm", cpus: 1, memory_mib: 512 };
    let mut out = Vec::new();
    let _ = write::ova(&[export, export], &machine, &std::env::temp_dir(), &mut out);
    out
}

/// A package without digests, so that changes to its OVF are not refused at once.
fn plain() -> Vec<u8> {
    let ovf = "<?xml version=\"1.0\"?><Envelope xmlns:ovf=\"o\"><References><File ovf:href=\"d.img\" \
               ovf:id=\"f\"/></References><DiskSection><Disk ovf:capacity=\"32\" \
               ovf:capacityAllocationUnits=\"byte * 2^10\" ovf:diskId=\"d\" ovf:fileRef=\"f\"/>\
               </DiskSection></Envelope>";
    let mut tar = Vec::new();
    for (name, bytes) in [("vm.ovf", ovf.as_bytes()), ("d.img", &qcow2::plain())] {
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
    tar.extend_from_slice(&[0; 1024]);
    tar
}
