//! An image between its message and the catalog's own type.

use std::collections::{BTreeMap, BTreeSet};

use vmint_api::{catalog::v1 as pb, types::v1 as shared};
use vmint_ids::ProductCode;
use vmint_performance::VolumeType;

use super::convert::optional;
use crate::{
    Architecture, BootMode, CatalogError as E, Disk, Listed, Name, NewImage, Performance, Result,
    State, store::Tags,
};

/// `whole`: its data are there.
pub(super) fn new_image(image: pb::Image, whole: bool) -> Result<NewImage> {
    let architecture = match image.architecture() {
        pb::Architecture::X8664 => Architecture::X86_64,
        pb::Architecture::I386 => Architecture::I386,
        pb::Architecture::Arm64 => Architecture::Arm64,
        pb::Architecture::Unspecified => {
            return Err(E::Missing { field: "image.architecture" });
        }
    };
    let boot_mode = match image.boot_mode() {
        pb::BootMode::Unspecified | pb::BootMode::LegacyBios => BootMode::LegacyBios,
        pb::BootMode::Uefi => BootMode::Uefi,
    };
    let windows = match image.platform.as_str() {
        "" => false,
        "windows" => true,
        _ => return Err(E::field("image.platform", "must be `windows` or empty")),
    };
    let disks = image.block_device_mappings.into_iter().map(disk);
    let mut tags = BTreeMap::new();
    for tag in image.tags {
        if let Some(_twice) = tags.insert(tag.key.clone(), tag.value) {
            return Err(E::Tag { key: tag.key, why: "is given twice" });
        }
    }
    Ok(NewImage {
        id: super::convert::image_id(&image.image_id)?,
        name: Name::parse(&image.name)?,
        description: image.description,
        owner: super::convert::account("image.owner_id", &image.owner_id)?,
        architecture,
        boot_mode,
        root_device: image.root_device_name,
        disks: disks.collect::<Result<_>>()?,
        windows,
        product_codes: codes(&image.product_codes)?,
        source_image: optional("image.source_image_id", &image.source_image_id)?,
        source_instance: optional("image.source_instance_id", &image.source_instance_id)?,
        tags,
        ena_support: image.ena_support,
        imds_v2_required: image.imds_v2_required,
        whole,
    })
}

pub(super) fn codes(texts: &[String]) -> Result<BTreeSet<ProductCode>> {
    if texts.len() > 100 {
        return Err(E::field("product_codes", "may have 20 entries at most"));
    }
    let read = |text: &String| {
        text.parse().map_err(|_| {
            E::field("product_codes", "must be 1 to 25 lower-case letters and digits each")
        })
    };
    texts.iter().map(read).collect()
}

fn disk(mapping: shared::BlockDeviceMapping) -> Result<Disk> {
    let name = "image.block_device_mappings";
    if mapping.no_device {
        return Err(E::field(name, "of an image cannot leave a device out"));
    }
    let ebs = mapping.ebs.ok_or(E::Missing { field: "image.block_device_mappings.ebs" })?;
    let size = u32::try_from(ebs.size_gib).map_err(|_| E::field(name, "has a negative size"))?;
    Ok(Disk {
        device: mapping.device_name,
        snapshot: optional("image.block_device_mappings.ebs.snapshot_id", &ebs.snapshot_id)?,
        size_gib: (size != 0).then_some(size),
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
        encrypted: ebs.encrypted,
        performance: Performance {
            kind: VolumeType::parse(&ebs.volume_type).map_err(|bad| {
                E::field("block_device_mappings.ebs.volume_type", bad.to_string())
            })?,
            iops: u32::try_from(ebs.iops).map_err(|_| E::field(name, "has negative iops"))?,
            throughput: u32::try_from(ebs.throughput_mibps)
                .map_err(|_| E::field(name, "has a negative throughput"))?,
        },
    })
}

fn mapping(disk: &Disk) -> shared::BlockDeviceMapping {
    let ebs = shared::EbsBlockDevice {
        snapshot_id: disk.snapshot.map(|id| id.to_string()).unwrap_or_default(),
        size_gib: disk.size_gib.and_then(|size| i32::try_from(size).ok()).unwrap_or_default(),
        delete_on_termination: Some(disk.delete_on_termination),
        volume_type: disk.performance.kind.as_str().to_owned(),
        iops: i32::try_from(disk.performance.iops).unwrap_or_default(),
        throughput_mibps: i32::try_from(disk.performance.throughput).unwrap_or_default(),
        encrypted: disk.encrypted,
        kms_key_id: String::new(),
    };
    shared::BlockDeviceMapping {
        device_name: disk.device.clone(),
        ebs: Some(ebs),
        no_device: false,
    }
}

pub(super) fn timestamp(ms: u64) -> prost_types::Timestamp {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn tags(tags: &Tags) -> Vec<shared::Tag> {
    let tag =
        |(key, value): (&String, &String)| shared::Tag { key: key.clone(), value: value.clone() };
    tags.iter().map(tag).collect()
}

impl From<Listed> for pb::Image {
    fn from(listed: Listed) -> Self {
        let image = &*listed.image;
        let state = match image.state {
            State::Pending => pb::ImageState::Pending,
            State::Available => pb::ImageState::Available,
            State::Failed => pb::ImageState::Failed,
            State::Deregistered => pb::ImageState::Deregistered,
        };
        let architecture = match image.architecture {
            Architecture::X86_64 => pb::Architecture::X8664,
            Architecture::I386 => pb::Architecture::I386,
            Architecture::Arm64 => pb::Architecture::Arm64,
        };
        let boot_mode = match image.boot_mode {
            BootMode::LegacyBios => pb::BootMode::LegacyBios,
            BootMode::Uefi => pb::BootMode::Uefi,
        };
        Self {
            image_id: image.id.to_string(),
            name: image.name.as_str().to_owned(),
            description: image.description.clone(),
            owner_id: image.owner.to_string(),
            state: state.into(),
            state_reason: image.state_reason.clone(),
            state_reason_code: image.state_reason_code.clone(),
            progress_percent: image.progress.into(),
            architecture: architecture.into(),
            boot_mode: boot_mode.into(),
            root_device_name: image.root_device.clone(),
            block_device_mappings: image.disks.iter().map(mapping).collect(),
            platform: if image.windows { "windows".to_owned() } else { String::new() },
            product_codes: image.product_codes.iter().map(ToString::to_string).collect(),
            source_image_id: image.source_image.map(|id| id.to_string()).unwrap_or_default(),
            source_instance_id: image.source_instance.map(|id| id.to_string()).unwrap_or_default(),
            tags: tags(listed.viewer_tags.as_deref().unwrap_or(&image.tags)),
            public: listed.public,
            create_time: Some(timestamp(image.created_ms)),
            deregister_time: image.deregistered_ms.map(timestamp),
            etag: image.etag(),
            ena_support: image.ena_support,
            imds_v2_required: image.imds_v2_required,
        }
    }
}
