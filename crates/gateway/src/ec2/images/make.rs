use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image},
    gateway::v1::{CopyImageRequest, CreateImageRequest, RegisterImageRequest},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml, query};
use vmint_ids::{ImageKind, InstanceKind, SnapshotKind};

use super::shown;
use crate::ec2::{Call, entry::Answer, tags};

pub(super) const REGISTER: Operation = Operation::new(
    "RegisterImage",
    &[
        "Name!",
        "Description",
        "Architecture",
        "RootDeviceName",
        "EnaSupport",
        "BlockDeviceMapping.N.DeviceName",
        "BlockDeviceMapping.N.NoDevice",
        "BlockDeviceMapping.N.Ebs.SnapshotId",
        "BlockDeviceMapping.N.Ebs.VolumeSize",
        "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
        "BlockDeviceMapping.N.Ebs.Encrypted",
        "BlockDeviceMapping.N.Ebs.Iops",
        "BlockDeviceMapping.N.Ebs.Throughput",
        "BlockDeviceMapping.N.Ebs.VolumeType",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[
    ("BillingProduct.N", &[]),
    ("BlockDeviceMapping.N.Ebs.AvailabilityZone", &[]),
    ("BlockDeviceMapping.N.Ebs.AvailabilityZoneId", &[]),
    ("BlockDeviceMapping.N.Ebs.EbsCardIndex", &["0"]),
    ("BlockDeviceMapping.N.Ebs.KmsKeyId", &[]),
    ("BlockDeviceMapping.N.Ebs.OutpostArn", &[]),
    ("BlockDeviceMapping.N.Ebs.VolumeInitializationRate", &[]),
    ("BlockDeviceMapping.N.VirtualName", &[]),
    ("BootMode", &["legacy-bios", "uefi"]),
    ("ImageLocation", &[]),
    ("ImdsSupport", &["v2.0"]),
    ("KernelId", &[]),
    ("RamdiskId", &[]),
    ("SriovNetSupport", &[]),
    ("TpmSupport", &[]),
    ("UefiData", &[]),
    ("VirtualizationType", &["hvm"]),
]);

pub(super) async fn register_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let name = params.need("Name")?;
    let mut mappings = params.block_device_mappings()?;
    mappings.retain(|mapping| !mapping.no_device);
    let root = match params.text("RootDeviceName")? {
        Some(root) => root,
        None if mappings.len() == 1 => mappings[0].device_name.clone().unwrap_or_default(),
        None => "/dev/sda1".to_owned(),
    };
    let has_root = mappings.iter().any(|mapping| mapping.device_name.as_deref() == Some(&*root));
    if !has_root {
        let text = format!("The root device '{root}' is not among the block device mappings.");
        return Err(Error::new(Code::InvalidBlockDeviceMapping, text).into());
    }
    // What EC2 has taken an image for since its first days.
    let architecture = params.choice(
        "Architecture",
        &[
            ("i386", Architecture::I386),
            ("x86_64", Architecture::X8664),
            ("arm64", Architecture::Arm64),
        ],
    )?;
    let boot_mode = params
        .choice("BootMode", &[("legacy-bios", BootMode::LegacyBios), ("uefi", BootMode::Uefi)])?;
    let specifications = params.tag_specifications(&["image"])?;
    let image = Image {
        name,
        description: params.text("Description")?.unwrap_or_default(),
        architecture: architecture.unwrap_or(Architecture::I386).into(),
        boot_mode: boot_mode.unwrap_or(BootMode::Unspecified).into(),
        block_device_mappings: mappings
            .into_iter()
            .map(|mapping| new_disk(mapping, &root))
            .collect::<Result<_, _>>()?,
        root_device_name: root,
        tags: tags::kept(Params::tags_for(&specifications, "image")),
        ena_support: params.flag("EnaSupport")?.unwrap_or(false),
        imds_v2_required: params.text("ImdsSupport")?.is_some(),
        ..Image::default()
    };
    let request = RegisterImageRequest { image: Some(image), request_id };
    let made = gateway.register_image(caller, request).await?;
    Ok(image_id(made.image))
}

fn new_disk(mapping: query::BlockDeviceMapping, root: &str) -> Result<BlockDeviceMapping, Error> {
    let device = mapping.device_name.unwrap_or_default();
    let refuse = |text: String| Err(Error::new(Code::InvalidBlockDeviceMapping, text));
    let ebs = mapping.ebs.unwrap_or_default();
    let snapshot_id = match &ebs.snapshot_id {
        Some(_) if ebs.encrypted.is_some() => {
            return refuse(format!(
                "Encrypted flag cannot be specified since device {device} has a snapshot specified."
            ));
        }
        Some(snapshot) => query::parse_id::<SnapshotKind>(snapshot)?.to_string(),
        None if ebs.volume_size.is_none() => {
            let text = format!("Either snapshot ID or volume size must be provided for: {device}");
            return refuse(text);
        }
        None if ebs.encrypted == Some(true) => return unsupported_encryption(),
        None => String::new(),
    };
    // A root disk goes with its machine unless it is said, others stay.
    let goes = ebs.delete_on_termination.unwrap_or(device == root);
    let ebs =
        EbsBlockDevice { snapshot_id, delete_on_termination: Some(goes), ..shown::asked(ebs) };
    Ok(BlockDeviceMapping { device_name: device, ebs: Some(ebs), no_device: false })
}

fn unsupported_encryption<T>() -> Result<T, Error> {
    let text = "An image's empty disk can't be encrypted here; ask for it at the launch.";
    Err(Error::new(Code::UnsupportedOperation, text))
}

pub(super) const CREATE: Operation = Operation::new(
    "CreateImage",
    &[
        "InstanceId!",
        "Name!",
        "Description",
        "NoReboot",
        "BlockDeviceMapping.N.DeviceName",
        "BlockDeviceMapping.N.NoDevice",
        "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
        "BlockDeviceMapping.N.Ebs.Iops",
        "BlockDeviceMapping.N.Ebs.Throughput",
        "BlockDeviceMapping.N.Ebs.VolumeSize",
        "BlockDeviceMapping.N.Ebs.VolumeType",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[
    ("BlockDeviceMapping.N.Ebs.AvailabilityZone", &[]),
    ("BlockDeviceMapping.N.Ebs.AvailabilityZoneId", &[]),
    ("BlockDeviceMapping.N.Ebs.EbsCardIndex", &["0"]),
    ("BlockDeviceMapping.N.Ebs.Encrypted", &["false"]),
    ("BlockDeviceMapping.N.Ebs.KmsKeyId", &[]),
    ("BlockDeviceMapping.N.Ebs.OutpostArn", &[]),
    ("BlockDeviceMapping.N.Ebs.SnapshotId", &[]),
    ("BlockDeviceMapping.N.Ebs.VolumeInitializationRate", &[]),
    ("BlockDeviceMapping.N.VirtualName", &[]),
    ("BootModeOverride", &[]),
    ("SnapshotLocation", &["regional"]),
]);

pub(super) async fn create_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let specifications = params.tag_specifications(&["image", "snapshot"])?;
    let changes = params.block_device_mappings()?.into_iter().map(|mapping| BlockDeviceMapping {
        device_name: mapping.device_name.unwrap_or_default(),
        no_device: mapping.no_device,
        ebs: mapping.ebs.map(shown::asked),
    });
    let request = CreateImageRequest {
        instance_id: params.need_id::<InstanceKind>("InstanceId")?.to_string(),
        name: params.need("Name")?,
        description: params.text("Description")?.unwrap_or_default(),
        tags: tags::kept(Params::tags_for(&specifications, "image")),
        request_id,
        block_device_mappings: changes.collect(),
        snapshot_tags: tags::kept(Params::tags_for(&specifications, "snapshot")),
        // EC2's default.
        reboot: !params.flag("NoReboot")?.unwrap_or(false),
    };
    let made = gateway.create_image(caller, request).await?;
    Ok(image_id(made.image))
}

pub(super) const COPY: Operation = Operation::new(
    "CopyImage",
    &[
        "Name!",
        "SourceImageId!",
        "SourceRegion!",
        "ClientToken",
        "Description",
        "CopyImageTags",
        "Encrypted",
        "KmsKeyId",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[
    ("DestinationAvailabilityZone", &[]),
    ("DestinationAvailabilityZoneId", &[]),
    ("DestinationOutpostArn", &[]),
    ("SnapshotCopyCompletionDurationMinutes", &[]),
]);

pub(super) async fn copy_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let source_region = front.regions.source(params.need("SourceRegion")?)?;
    let specifications = params.tag_specifications(&["image", "snapshot"])?;
    let encrypted = params.flag("Encrypted")?.unwrap_or(false);
    let kms_key_id = params.text("KmsKeyId")?.unwrap_or_default();
    if !encrypted && !kms_key_id.is_empty() {
        let text = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Error::combination(text).into());
    }
    let request = CopyImageRequest {
        source_region,
        source_image_id: params.need_id::<ImageKind>("SourceImageId")?.to_string(),
        name: params.need("Name")?,
        description: params.text("Description")?.unwrap_or_default(),
        request_id,
        encrypted,
        kms_key_id,
        copy_tags: Some(params.flag("CopyImageTags")?.unwrap_or(false)),
        tags: tags::kept(Params::tags_for(&specifications, "image")),
        snapshot_tags: tags::kept(Params::tags_for(&specifications, "snapshot")),
    };
    let made = gateway.copy_image(caller, request).await?;
    Ok(image_id(made.image))
}

fn image_id(image: Option<Image>) -> Xml {
    let mut xml = Xml::new();
    xml.text("imageId", image.unwrap_or_default().image_id);
    xml
}
