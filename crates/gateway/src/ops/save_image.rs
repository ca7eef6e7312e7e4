use tonic::Status;
use vmint_api::{
    gateway::v1::{SaveImageRequest, SaveImageResponse},
    storage::v1::StartBundleExportRequest,
};
use vmint_rpc::Caller;

use super::{Gateway, asked, has_ended};
use crate::GatewayError;

impl Gateway {
    /// Begins to write an image of the caller's own as a bundle or an
    /// OVA. Storage makes a repeated call the same task.
    pub(crate) async fn save_image(
        &self,
        caller: &Caller,
        request: SaveImageRequest,
    ) -> Result<SaveImageResponse, Status> {
        // Held to the bounds of every request, though no saga keeps it.
        let asked = asked(caller, "SaveImage", &request.request_id, &request)?;
        let image = self.own_image(caller, &request.image_id).await?;
        if has_ended(&image) {
            let why = "it has ended: save it while it can be launched".to_owned();
            return Err(GatewayError::invalid("image_id", why).into());
        }
        let request = StartBundleExportRequest {
            account_id: caller.account.clone(),
            image: Some(image),
            request_id: asked.request_id,
            format: request.format,
        };
        let gateway = Caller::service(vmint_rpc::GATEWAY);
        let answer = self.peers.bundles(&gateway).start_bundle_export(request).await?;
        Ok(SaveImageResponse { task: answer.into_inner().task })
    }
}
