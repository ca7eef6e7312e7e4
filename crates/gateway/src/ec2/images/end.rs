use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::DeregisterImageRequest,
};
use vmint_ec2::{Code, Error, Operation, Xml};
use vmint_ids::ImageKind;

use crate::ec2::{Call, entry::Answer};

pub(super) const DEREGISTER: Operation =
    Operation::new("DeregisterImage", &["ImageId!", "DeleteAssociatedSnapshots"]);

pub(super) async fn deregister_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let id = params.need_id::<ImageKind>("ImageId")?.to_string();
    let delete_snapshots = params.flag("DeleteAssociatedSnapshots")?.unwrap_or(false);
    let image = gateway.get_image(caller, &id).await?;
    if image.state() == ImageState::Deregistered {
        let text = format!("The image ID '{id}' is no longer available");
        return Err(Error::new(Code::InvalidAmiIdUnavailable, text).into());
    }
    let request =
        DeregisterImageRequest { image_id: id, delete_snapshots, request_id, dry_run: false };
    let answer = gateway.deregister_image(caller, request).await?;
    let mut xml = Xml::done();
    if delete_snapshots {
        let deleted = &answer.deleted_snapshot_ids;
        xml.items("deleteSnapshotResultSet", snapshots(answer.image.as_ref()), |xml, snapshot| {
            // Another image needs it.
            let code = if deleted.contains(&snapshot) { "success" } else { "skipped" };
            xml.text("snapshotId", snapshot).text("returnCode", code);
        });
    }
    Ok(xml)
}

fn snapshots(image: Option<&Image>) -> Vec<String> {
    let disks = image.into_iter().flat_map(|image| &image.block_device_mappings);
    let ids = disks.filter_map(|disk| Some(disk.ebs.as_ref()?.snapshot_id.clone()));
    let mut ids = ids.filter(|id| !id.is_empty()).collect::<Vec<_>>();
    ids.sort_unstable();
    ids.dedup();
    ids
}
