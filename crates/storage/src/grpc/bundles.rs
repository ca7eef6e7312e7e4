//! What the gateway asks of bundles.

use prost::Message as _;
use tonic::{Request, Response, Status};
use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image},
    storage::v1 as pb,
    storage::v1::bundle_internal_service_server::BundleInternalService,
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_ids::{AccountId, SnapshotId};
use vmint_images::bundle::{Mapping, Registration};
use vmint_rpc::to_status;
use vmint_store::Asked;

use super::{
    asks,
    convert::id,
    export::task,
    object_convert::{bucket_name, object_name},
    transfer_convert::description,
};
use crate::{
    Result, Storage, StorageError,
    export_task::{Delivery, ExportFormat},
    ops::Outgoing,
};

/// Serves the gateway when images are saved and loaded.
#[derive(Debug)]
pub struct Bundles(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl BundleInternalService for Bundles {
    async fn start_bundle_export(
        &self,
        request: Request<pb::StartBundleExportRequest>,
    ) -> Answer<pb::StartBundleExportResponse> {
        let request = request.into_inner();
        let account: AccountId = id("account_id", &request.account_id).map_err(status)?;
        let image = request.image.unwrap_or_default();
        let image_id = id("image.image_id", &image.image_id).map_err(status)?;
        let format = match request.format.as_str() {
            "" => ExportFormat::Bundle,
            format => id("format", format).map_err(status)?,
        };
        let (registration, disks) = registration(&image).map_err(status)?;
        // What a bundle was asked by before there was another format.
        let mut digested = image.image_id.clone();
        if format != ExportFormat::Bundle {
            digested.push_str(&format.to_string());
        }
        let asked = Asked {
            account: account.to_string(),
            method: "SaveImage".to_owned(),
            request_id: request.request_id,
            digest: *blake3::hash(digested.as_bytes()).as_bytes(),
        };
        let image = (image_id, registration);
        let begun = self.0.start_bundle(account, format, image, disks, asked).await;
        let begun = task(&self.0, &begun.map_err(status)?);
        Ok(Response::new(pb::StartBundleExportResponse { task: Some(begun) }))
    }

    async fn start_image_export(
        &self,
        request: Request<pb::StartImageExportRequest>,
    ) -> Answer<pb::StartImageExportResponse> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let account: AccountId = id("account_id", &request.account_id).map_err(status)?;
        // The image may change while the same is asked again.
        let image = request.image.take().unwrap_or_default();
        let digest = [image.image_id.as_bytes(), &request.encode_to_vec()].concat();
        let asked = Asked {
            account: account.to_string(),
            method: "ExportImage".to_owned(),
            request_id,
            digest: *blake3::hash(&digest).as_bytes(),
        };
        let (registration, disks) = registration(&image).map_err(status)?;
        let outgoing = Outgoing {
            image: id("image.image_id", &image.image_id).map_err(status)?,
            registration,
            disks,
            format: id("format", &request.format).map_err(status)?,
            to: Delivery {
                bucket: bucket_name(&request.bucket).map_err(status)?,
                prefix: request.prefix,
                description: description(request.description).map_err(status)?,
            },
            tags: asks::tags(request.tags).map_err(status)?,
        };
        let begun = self.0.start_image_export(account, outgoing, asked).await;
        let begun = task(&self.0, &begun.map_err(status)?);
        Ok(Response::new(pb::StartImageExportResponse { task: Some(begun) }))
    }

    async fn describe_bundle(
        &self,
        request: Request<pb::DescribeBundleRequest>,
    ) -> Answer<pb::DescribeBundleResponse> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(status)?;
        let found = if let Some(at) = &request.object {
            let at = object_name(at).map_err(status)?;
            self.0.describe_stored(account, &at).await
        } else {
            let upload = id("upload_id", &request.upload_id).map_err(status)?;
            self.0.describe_bundle(account, upload).await
        };
        let found = found.map_err(status)?;
        let (image, device_names) = image(found).map_err(status)?;
        Ok(Response::new(pb::DescribeBundleResponse { image: Some(image), device_names }))
    }
}

/// An image as a bundle says it, and its snapshots, the root disk's first.
fn registration(image: &Image) -> Result<(Registration, Vec<SnapshotId>)> {
    let root = &image.root_device_name;
    let (mut disks, mut devices) = (Vec::new(), Vec::new());
    for mapping in &image.block_device_mappings {
        let Some(ebs) = mapping.ebs.as_ref().filter(|_| !mapping.no_device) else { continue };
        if !ebs.snapshot_id.is_empty() {
            let snapshot: SnapshotId = id("image.block_device_mappings", &ebs.snapshot_id)?;
            disks.push((mapping.device_name != *root, devices.len(), snapshot));
        }
        devices.push(Mapping {
            device_name: mapping.device_name.clone(),
            disk: None,
            size_gib: ebs.size_gib,
            delete_on_termination: ebs.delete_on_termination,
            volume_type: ebs.volume_type.clone(),
            iops: ebs.iops,
            throughput_mibps: ebs.throughput_mibps,
            encrypted: false,
            kms_key_id: String::new(),
        });
    }
    disks.sort_unstable();
    for (disk, (_, device, _)) in disks.iter().enumerate() {
        devices[*device].disk = Some(disk);
    }
    let disks = disks.into_iter().map(|(.., snapshot)| snapshot).collect();
    let registration = Registration {
        name: image.name.clone(),
        description: image.description.clone(),
        architecture: match image.architecture() {
            Architecture::I386 => "i386",
            Architecture::Arm64 => "arm64",
            Architecture::X8664 | Architecture::Unspecified => "x86_64",
        }
        .to_owned(),
        boot_mode: match image.boot_mode() {
            BootMode::Uefi => "uefi",
            BootMode::LegacyBios | BootMode::Unspecified => "legacy-bios",
        }
        .to_owned(),
        platform: image.platform.clone(),
        root_device_name: root.clone(),
        ena_support: image.ena_support,
        imds_v2_required: image.imds_v2_required,
        mappings: devices,
    };
    Ok((registration, disks))
}

/// The image that a bundle speaks of, and the devices that begin as its disks.
fn image(found: Registration) -> Result<(Image, Vec<String>)> {
    let odd = |what: &'static str, value: &str, rule: &str| StorageError::Invalid {
        field: "upload_id",
        what,
        value: value.chars().take(32).collect(),
        rule: rule.to_owned(),
    };
    let architecture = match found.architecture.as_str() {
        "x86_64" => Architecture::X8664,
        "i386" => Architecture::I386,
        "arm64" => Architecture::Arm64,
        other => return Err(odd("architecture", other, "a bundle says x86_64, i386 or arm64")),
    };
    let boot_mode = match found.boot_mode.as_str() {
        "legacy-bios" => BootMode::LegacyBios,
        "uefi" => BootMode::Uefi,
        other => return Err(odd("boot mode", other, "a bundle says legacy-bios or uefi")),
    };
    if !matches!(found.platform.as_str(), "" | "windows") {
        return Err(odd("platform", &found.platform, "a bundle says windows, or nothing"));
    }
    let mut devices: Vec<(usize, String)> = Vec::new();
    let mut mappings = Vec::new();
    for mapping in found.mappings {
        devices.extend(mapping.disk.map(|disk| (disk, mapping.device_name.clone())));
        let ebs = EbsBlockDevice {
            snapshot_id: String::new(),
            size_gib: mapping.size_gib,
            delete_on_termination: mapping.delete_on_termination,
            volume_type: mapping.volume_type,
            iops: mapping.iops,
            throughput_mibps: mapping.throughput_mibps,
            encrypted: mapping.encrypted,
            kms_key_id: mapping.kms_key_id,
        };
        let device_name = mapping.device_name;
        mappings.push(BlockDeviceMapping { device_name, ebs: Some(ebs), no_device: false });
    }
    devices.sort_unstable();
    let image = Image {
        name: found.name,
        description: found.description,
        architecture: architecture.into(),
        boot_mode: boot_mode.into(),
        platform: found.platform,
        root_device_name: found.root_device_name,
        ena_support: found.ena_support,
        imds_v2_required: found.imds_v2_required,
        block_device_mappings: mappings,
        ..Image::default()
    };
    Ok((image, devices.into_iter().map(|(_, name)| name).collect()))
}
