//! OVA: an OVF, its digests and streamOptimized VMDKs in one tar.

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::tar::{BLOCK, header};
use super::{Export, Sink, Sparse, WriteError, hex, vmdk};
use crate::Source;

/// What the OVF calls the disks' format.
const VMDK: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// The most disks of one package.
pub const MAX_OVA_DISKS: usize = 21;

/// The machine that an OVA describes around its disks.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// The package's and the machine's name: 1 to 64 of `A-Za-z0-9._-`.
    pub name: &'a str,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// A disk that waits for its place in the package.
struct Staged {
    disk_bytes: u64,
    file: std::fs::File,
    hash: String,
}

/// Writes disks, 1 to [`MAX_OVA_DISKS`] of one machine, as an OVA; the first is what it boots from.
///
/// A tar says how long a file is before its bytes, and the OVF before it how long all files are,
/// so the VMDKs are first written into files without a name in `dir`; they take about what the
/// disks' data compress to.
///
/// Errors: [`WriteError::Name`]; [`WriteError::Disks`]; those of [`vmdk`].
pub fn ova(
    disks: &[Export<'_>],
    machine: &Machine<'_>,
    dir: &Path,
    out: &mut (impl Sink + ?Sized),
) -> Result<(), WriteError> {
    let name = machine.name;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) || name.starts_with('.') {
        return Err(WriteError::Name);
    }
    if !(1..=MAX_OVA_DISKS).contains(&disks.len()) {
        return Err(WriteError::Disks);
    }
    let staged = disks.iter().map(|disk| stage(disk, dir));
    let staged = staged.collect::<Result<Vec<_>, WriteError>>()?;
    let ovf = ovf(&staged, machine);
    let of_disk =
        |(n, disk): (usize, &Staged)| format!("SHA256({})= {}\n", file_name(name, n), disk.hash);
    let of_disks: String = (1..).zip(&staged).map(of_disk).collect();
    let list = format!("SHA256({name}.ovf)= {}\n{of_disks}", hex(&Sha256::digest(&ovf)));
    member(&format!("{name}.ovf"), ovf.as_bytes(), out)?;
    member(&format!("{name}.mf"), list.as_bytes(), out)?;
    for ((n, disk), export) in (1..).zip(staged).zip(disks) {
        let len = Source::len(&disk.file);
        out.put(&header(&file_name(name, n), len))?;
        let mut buf = vec![0; 256 << 10];
        let mut at = 0;
        while at < len {
            export.tick(export.size())?;
            let piece = usize::try_from(len - at).unwrap_or(usize::MAX).min(buf.len());
            disk.file.read_at(at, &mut buf[..piece])?;
            out.put(&buf[..piece])?;
            at += piece as u64;
        }
        out.hole(len.next_multiple_of(BLOCK) - len)?;
    }
    // Two empty blocks end the archive.
    Ok(out.hole(2 * BLOCK)?)
}

/// Of disk `n`, counted from 1.
fn file_name(name: &str, n: usize) -> String {
    format!("{name}-disk{n}.vmdk")
}

fn stage(disk: &Export<'_>, dir: &Path) -> Result<Staged, WriteError> {
    let mut staged = Hashed { out: Sparse::new(tempfile::tempfile_in(dir)?), hash: Sha256::new() };
    vmdk(disk, &mut staged)?;
    let hash = hex(&staged.hash.finalize());
    Ok(Staged { disk_bytes: disk.size(), file: staged.out.finish()?, hash })
}

/// A sink that hashes what passes.
struct Hashed {
    out: Sparse,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.put(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn member(name: &str, bytes: &[u8], out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let len = bytes.len() as u64;
    out.put(&header(name, len))?;
    out.put(bytes)?;
    Ok(out.hole(len.next_multiple_of(BLOCK) - len)?)
}

fn ovf(staged: &[Staged], machine: &Machine<'_>) -> String {
    let Machine { name, cpus, memory_mib } = machine;
    let file = |(n, disk): (usize, &Staged)| {
        let (href, file_bytes) = (file_name(name, n), Source::len(&disk.file));
        format!("    <File ovf:href=\"{href}\" ovf:id=\"file{n}\" ovf:size=\"{file_bytes}\"/>\n")
    };
    let files: String = (1..).zip(staged).map(file).collect();
    let disk = |(n, disk): (usize, &Staged)| {
        format!(
            "    <Disk ovf:capacity=\"{}\" ovf:capacityAllocationUnits=\"byte\" \
             ovf:diskId=\"disk{n}\" ovf:fileRef=\"file{n}\" ovf:format=\"{VMDK}\"/>\n",
            disk.disk_bytes
        )
    };
    let disks: String = (1..).zip(staged).map(disk).collect();
    let item = |lines: &str| format!("      <Item>\n{lines}      </Item>\n");
    let line = |key: &str, value: &str| format!("        <rasd:{key}>{value}</rasd:{key}>\n");
    let drive = |n: usize| {
        item(
            &[
                line("AddressOnParent", &(n - 1).to_string()),
                line("ElementName", &format!("disk{n}")),
                line("HostResource", &format!("ovf:/disk/disk{n}")),
                line("InstanceID", &(n + 3).to_string()),
                line("Parent", "3"),
                line("ResourceType", "17"),
            ]
            .concat(),
        )
    };
    let items = [
        item(
            &[
                line("ElementName", "processors"),
                line("InstanceID", "1"),
                line("ResourceType", "3"),
                line("VirtualQuantity", &cpus.to_string()),
            ]
            .concat(),
        ),
        item(
            &[
                line("AllocationUnits", "byte * 2^20"),
                line("ElementName", "memory"),
                line("InstanceID", "2"),
                line("ResourceType", "4"),
                line("VirtualQuantity", &memory_mib.to_string()),
            ]
            .concat(),
        ),
        item(
            &[
                line("Address", "0"),
                line("ElementName", "sata0"),
                line("InstanceID", "3"),
                line("ResourceSubType", "AHCI"),
                line("ResourceType", "20"),
            ]
            .concat(),
        ),
        (1..=staged.len()).map(drive).collect(),
    ]
    .concat();
    let schemas = "http://schemas.dmtf.org";
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{schemas}/ovf/envelope/1"
  xmlns:ovf="{schemas}/ovf/envelope/1"
  xmlns:rasd="{schemas}/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="{schemas}/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
{files}  </References>
  <DiskSection>
    <Info>The disks of the machine</Info>
{disks}  </DiskSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="1">
      <Info>Any system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>What the machine needs</Info>
      <System>
        <vssd:ElementName>hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    )
}
