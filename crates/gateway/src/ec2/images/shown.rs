//! An image as EC2 writes it.

use time::OffsetDateTime;
use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image, ImageState},
    types::v1::{BlockDeviceMapping, EbsBlockDevice, Tag},
};
use vmint_ec2::{Xml, query};

use crate::ec2::alias::{self, Aliases};

pub(super) fn image(xml: &mut Xml, aliases: &Aliases, image: &Image) {
    let windows = image.platform == "windows";
    xml.text("imageId", &image.image_id)
        .text("imageLocation", format!("{}/{}", image.owner_id, image.name))
        .text("imageState", state(image.state()))
        .text("imageOwnerId", &image.owner_id);
    if let Some(created) = image.create_time.and_then(time) {
        xml.time("creationDate", created);
    }
    xml.value("isPublic", image.public)
        .items("productCodes", &image.product_codes, product_code)
        .text("architecture", architecture(image.architecture()))
        .text("imageType", "machine")
        .filled("platform", &image.platform)
        .text("platformDetails", if windows { "Windows" } else { "Linux/UNIX" })
        .text("usageOperation", if windows { "RunInstances:0002" } else { "RunInstances" });
    if image.state() == ImageState::Failed {
        xml.node("stateReason", |reason| {
            let code = match image.state_reason_code.as_str() {
                "" => "Server.InternalError",
                code => code,
            };
            reason.text("code", code).text("message", &image.state_reason);
        });
    }
    if let Some(alias) = alias::of(aliases, &image.owner_id) {
        xml.text("imageOwnerAlias", alias);
    }
    xml.text("name", &image.name)
        .filled("description", &image.description)
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &image.root_device_name)
        .items("blockDeviceMapping", &image.block_device_mappings, mapping)
        .text("virtualizationType", "hvm")
        .items("tagSet", &image.tags, tag)
        .text("hypervisor", "xen")
        .value("enaSupport", image.ena_support);
    xml.text("bootMode", boot_mode(image.boot_mode()));
    if image.imds_v2_required {
        xml.text("imdsSupport", "v2.0");
    }
    xml.filled("sourceInstanceId", &image.source_instance_id)
        .filled("sourceImageId", &image.source_image_id)
        .text("deregistrationProtection", "disabled");
}

pub(super) fn mapping(xml: &mut Xml, mapping: &BlockDeviceMapping) {
    xml.text("deviceName", &mapping.device_name);
    if let Some(ebs) = &mapping.ebs {
        xml.node("ebs", |xml| {
            xml.filled("snapshotId", &ebs.snapshot_id);
            if ebs.size_gib > 0 {
                xml.value("volumeSize", ebs.size_gib);
            }
            xml.value("deleteOnTermination", ebs.delete_on_termination.unwrap_or(true));
            xml.text(
                "volumeType",
                if ebs.volume_type.is_empty() { "gp3" } else { &ebs.volume_type },
            );
            if ebs.iops > 0 {
                xml.value("iops", ebs.iops);
            }
            if ebs.throughput_mibps > 0 {
                xml.value("throughput", ebs.throughput_mibps);
            }
            xml.value("encrypted", ebs.encrypted);
        });
    }
}

/// A disk as it is asked for, its snapshot's id as it was sent.
pub(in crate::ec2) fn asked(ebs: query::Ebs) -> EbsBlockDevice {
    EbsBlockDevice {
        snapshot_id: ebs.snapshot_id.unwrap_or_default(),
        size_gib: ebs.volume_size.unwrap_or_default(),
        delete_on_termination: ebs.delete_on_termination,
        volume_type: ebs.volume_type.unwrap_or_default(),
        iops: ebs.iops.unwrap_or_default(),
        throughput_mibps: ebs.throughput.unwrap_or_default(),
        encrypted: ebs.encrypted.unwrap_or_default(),
        kms_key_id: ebs.kms_key_id.unwrap_or_default(),
    }
}

pub(super) fn product_code(xml: &mut Xml, code: &String) {
    xml.text("productCode", code).text("type", "marketplace");
}

fn tag(xml: &mut Xml, tag: &Tag) {
    xml.text("key", &tag.key).text("value", &tag.value);
}

fn time(at: prost_types::Timestamp) -> Option<OffsetDateTime> {
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

pub(in crate::ec2) fn state(state: ImageState) -> &'static str {
    match state {
        ImageState::Pending => "pending",
        ImageState::Available => "available",
        ImageState::Failed => "failed",
        ImageState::Deregistered => "deregistered",
        ImageState::Unspecified => "error",
    }
}

pub(in crate::ec2) fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X8664 | Architecture::Unspecified => "x86_64",
        Architecture::I386 => "i386",
        Architecture::Arm64 => "arm64",
    }
}

pub(in crate::ec2) fn boot_mode(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "uefi",
        BootMode::LegacyBios | BootMode::Unspecified => "legacy-bios",
    }
}
