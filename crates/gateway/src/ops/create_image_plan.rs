//! What an image of a machine is made of.

use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::CreateImageRequest,
    launcher::v1::{AttachedVolume, Instance, InstanceState},
    storage::v1::{Volume, VolumeSnapshot},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_ids::{ImageId, SnapshotId};
use vmint_performance::VolumeType;
use vmint_rpc::Caller;

use super::{create_image::CreatePlan, performance};
use crate::GatewayError;

/// The image to make of `instance`, whose volumes and image these are.
pub(super) fn plan(
    caller: &Caller,
    request: CreateImageRequest,
    instance: &Instance,
    volumes: &[Volume],
    source: Image,
) -> Result<CreatePlan, GatewayError> {
    let id = ImageId::random().to_string();
    let mut snapshots = Vec::new();
    let mut disks = Vec::new();
    for volume in &instance.volumes {
        let snapshot_id = SnapshotId::random().to_string();
        let known = volumes.iter().find(|known| known.volume_id == volume.volume_id);
        disks.push(disk_of(volume, known, &snapshot_id));
        snapshots.push(VolumeSnapshot { volume_id: volume.volume_id.clone(), snapshot_id });
    }
    let named = |name: &str| instance.volumes.iter().any(|v| v.device_name == name);
    let root_device_name = if named(&source.root_device_name) {
        source.root_device_name.clone()
    } else {
        instance.volumes.first().map(|v| v.device_name.clone()).unwrap_or_default()
    };
    change_disks(&mut disks, &root_device_name, &request.block_device_mappings)?;
    let kept =
        |id: &String| disks.iter().any(|d| d.ebs.as_ref().is_some_and(|e| e.snapshot_id == *id));
    snapshots.retain(|snapshot| kept(&snapshot.snapshot_id));
    let image = Image {
        image_id: id,
        name: request.name,
        description: request.description,
        owner_id: caller.account.clone(),
        state: ImageState::Pending.into(),
        architecture: source.architecture,
        boot_mode: source.boot_mode,
        root_device_name,
        block_device_mappings: disks,
        platform: source.platform,
        product_codes: instance.product_codes.clone(),
        source_image_id: instance.image_id.clone(),
        source_instance_id: instance.instance_id.clone(),
        tags: request.tags,
        ena_support: instance.ena_support,
        imds_v2_required: source.imds_v2_required,
        ..Image::default()
    };
    let running = instance.state() == InstanceState::Running;
    Ok(CreatePlan {
        image: Some(image),
        snapshots,
        snapshot_tags: request.snapshot_tags,
        halt: running && request.reboot,
        machine_off: !running,
    })
}

/// Leaves disks out, changes whether they go with their machine, and adds empty
/// ones; nothing else about a disk that is there can change.
fn change_disks(
    disks: &mut Vec<BlockDeviceMapping>,
    root: &str,
    changes: &[BlockDeviceMapping],
) -> Result<(), GatewayError> {
    for (at, change) in changes.iter().enumerate() {
        let refuse = |why: &str| {
            Err(GatewayError::invalid(format!("block_device_mappings[{at}]"), why.to_owned()))
        };
        let there = disks.iter().position(|disk| disk.device_name == change.device_name);
        match (there, change.no_device, &change.ebs) {
            (Some(_), true, _) if change.device_name == root => {
                return refuse("the root disk can't be left out");
            }
            (Some(there), true, _) => drop(disks.remove(there)),
            (Some(there), false, Some(ebs)) => {
                let Some(disk) = disks[there].ebs.as_mut() else { continue };
                if !ebs.snapshot_id.is_empty() || ![0, disk.size_gib].contains(&ebs.size_gib) {
                    return refuse("of a disk that is there only delete_on_termination can change");
                }
                disk.delete_on_termination =
                    ebs.delete_on_termination.or(disk.delete_on_termination);
            }
            (None, false, Some(ebs)) if ebs.snapshot_id.is_empty() && ebs.size_gib > 0 => {
                let (field, gib) = (format!("block_device_mappings[{at}].ebs"), ebs.size_gib);
                performance::check(ebs, gib)
                    .map_err(|(what, why)| GatewayError::invalid(format!("{field}.{what}"), why))?;
                let goes = Some(ebs.delete_on_termination.unwrap_or(false));
                let ebs = EbsBlockDevice { delete_on_termination: goes, ..ebs.clone() };
                disks.push(BlockDeviceMapping { ebs: Some(ebs), ..change.clone() });
            }
            (None, false, Some(_)) => {
                return refuse("a disk that is added is empty and has a size");
            }
            (None, true, _) => {}
            (_, false, None) => return refuse("say with `ebs` or `no_device` what to change"),
        }
    }
    Ok(())
}

fn disk_of(
    volume: &AttachedVolume,
    known: Option<&Volume>,
    snapshot_id: &str,
) -> BlockDeviceMapping {
    const GIB: i64 = 1 << 30;
    let kind = known.map_or(VolumeType::Gp3, |volume| performance::told(volume.volume_type()));
    // Of gp2 they follow from the size.
    let promises = kind != VolumeType::Gp2;
    let size_gib = i32::try_from((volume.size_bytes + GIB - 1) / GIB).unwrap_or(i32::MAX);
    BlockDeviceMapping {
        device_name: volume.device_name.clone(),
        ebs: Some(EbsBlockDevice {
            snapshot_id: snapshot_id.to_owned(),
            size_gib,
            delete_on_termination: Some(volume.delete_on_termination),
            volume_type: kind.as_str().to_owned(),
            iops: known.filter(|_| promises).map_or(0, |volume| volume.iops),
            throughput_mibps: known.map_or(0, |volume| volume.throughput_mibps),
            encrypted: known.is_some_and(|volume| volume.encrypted),
            kms_key_id: String::new(),
        }),
        no_device: false,
    }
}
