//! OVA: an OVF, its digests and a streamOptimized VMDK in one tar.

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::tar::{BLOCK, header};
use super::{Export, Sink, Sparse, WriteError, hex, vmdk};
use crate::Source;

/// The machine that an OVA describes around its disk.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// The package's and the machine's name: 1 to 64 of `A-Za-z0-9._-`.
    pub name: &'a str,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// Writes the disk as an OVA.
///
/// A tar says how long a file is before its bytes, so the VMDK is first written into a file
/// without a name in `dir`; it takes about what the disk's data compress to.
///
/// Errors: [`WriteError::Name`]; those of [`vmdk`].
pub fn ova(
    export: &Export<'_>,
    machine: &Machine<'_>,
    dir: &Path,
    out: &mut (impl Sink + ?Sized),
) -> Result<(), WriteError> {
    let name = machine.name;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) || name.starts_with('.') {
        return Err(WriteError::Name);
    }
    let mut staged = Hashed { out: Sparse::new(tempfile::tempfile_in(dir)?), hash: Sha256::new() };
    vmdk(export, &mut staged)?;
    let disk_hash = staged.hash.finalize();
    let disk = staged.out.finish()?;
    let disk_len = Source::len(&disk);
    let ovf = ovf(export.size(), disk_len, machine);
    let (of_ovf, of_disk) = (hex(&Sha256::digest(&ovf)), hex(&disk_hash));
    let list = format!("SHA256({name}.ovf)= {of_ovf}\nSHA256({name}-disk1.vmdk)= {of_disk}\n");
    member(&format!("{name}.ovf"), ovf.as_bytes(), out)?;
    member(&format!("{name}.mf"), list.as_bytes(), out)?;
    out.put(&header(&format!("{name}-disk1.vmdk"), disk_len))?;
    let mut buf = vec![0; 256 << 10];
    let mut at = 0;
    while at < disk_len {
        export.tick(export.size())?;
        let len = usize::try_from(disk_len - at).unwrap_or(usize::MAX).min(buf.len());
        disk.read_at(at, &mut buf[..len])?;
        out.put(&buf[..len])?;
        at += len as u64;
    }
    // Fills up the block; two empty ones end the archive.
    out.hole(disk_len.next_multiple_of(BLOCK) - disk_len + 2 * BLOCK)?;
    Ok(())
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

fn ovf(disk_bytes: u64, file_bytes: u64, machine: &Machine<'_>) -> String {
    let Machine { name, cpus, memory_mib } = machine;
    let item = |lines: &str| format!("      <Item>\n{lines}      </Item>\n");
    let line = |key: &str, value: &str| format!("        <rasd:{key}>{value}</rasd:{key}>\n");
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
        item(
            &[
                line("AddressOnParent", "0"),
                line("ElementName", "disk1"),
                line("HostResource", "ovf:/disk/disk1"),
                line("InstanceID", "4"),
                line("Parent", "3"),
                line("ResourceType", "17"),
            ]
            .concat(),
        ),
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
    <File ovf:href="{name}-disk1.vmdk" ovf:id="file1" ovf:size="{file_bytes}"/>
  </References>
  <DiskSection>
    <Info>The disks of the machine</Info>
    <Disk ovf:capacity="{disk_bytes}" ovf:capacityAllocationUnits="byte" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
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
