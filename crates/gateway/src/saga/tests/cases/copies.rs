//! What is asked for copies.

use super::*;

pub(super) async fn copy(gateway: Gateway) -> Result<(), Status> {
    let request = pb::CopyImageRequest {
        source_image_id: IMAGE.to_owned(),
        request_id: "copy-1".to_owned(),
        ..pb::CopyImageRequest::default()
    };
    let image = gateway.copy_image(&owner(), request).await?.image.unwrap();
    assert_eq!(image.state(), ImageState::Pending);
    assert_ne!(image.block_device_mappings[0].ebs.as_ref().unwrap().snapshot_id, SNAPSHOT);
    Ok(())
}

pub(super) async fn fetch(gateway: Gateway) -> Result<(), Status> {
    let request = pb::CopyImageRequest {
        source_image_id: IMAGE.to_owned(),
        source_region: "far".to_owned(),
        request_id: "fetch-1".to_owned(),
        ..pb::CopyImageRequest::default()
    };
    let image = gateway.copy_image(&owner(), request).await?.image.unwrap();
    assert_eq!((image.owner_id.as_str(), image.state()), (OWNER, ImageState::Pending));
    assert_ne!(image.block_device_mappings[0].ebs.as_ref().unwrap().snapshot_id, SNAPSHOT);
    Ok(())
}
