use tonic::{Request, Response, Status};
use vmint_api::{
    catalog::v1::Image,
    storage::v1::{self as storage, bundle_internal_service_server::BundleInternalService},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};

use super::{Fake, fake, once};

fn device(name: &str, size_gib: i32) -> BlockDeviceMapping {
    let ebs = EbsBlockDevice { size_gib, ..EbsBlockDevice::default() };
    BlockDeviceMapping { device_name: name.to_owned(), ebs: Some(ebs), no_device: false }
}

/// As it is where it comes from.
fn sealed(mut device: BlockDeviceMapping) -> BlockDeviceMapping {
    if let Some(ebs) = device.ebs.as_mut() {
        (ebs.volume_type, ebs.iops) = ("io2".to_owned(), 4000);
        ebs.encrypted = true;
        "kms-0123456789abcdef0".clone_into(&mut ebs.kms_key_id);
    }
    device
}

fake! {
    BundleInternalService, storage, "storage", "storage-internal";
    start_bundle_export("StartBundleExport" StartBundleExportRequest) -> StartBundleExportResponse
    |_world, caller, request| {
        let image = request.image.unwrap_or_default();
        let task = storage::ExportTask {
            account_id: request.account_id,
            image_id: image.image_id,
            format: if request.format.is_empty() { "bundle".to_owned() } else { request.format },
            ..storage::ExportTask::default()
        };
        Ok(storage::StartBundleExportResponse { task: Some(task) })
    }
    start_image_export("StartImageExport" StartImageExportRequest) -> StartImageExportResponse
    |_world, caller, request| {
        let image = request.image.unwrap_or_default();
        let task = storage::ExportTask {
            account_id: request.account_id,
            image_id: image.image_id,
            format: request.format,
            description: request.description,
            ..storage::ExportTask::default()
        };
        Ok(storage::StartImageExportResponse { task: Some(task) })
    }
    describe_bundle("DescribeBundle" DescribeBundleRequest) -> DescribeBundleResponse
    |_world, caller, request| {
        assert!(request.upload_id.is_empty() != request.object.is_none());
        let image = Image {
            name: "as it was".to_owned(),
            root_device_name: "/dev/sda1".to_owned(),
            block_device_mappings: vec![
                device("/dev/sda1", 0),
                device("/dev/sdb", 3),
                sealed(device("/dev/sdc", 0)),
            ],
            // Nothing of this may be taken over.
            owner_id: "999999999999".to_owned(),
            ..Image::default()
        };
        let device_names = vec!["/dev/sda1".to_owned(), "/dev/sdc".to_owned()];
        Ok(storage::DescribeBundleResponse { image: Some(image), device_names })
    }
}
