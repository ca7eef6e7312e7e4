//! What a launch makes: the image's disks, changed as the caller asks.

use std::collections::{HashMap, HashSet};

use vmint_api::{
    catalog::v1::Image,
    launcher::v1::{AttachedVolume, InstanceVolumes},
    storage::v1::{ExportedVolume, NewVolume, Snapshot},
    types::v1::{BlockDeviceMapping, EbsBlockDevice, Tag},
};
use vmint_ids::VolumeId;

use super::{pending_image::missing, performance, register_image::MAX_DISKS};
use crate::{DiskError, GatewayError, saga::StepError};

/// 64 TiB.
const LARGEST_GIB: i32 = 65_536;
/// Disks of one launch, over all its instances.
const MAX_VOLUMES: usize = 100;

/// The disks of one instance, the root first.
///
/// An override replaces the disk of its name, adds one, or leaves one out;
/// what it does not say is as the image says.
pub(super) fn merge(
    image: &Image,
    overrides: &[BlockDeviceMapping],
) -> Result<Vec<(String, EbsBlockDevice)>, GatewayError> {
    let mut disks = Vec::new();
    for disk in &image.block_device_mappings {
        disks.push((disk.device_name.clone(), disk.ebs.clone().unwrap_or_default()));
    }
    let mut seen = HashSet::new();
    for (at, change) in overrides.iter().enumerate() {
        let field = |rest: &str| format!("block_device_mappings[{at}]{rest}");
        let name = change.device_name.as_str();
        if name.is_empty() || name.len() > 64 {
            let why = "name the device, for example `/dev/sdb`";
            return Err(GatewayError::invalid(field(".device_name"), why));
        }
        if !seen.insert(name) {
            return Err(GatewayError::invalid(field(""), format!("`{name}` is there twice")));
        }
        let known = disks.iter().position(|(device, _)| device == name);
        if change.no_device {
            if name == image.root_device_name {
                return Err(GatewayError::invalid(field(""), "the root disk can't be left out"));
            }
            if let Some(known) = known {
                disks.remove(known);
            }
            continue;
        }
        let Some(ebs) = &change.ebs else {
            return Err(GatewayError::invalid(field(""), "set `ebs` or `no_device`"));
        };
        let Some(known) = known else {
            // What a launch adds stays when its machine goes, unless it is said.
            let goes = Some(ebs.delete_on_termination.unwrap_or(false));
            let added = EbsBlockDevice { delete_on_termination: goes, ..ebs.clone() };
            disks.push((name.to_owned(), added));
            continue;
        };
        if name == image.root_device_name
            && !ebs.snapshot_id.is_empty()
            && ebs.snapshot_id != disks[known].1.snapshot_id
        {
            let why = "the root disk is the image's; register another image for another";
            return Err(GatewayError::invalid(field(".ebs.snapshot_id"), why));
        }
        disks[known].1 = over(&disks[known].1, ebs);
    }
    if disks.len() > MAX_DISKS {
        let why = format!("{} disks are more than the {MAX_DISKS} of a machine", disks.len());
        return Err(GatewayError::invalid("block_device_mappings", why));
    }
    // Stable, so the others stay in their order.
    disks.sort_by_key(|(device, _)| *device != image.root_device_name);
    Ok(disks)
}

/// What an override says, and for the rest what was said before.
fn over(before: &EbsBlockDevice, change: &EbsBlockDevice) -> EbsBlockDevice {
    let same = change.snapshot_id.is_empty() || change.snapshot_id == before.snapshot_id;
    let before_size = if same { before.size_gib } else { 0 };
    // Another type promises something else.
    let kept = change.volume_type.is_empty() || change.volume_type == before.volume_type;
    let kept = if kept { before.clone() } else { EbsBlockDevice::default() };
    let or = |asked: i32, kept: i32| if asked == 0 { kept } else { asked };
    EbsBlockDevice {
        snapshot_id: if same { before.snapshot_id.clone() } else { change.snapshot_id.clone() },
        size_gib: if change.size_gib == 0 { before_size } else { change.size_gib },
        delete_on_termination: change.delete_on_termination.or(before.delete_on_termination),
        volume_type: match change.volume_type.as_str() {
            "" => before.volume_type.clone(),
            word => word.to_owned(),
        },
        iops: or(change.iops, kept.iops),
        throughput_mibps: or(change.throughput_mibps, kept.throughput_mibps),
        encrypted: before.encrypted && same || change.encrypted,
        kms_key_id: change.kms_key_id.clone(),
    }
}

/// Checks the disks against their snapshots: those of the image, and `account`'s own.
pub(super) fn check(
    image: &Image,
    disks: &[(String, EbsBlockDevice)],
    snapshots: &[Snapshot],
    account: &str,
) -> Result<(), GatewayError> {
    let of_image = image.block_device_mappings.iter().filter_map(|disk| disk.ebs.as_ref());
    let of_image = of_image.map(|ebs| ebs.snapshot_id.as_str()).collect::<HashSet<_>>();
    let known = snapshots.iter().map(|s| (s.snapshot_id.as_str(), s)).collect::<HashMap<_, _>>();
    for (device, ebs) in disks {
        let invalid = |what: &str, why: String| {
            let field = format!("block_device_mappings[{device}].ebs.{what}");
            Err(GatewayError::invalid(field, why))
        };
        if ebs.size_gib < 0 || ebs.size_gib > LARGEST_GIB {
            return invalid("size_gib", format!("a disk has 1 to {LARGEST_GIB} GiB"));
        }
        let least = known.get(ebs.snapshot_id.as_str()).map_or(0, |snapshot| snapshot.size_gib);
        let gib = if ebs.size_gib == 0 { least } else { ebs.size_gib };
        if let Err((what, why)) = performance::check(ebs, gib) {
            return invalid(what, why);
        }
        let id = ebs.snapshot_id.as_str();
        if id.is_empty() {
            if ebs.size_gib == 0 {
                return invalid("size_gib", "an empty disk needs a size".to_owned());
            }
            continue;
        }
        let snapshot = known.get(id).filter(|s| of_image.contains(id) || s.account_id == account);
        let Some(snapshot) = snapshot else {
            return Err(DiskError::NoSnapshot { id: id.to_owned() }.into());
        };
        if ebs.size_gib != 0 && ebs.size_gib < snapshot.size_gib {
            let least = snapshot.size_gib;
            return invalid(
                "size_gib",
                format!("its snapshot has {least} GiB; give at least that"),
            );
        }
    }
    Ok(())
}

/// The volumes to make for each instance, with ids of their own.
pub(super) fn volumes(
    disks: &[(String, EbsBlockDevice)],
    instance_ids: &[String],
    tags: &[Tag],
) -> Result<Vec<NewVolume>, GatewayError> {
    let count = disks.len() * instance_ids.len();
    if count > MAX_VOLUMES {
        let why = format!("that would be {count} disks; launch at most {MAX_VOLUMES} at once");
        return Err(GatewayError::invalid("count", why));
    }
    let volume =
        |instance_id: &String, n: usize, (device, ebs): &(String, EbsBlockDevice)| NewVolume {
            volume_id: VolumeId::random().to_string(),
            snapshot_id: ebs.snapshot_id.clone(),
            size_gib: ebs.size_gib,
            instance_id: instance_id.clone(),
            device_name: device.clone(),
            delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
            product_codes: Vec::new(),
            // The root comes first.
            boot: n == 0,
            // The plan was checked; what names no type gets the default.
            volume_type: performance::volume_type(&ebs.volume_type)
                .map(performance::message)
                .unwrap_or_default()
                .into(),
            iops: ebs.iops,
            throughput_mibps: ebs.throughput_mibps,
            encrypted: ebs.encrypted,
            kms_key_id: ebs.kms_key_id.clone(),
            tags: tags.to_vec(),
        };
    let of = |id| disks.iter().enumerate().map(move |(n, disk)| volume(id, n, disk));
    Ok(instance_ids.iter().flat_map(of).collect())
}

/// The volumes as the launcher wants them: by instance, in the order wanted.
pub(super) fn by_instance(
    wanted: &[NewVolume],
    made: Vec<ExportedVolume>,
) -> Result<Vec<InstanceVolumes>, StepError> {
    let mut made = made
        .into_iter()
        .filter_map(|exported| Some((exported.volume?, exported.export_path)))
        .map(|(volume, path)| (volume.volume_id.clone(), (volume, path)))
        .collect::<HashMap<_, _>>();
    let mut instances: Vec<InstanceVolumes> = Vec::new();
    for wanted in wanted {
        let (volume, export_path) =
            made.remove(&wanted.volume_id).ok_or_else(|| missing("storage"))?;
        let attached = AttachedVolume {
            volume_id: volume.volume_id,
            device_name: wanted.device_name.clone(),
            delete_on_termination: wanted.delete_on_termination,
            export_path,
            size_bytes: volume.size_bytes,
            attach_time: None,
        };
        match instances.last_mut().filter(|last| last.instance_id == wanted.instance_id) {
            Some(last) => last.volumes.push(attached),
            None => instances.push(InstanceVolumes {
                instance_id: wanted.instance_id.clone(),
                volumes: vec![attached],
            }),
        }
    }
    Ok(instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str, snapshot: &str, size_gib: i32) -> BlockDeviceMapping {
        BlockDeviceMapping {
            device_name: device.to_owned(),
            ebs: Some(EbsBlockDevice {
                snapshot_id: snapshot.to_owned(),
                size_gib,
                ..EbsBlockDevice::default()
            }),
            no_device: false,
        }
    }

    fn image() -> Image {
        Image {
            root_device_name: "/dev/sda1".to_owned(),
            block_device_mappings: vec![
                disk("/dev/sdb", "snap-data", 4),
                disk("/dev/sda1", "snap-root", 2),
            ],
            ..Image::default()
        }
    }

    fn snapshot(id: &str, account: &str) -> Snapshot {
        Snapshot {
            snapshot_id: id.to_owned(),
            account_id: account.to_owned(),
            size_gib: 2,
            ..Snapshot::default()
        }
    }

    fn field(error: GatewayError) -> String {
        match error {
            GatewayError::Invalid { field, .. } => field,
            other => panic!("not about a field: {other}"),
        }
    }

    #[test]
    fn an_override_grows_the_root_adds_a_disk_and_leaves_one_out() {
        let none =
            BlockDeviceMapping { device_name: "/dev/sdb".to_owned(), ebs: None, no_device: true };
        let changes = [disk("/dev/sda1", "", 10), none, disk("/dev/sdc", "", 3)];

        let disks = merge(&image(), &changes).unwrap();

        let shown: Vec<_> =
            disks.iter().map(|(d, e)| (d.as_str(), e.snapshot_id.as_str(), e.size_gib)).collect();
        assert_eq!(shown, [("/dev/sda1", "snap-root", 10), ("/dev/sdc", "", 3)]);
        // EC2's rule: the root goes with its machine, what was added stays.
        let made = volumes(&disks, &["i-1".to_owned()], &[]).unwrap();
        assert_eq!(made.iter().map(|v| v.delete_on_termination).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn an_override_of_the_type_forgets_what_the_other_promised() {
        let mut image = image();
        let ebs = image.block_device_mappings[0].ebs.as_mut().unwrap();
        (ebs.volume_type, ebs.iops) = ("io1".to_owned(), 500);
        let with = |volume_type: &str, iops| {
            let ebs = EbsBlockDevice {
                volume_type: volume_type.to_owned(),
                iops,
                ..EbsBlockDevice::default()
            };
            let device_name = "/dev/sdb".to_owned();
            let change = BlockDeviceMapping { device_name, ebs: Some(ebs), no_device: false };
            let ebs = merge(&image, &[change]).unwrap().pop().unwrap().1;
            (ebs.volume_type, ebs.iops)
        };
        assert_eq!(with("", 0), ("io1".to_owned(), 500));
        assert_eq!(with("io1", 600), ("io1".to_owned(), 600));
        assert_eq!(with("gp3", 0), ("gp3".to_owned(), 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let bad = |change: BlockDeviceMapping| field(merge(&image(), &[change]).unwrap_err());
        let gone = |name: &str| BlockDeviceMapping {
            device_name: name.to_owned(),
            ebs: None,
            no_device: true,
        };
        assert_eq!(bad(gone("/dev/sda1")), "block_device_mappings[0]");
        assert_eq!(bad(disk("", "", 1)), "block_device_mappings[0].device_name");
        assert_eq!(
            bad(disk("/dev/sda1", "snap-other", 0)),
            "block_device_mappings[0].ebs.snapshot_id"
        );
        let twice = [disk("/dev/sdx", "", 1), disk("/dev/sdx", "", 1)];
        assert_eq!(field(merge(&image(), &twice).unwrap_err()), "block_device_mappings[1]");
    }

    #[test]
    fn snapshots_of_others_and_shrunken_disks_are_refused() {
        let image = image();
        let all = [snapshot("snap-root", "2"), snapshot("snap-data", "2"), snapshot("snap-x", "3")];
        let run = |changes: &[BlockDeviceMapping]| {
            check(&image, &merge(&image, changes).unwrap(), &all, "1")
        };
        assert!(run(&[]).is_ok());
        let shrunk = field(run(&[disk("/dev/sda1", "", 1)]).unwrap_err());
        assert!(shrunk.ends_with("size_gib"), "{shrunk}");
        let stolen = run(&[disk("/dev/sdd", "snap-x", 0)]).unwrap_err();
        assert!(matches!(stolen, GatewayError::Disk(DiskError::NoSnapshot { .. })), "{stolen}");
        let sizeless = field(run(&[disk("/dev/sdd", "", 0)]).unwrap_err());
        assert!(sizeless.ends_with("size_gib"), "{sizeless}");
    }

    #[test]
    fn every_instance_gets_volumes_of_its_own() {
        let disks = merge(&image(), &[]).unwrap();
        let made = volumes(&disks, &["i-1".to_owned(), "i-2".to_owned()], &[]).unwrap();
        let ids: HashSet<_> = made.iter().map(|v| &v.volume_id).collect();
        assert_eq!((made.len(), ids.len()), (4, 4));
        assert!(made.iter().all(|v| v.delete_on_termination));
        assert_eq!(made.iter().map(|v| v.boot).collect::<Vec<_>>(), [true, false, true, false]);
        let many: Vec<_> = (0..60).map(|n| format!("i-{n}")).collect();
        assert_eq!(field(volumes(&disks, &many, &[]).unwrap_err()), "count");
    }
}
