//! The disks an image is made of.

use std::collections::BTreeSet;

use vmint_ids::SnapshotId;
use vmint_performance::VolumeType;

use crate::{CatalogError, Result};

/// An image has this many disks at most.
pub const MAX_DISKS: usize = 40;
/// A disk is at most 64 TiB.
const MAX_GIB: u32 = 65_536;

/// One disk of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// As the guest's firmware orders them, for example `/dev/sda1`.
    pub device: String,
    /// None: it begins empty.
    pub snapshot: Option<SnapshotId>,
    /// None: as big as the snapshot.
    pub size_gib: Option<u32>,
    pub delete_on_termination: bool,
    /// Its snapshot's data are encrypted.
    pub encrypted: bool,
    pub performance: Performance,
}

/// How a volume of a disk is meant to perform; 0 stands for the type's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Performance {
    pub kind: VolumeType,
    pub iops: u32,
    /// MiB a second, of gp3 alone.
    pub throughput: u32,
}

/// That there is a root disk with contents, and that no two disks share a name.
pub(crate) fn check_disks(disks: &[Disk], root: &str) -> Result<()> {
    let refuse = |why: String| Err(CatalogError::field("block_device_mappings", why));
    if disks.len() > MAX_DISKS {
        return refuse(format!("may have {MAX_DISKS} entries at most"));
    }
    let mut names = BTreeSet::new();
    for disk in disks {
        check_device(&disk.device)?;
        if !names.insert(disk.device.as_str()) {
            return refuse(format!("names `{}` twice", disk.device));
        }
        match (disk.snapshot, disk.size_gib) {
            (None, None) => {
                return refuse(format!("gives `{}` neither a snapshot nor a size", disk.device));
            }
            (_, Some(size)) if !(1..=MAX_GIB).contains(&size) => {
                return refuse(format!(
                    "gives `{}` a size outside 1 to {MAX_GIB} GiB",
                    disk.device
                ));
            }
            _ => {}
        }
    }
    if root.is_empty() {
        return Err(CatalogError::Missing { field: "root_device_name" });
    }
    match disks.iter().find(|disk| disk.device == root) {
        Some(disk) if disk.snapshot.is_some() => Ok(()),
        Some(_) => refuse(format!("gives the root disk `{root}` no snapshot")),
        None => refuse(format!("does not have the root disk `{root}`")),
    }
}

fn check_device(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'/' || b == b'-' || b == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(CatalogError::field(
        "block_device_mappings.device_name",
        "must be 1 to 64 letters, digits, `/`, `-` and `_`, for example /dev/sda1",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str) -> Disk {
        Disk {
            device: device.to_owned(),
            snapshot: Some(SnapshotId::random()),
            size_gib: None,
            delete_on_termination: true,
            encrypted: false,
            performance: Performance::default(),
        }
    }

    #[test]
    fn a_root_disk_has_contents_and_names_differ() {
        let root = "/dev/sda1";
        let empty = Disk { snapshot: None, size_gib: Some(1), ..disk("/dev/sdb") };
        assert!(check_disks(&[disk(root), empty.clone()], root).is_ok());
        let many: Vec<_> = (0..40).map(|n| disk(&format!("/dev/d{n}"))).collect();
        assert!(check_disks(&many, "/dev/d0").is_ok());
        for (bad, root) in [
            (vec![], root),
            (vec![disk(root)], ""),
            (vec![disk("/dev/sdb")], root),
            (vec![disk(root), disk(root)], root),
            (vec![empty.clone()], "/dev/sdb"),
            (vec![disk(root), Disk { size_gib: None, ..empty.clone() }], root),
            (vec![disk(root), Disk { size_gib: Some(65_537), ..empty.clone() }], root),
            (vec![disk(root), Disk { size_gib: Some(0), ..empty }], root),
            (vec![disk(root), disk("a b")], root),
            (vec![disk(root), disk("")], root),
            ([many, vec![disk(root)]].concat(), root),
        ] {
            assert!(check_disks(&bad, root).is_err(), "{bad:?}");
        }
    }
}
