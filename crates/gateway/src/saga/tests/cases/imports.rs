//! Images made of files: disks, and bundles.

use tonic::Status;
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1 as pb,
    storage::v1::{DiskSource, TransferState, disk_source::Source},
};

use crate::{ops::Gateway, testing::owner};

pub(super) async fn import(gateway: Gateway) -> Result<(), Status> {
    let source = Source::Url("https://example.org/disk.qcow2".to_owned());
    let disk = pb::ImportImageDisk {
        source: Some(DiskSource { source: Some(source), ..DiskSource::default() }),
        device_name: String::new(),
    };
    let request = pb::ImportImageRequest {
        image: Some(Image { name: "brought in".to_owned(), ..Image::default() }),
        disks: vec![disk.clone(), disk],
        request_id: "import-1".to_owned(),
        ..Default::default()
    };
    let answer = gateway.import_image(&owner(), request).await?;
    let (image, task) = (answer.image.unwrap(), answer.task.unwrap());
    assert_eq!(image.state(), ImageState::Pending);
    assert_eq!(task.state(), TransferState::Active);
    assert_eq!(task.image_id, image.image_id);
    assert_eq!(image.root_device_name, "/dev/sda1");
    assert_eq!(image.block_device_mappings[1].device_name, "/dev/sdb");
    Ok(())
}

pub(super) async fn load(gateway: Gateway) -> Result<(), Status> {
    let request = pb::LoadImageRequest {
        upload_id: "upload-0123456789abcdef0".to_owned(),
        name: "bundled".to_owned(),
        request_id: "load-1".to_owned(),
    };
    let answer = gateway.load_image(&owner(), request).await?;
    let (image, task) = (answer.image.unwrap(), answer.task.unwrap());
    assert_eq!(image.name, "bundled");
    assert_eq!(task.image_id, image.image_id);
    let disks = &image.block_device_mappings;
    let made: Vec<_> = task.disks.iter().map(|disk| disk.snapshot_id.as_str()).collect();
    // The root, an empty disk, and the bundle's other disk.
    let snapshot = |n: usize| disks[n].ebs.as_ref().unwrap().snapshot_id.as_str();
    assert_eq!([snapshot(0), snapshot(2)], made[..]);
    assert_eq!(snapshot(1), "");
    let from = |n: usize| task.disks[n].source.as_ref().unwrap().disk_index;
    assert_eq!([from(0), from(1)], [Some(0), Some(1)]);
    let last = disks[2].ebs.as_ref().unwrap();
    assert_eq!((last.volume_type.as_str(), last.iops), ("io2", 4000));
    assert_eq!((task.encrypted, task.kms_key_id.as_str()), (true, "kms-0123456789abcdef0"));
    Ok(())
}

pub(in crate::saga::tests) async fn package(gateway: Gateway) -> Result<(), Status> {
    let disk = |source: Source, device: &str| pb::ImportImageDisk {
        source: Some(DiskSource { source: Some(source), ..DiskSource::default() }),
        device_name: device.to_owned(),
    };
    let upload = Source::UploadId("upload-00000000000000003".to_owned());
    let url = Source::Url("https://example.org/more.ova".to_owned());
    let request = pb::ImportImageRequest {
        image: Some(Image { name: "of a package".to_owned(), ..Image::default() }),
        disks: vec![disk(upload, "/dev/xvda"), disk(url, "")],
        request_id: "package-1".to_owned(),
        ..Default::default()
    };
    let answer = gateway.import_image(&owner(), request).await?;
    let (image, task) = (answer.image.unwrap(), answer.task.unwrap());
    let devices = image.block_device_mappings.iter().map(|disk| disk.device_name.as_str());
    assert_eq!(devices.collect::<Vec<_>>(), ["/dev/xvda", "/dev/sdb", "/dev/sdc", "/dev/sdd"]);
    assert_eq!(image.root_device_name, "/dev/xvda");
    let from = task.disks.iter().map(|disk| disk.source.as_ref().unwrap().disk_index);
    assert_eq!(from.collect::<Vec<_>>(), [Some(0), Some(1), Some(2), None]);
    let snapshot = |n: usize| image.block_device_mappings[n].ebs.clone().unwrap().snapshot_id;
    assert!((0..4).all(|n| task.disks[n].snapshot_id == snapshot(n)));
    Ok(())
}
