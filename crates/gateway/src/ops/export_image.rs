use tonic::Status;
use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{ExportImageRequest, ExportImageResponse},
    storage::v1::StartImageExportRequest,
};
use vmint_rpc::Caller;

use super::{Gateway, asked, find_image::state_name};
use crate::GatewayError;

impl Gateway {
    /// Begins to write an image of the caller's own into a bucket. Storage
    /// makes a repeated call the same task.
    pub(crate) async fn export_image(
        &self,
        caller: &Caller,
        request: ExportImageRequest,
    ) -> Result<ExportImageResponse, Status> {
        // Held to the bounds of every request, though no saga keeps it.
        let asked = asked(caller, "ExportImage", &request.request_id, &request)?;
        let image = self.own_image(caller, &request.image_id).await?;
        if image.state() != ImageState::Available {
            let (id, state) = (image.image_id.clone(), state_name(image.state()));
            return Err(GatewayError::NotAvailable { id, state }.into());
        }
        let request = StartImageExportRequest {
            account_id: caller.account.clone(),
            image: Some(image),
            format: request.format,
            bucket: request.bucket,
            prefix: request.prefix,
            description: request.description,
            tags: request.tags,
            request_id: asked.request_id,
        };
        let gateway = Caller::service(vmint_rpc::GATEWAY);
        let answer = self.peers.bundles(&gateway).start_image_export(request).await?;
        Ok(ExportImageResponse { task: answer.into_inner().task })
    }
}
