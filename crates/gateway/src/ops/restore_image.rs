use tonic::Status;
use vmint_api::{
    gateway::v1::{RestoreImageRequest, RestoreImageResponse},
    storage::v1::{DescribeBundleRequest, disk_source::Source},
};
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    import_image::{Import, ImportPlan, Step},
    load_image::bundled,
};
use crate::GatewayError;

impl Gateway {
    /// Begins to make an image of a bundle in a bucket; image and task are
    /// under way when this returns.
    pub(crate) async fn restore_image(
        &self,
        caller: &Caller,
        request: RestoreImageRequest,
    ) -> Result<RestoreImageResponse, Status> {
        let asked = asked(caller, "RestoreImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let object = request.object;
                let object =
                    object.ok_or_else(|| GatewayError::invalid("object", "must be set"))?;
                let look = DescribeBundleRequest {
                    account_id: caller.account.clone(),
                    object: Some(object.clone()),
                    ..DescribeBundleRequest::default()
                };
                let gateway = Caller::service(vmint_rpc::GATEWAY);
                let found = self.peers.bundles(&gateway).describe_bundle(look).await?.into_inner();
                let source = Source::Object(object);
                let plan = bundled(caller, &source, request.name, request.tags, found)?;
                let plan = ImportPlan { snapshot_tags: request.snapshot_tags, ..plan };
                let image = plan.image.as_ref().map(|image| image.image_id.clone());
                let subjects = vec![image.unwrap_or_default(), plan.task_id.clone()];
                self.sagas.begin::<Import>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Import>(saga, Step::Own as usize).await?;
        Ok(RestoreImageResponse { image: memo.image, task: memo.task })
    }
}
