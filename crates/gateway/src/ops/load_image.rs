use tonic::Status;
use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{LoadImageRequest, LoadImageResponse},
    storage::v1::{
        DescribeBundleRequest, DescribeBundleResponse, DiskSource, NewImportDisk,
        disk_source::Source,
    },
    types::v1::Tag,
};
use vmint_ids::{ImportImageTaskId, SnapshotId};
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    import_image::{Import, ImportPlan, MAX_DISKS, Step},
    register_image::new_image,
};
use crate::GatewayError;

/// What a bundle is called as a format.
const FORMAT: &str = "bundle";

impl Gateway {
    /// Begins to make an image of a bundle; image and task are under way when
    /// this returns.
    pub(crate) async fn load_image(
        &self,
        caller: &Caller,
        request: LoadImageRequest,
    ) -> Result<LoadImageResponse, Status> {
        let asked = asked(caller, "LoadImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let look = DescribeBundleRequest {
                    account_id: caller.account.clone(),
                    upload_id: request.upload_id.clone(),
                    object: None,
                };
                let gateway = Caller::service(vmint_rpc::GATEWAY);
                let found = self.peers.bundles(&gateway).describe_bundle(look).await?.into_inner();
                let source = Source::UploadId(request.upload_id);
                let plan = bundled(caller, &source, request.name, Vec::new(), found)?;
                let image = plan.image.as_ref().map(|image| image.image_id.clone());
                let subjects = vec![image.unwrap_or_default(), plan.task_id.clone()];
                self.sagas.begin::<Import>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Import>(saga, Step::Own as usize).await?;
        Ok(LoadImageResponse { image: memo.image, task: memo.task })
    }
}

/// An import of the bundle's disks, all from the one file.
pub(super) fn bundled(
    caller: &Caller,
    from: &Source,
    name: String,
    tags: Vec<Tag>,
    found: DescribeBundleResponse,
) -> Result<ImportPlan, GatewayError> {
    let mut image: Image = found.image.unwrap_or_default();
    if found.device_names.len() > MAX_DISKS {
        let why = format!("its bundle has more than {MAX_DISKS} disks");
        return Err(GatewayError::invalid("source", why));
    }
    if !name.is_empty() {
        image.name = name;
    }
    image.tags = tags;
    let (mut disks, mut encrypted, mut kms_key_id) = (Vec::new(), false, String::new());
    for (index, device_name) in (0..).zip(found.device_names) {
        let mut mappings = image.block_device_mappings.iter_mut();
        let mapping = mappings.find(|mapping| mapping.device_name == device_name);
        let ebs = mapping.and_then(|mapping| mapping.ebs.as_mut());
        let ebs = ebs.ok_or_else(|| GatewayError::invalid("source", "a disk has no device"))?;
        ebs.snapshot_id = SnapshotId::random().to_string();
        // What was encrypted becomes nothing less; all disks are under one key.
        encrypted |= ebs.encrypted;
        if kms_key_id.is_empty() {
            kms_key_id.clone_from(&ebs.kms_key_id);
        }
        let source = DiskSource {
            source: Some(from.clone()),
            format: FORMAT.to_owned(),
            disk_index: Some(index),
        };
        let snapshot_id = ebs.snapshot_id.clone();
        disks.push(NewImportDisk { source: Some(source), device_name, snapshot_id });
    }
    let image = new_image(caller, Some(image))?;
    let task_id = ImportImageTaskId::random().to_string();
    let image = Some(image);
    Ok(ImportPlan { image, disks, task_id, encrypted, kms_key_id, ..ImportPlan::default() })
}
