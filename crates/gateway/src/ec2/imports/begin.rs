//! Imports begun.

use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image},
    gateway::v1::{ImportImageDisk, ImportImageRequest},
    storage::v1::{DiskSource, ObjectName, StartSnapshotImportRequest, disk_source::Source},
};
use vmint_ec2::{Code, Error, Params, Xml};
use vmint_ids::SnapshotKind;

use super::shown;
use crate::ec2::{Call, entry::Answer, tags};

/// How an address begins that leads to a bucket here.
const BUCKET: &str = "s3://";

pub(super) async fn import_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let (encrypted, kms_key_id) = sealed(params)?;
    let known = [
        ("x86_64", Architecture::X8664),
        ("i386", Architecture::I386),
        ("arm64", Architecture::Arm64),
    ];
    let architecture = params.choice("Architecture", &known)?.unwrap_or(Architecture::X8664);
    let modes = [("legacy-bios", BootMode::LegacyBios), ("uefi", BootMode::Uefi)];
    let boot_mode = params.choice("BootMode", &modes)?.unwrap_or(BootMode::Unspecified);
    let platform = params.choice("Platform", &[("Windows", "windows"), ("Linux", "")])?;
    let disks = params.each("DiskContainer", |disk| {
        disk.text("Description")?;
        let device_name = disk.text("DeviceName")?.unwrap_or_default();
        Ok(ImportImageDisk { source: Some(source(disk)?), device_name })
    })?;
    if disks.is_empty() {
        return Err(Error::missing("DiskContainer.1.Url").into());
    }
    let image = Image {
        description: params.text("Description")?.unwrap_or_default(),
        architecture: architecture.into(),
        boot_mode: boot_mode.into(),
        platform: platform.unwrap_or_default().to_owned(),
        ..Image::default()
    };
    let task_tags = tags::of_new(params, "import-image-task")?;
    let request = ImportImageRequest {
        image: Some(image),
        disks,
        request_id,
        encrypted,
        kms_key_id,
        task_tags,
    };
    let begun = call.front.gateway.import_image(&call.caller, request).await?;
    let mut xml = Xml::new();
    shown::image_task(&mut xml, &begun.task.unwrap_or_default(), begun.image.as_ref());
    Ok(xml)
}

pub(super) async fn import_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let (encrypted, kms_key_id) = sealed(params)?;
    let found = params.inside("DiskContainer", |disk| {
        Ok((disk.text("Description")?.unwrap_or_default(), source(disk)?))
    })?;
    let Some((described, source)) = found else {
        return Err(Error::missing("DiskContainer.Url").into());
    };
    let request = StartSnapshotImportRequest {
        source: Some(source),
        description: params.text("Description")?.unwrap_or(described),
        request_id,
        encrypted,
        kms_key_id,
        tags: tags::of_new(params, "import-snapshot-task")?,
    };
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    let begun = storage.start_snapshot_import(request).await?.into_inner();
    let mut xml = Xml::new();
    shown::snapshot_task(&mut xml, &begun.task.unwrap_or_default());
    Ok(xml)
}

/// Where a disk's file is, which is said in one way; formats are EC2's, in
/// whatever case.
fn source(disk: &mut Params) -> Result<DiskSource, Error> {
    let format = disk.text("Format")?.unwrap_or_default().to_ascii_lowercase();
    let object = disk.inside("UserBucket", |at| {
        let (bucket, key) = (at.text("S3Bucket")?, at.text("S3Key")?);
        Ok(match (&bucket, &key) {
            (None, None) => None,
            _ => Some((bucket, key)),
        })
    })?;
    let url = disk.text("Url")?;
    let snapshot = disk.id::<SnapshotKind>("SnapshotId")?;
    let source = match (url, object.flatten(), snapshot) {
        (Some(url), None, None) => match url.strip_prefix(BUCKET) {
            Some(place) => match place.split_once('/') {
                Some((bucket, key)) => {
                    Source::Object(ObjectName { bucket: bucket.to_owned(), key: key.to_owned() })
                }
                None => {
                    let why = "It must be an https URL, or s3://, a bucket and a key.";
                    return Err(Error::invalid("Url", &url, why));
                }
            },
            None => Source::Url(url),
        },
        (None, Some((bucket, key)), None) => {
            let bucket = bucket.ok_or_else(|| Error::missing("UserBucket.S3Bucket"))?;
            let key = key.ok_or_else(|| Error::missing("UserBucket.S3Key"))?;
            Source::Object(ObjectName { bucket, key })
        }
        (None, None, Some(snapshot)) => Source::SnapshotId(snapshot.to_string()),
        (None, None, None) => return Err(Error::missing("DiskContainer.Url")),
        _ => {
            let text = "A disk container names one of Url, UserBucket and SnapshotId.";
            return Err(Error::new(Code::InvalidParameterCombination, text));
        }
    };
    Ok(DiskSource { source: Some(source), format, disk_index: None })
}

/// Whether and with which key something is to be encrypted.
fn sealed(params: &mut Params) -> Result<(bool, String), Error> {
    let encrypted = params.flag("Encrypted")?.unwrap_or(false);
    let key = params.text("KmsKeyId")?.unwrap_or_default();
    if !encrypted && !key.is_empty() {
        let text = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Error::combination(text));
    }
    Ok((encrypted, key))
}
