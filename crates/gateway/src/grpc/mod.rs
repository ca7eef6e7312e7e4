//! The gateway's own service over gRPC: read the request, call one verb, write
//! the answer.

mod region;

use tonic::{Request, Response, Status};
use vmint_api::gateway::v1 as pb;
use vmint_api::gateway::v1::gateway_service_server::GatewayService;
use vmint_rpc::Caller;

use crate::ops::{Gateway, Watch};

/// Serves a [`Gateway`].
#[derive(Debug, Clone)]
pub(crate) struct Grpc {
    pub(crate) gateway: Gateway,
}

macro_rules! forward {
    ($self:ident, $request:ident, $verb:ident) => {{
        let caller = Caller::of_account(&$request)?.clone();
        let answer = $self.gateway.$verb(&caller, $request.into_inner()).await?;
        Ok(Response::new(answer))
    }};
}

#[tonic::async_trait]
impl GatewayService for Grpc {
    async fn register_image(
        &self,
        request: Request<pb::RegisterImageRequest>,
    ) -> Result<Response<pb::RegisterImageResponse>, Status> {
        forward!(self, request, register_image)
    }

    async fn import_image(
        &self,
        request: Request<pb::ImportImageRequest>,
    ) -> Result<Response<pb::ImportImageResponse>, Status> {
        forward!(self, request, import_image)
    }

    async fn save_image(
        &self,
        request: Request<pb::SaveImageRequest>,
    ) -> Result<Response<pb::SaveImageResponse>, Status> {
        forward!(self, request, save_image)
    }

    async fn load_image(
        &self,
        request: Request<pb::LoadImageRequest>,
    ) -> Result<Response<pb::LoadImageResponse>, Status> {
        forward!(self, request, load_image)
    }

    async fn export_image(
        &self,
        request: Request<pb::ExportImageRequest>,
    ) -> Result<Response<pb::ExportImageResponse>, Status> {
        forward!(self, request, export_image)
    }

    async fn restore_image(
        &self,
        request: Request<pb::RestoreImageRequest>,
    ) -> Result<Response<pb::RestoreImageResponse>, Status> {
        forward!(self, request, restore_image)
    }

    async fn get_image(
        &self,
        request: Request<pb::GetImageRequest>,
    ) -> Result<Response<pb::GetImageResponse>, Status> {
        let caller = Caller::of_account(&request)?.clone();
        let image = self.gateway.get_image(&caller, &request.get_ref().image_id).await?;
        Ok(Response::new(pb::GetImageResponse { image: Some(image) }))
    }

    async fn list_images(
        &self,
        request: Request<pb::ListImagesRequest>,
    ) -> Result<Response<pb::ListImagesResponse>, Status> {
        forward!(self, request, list_images)
    }

    type WatchImageStream = Watch;

    async fn watch_image(
        &self,
        request: Request<pb::WatchImageRequest>,
    ) -> Result<Response<Watch>, Status> {
        let caller = Caller::of_account(&request)?.clone();
        let stream = self.gateway.watch_image(&caller, &request.get_ref().image_id).await?;
        Ok(Response::new(stream))
    }

    async fn create_image(
        &self,
        request: Request<pb::CreateImageRequest>,
    ) -> Result<Response<pb::CreateImageResponse>, Status> {
        forward!(self, request, create_image)
    }

    async fn copy_image(
        &self,
        request: Request<pb::CopyImageRequest>,
    ) -> Result<Response<pb::CopyImageResponse>, Status> {
        forward!(self, request, copy_image)
    }

    async fn deregister_image(
        &self,
        request: Request<pb::DeregisterImageRequest>,
    ) -> Result<Response<pb::DeregisterImageResponse>, Status> {
        forward!(self, request, deregister_image)
    }

    async fn modify_launch_permission(
        &self,
        request: Request<pb::ModifyLaunchPermissionRequest>,
    ) -> Result<Response<pb::ModifyLaunchPermissionResponse>, Status> {
        forward!(self, request, modify_launch_permission)
    }

    async fn tag_image(
        &self,
        request: Request<pb::TagImageRequest>,
    ) -> Result<Response<pb::TagImageResponse>, Status> {
        forward!(self, request, tag_image)
    }

    async fn add_product_code(
        &self,
        request: Request<pb::AddProductCodeRequest>,
    ) -> Result<Response<pb::AddProductCodeResponse>, Status> {
        forward!(self, request, add_product_code)
    }

    async fn run_instances(
        &self,
        request: Request<pb::RunInstancesRequest>,
    ) -> Result<Response<pb::RunInstancesResponse>, Status> {
        forward!(self, request, run_instances)
    }

    async fn terminate_instances(
        &self,
        request: Request<pb::TerminateInstancesRequest>,
    ) -> Result<Response<pb::TerminateInstancesResponse>, Status> {
        forward!(self, request, terminate_instances)
    }

    async fn attach_volume(
        &self,
        request: Request<pb::AttachVolumeRequest>,
    ) -> Result<Response<pb::AttachVolumeResponse>, Status> {
        forward!(self, request, attach_volume)
    }

    async fn detach_volume(
        &self,
        request: Request<pb::DetachVolumeRequest>,
    ) -> Result<Response<pb::DetachVolumeResponse>, Status> {
        forward!(self, request, detach_volume)
    }

    async fn modify_volume_attachment(
        &self,
        request: Request<pb::ModifyVolumeAttachmentRequest>,
    ) -> Result<Response<pb::ModifyVolumeAttachmentResponse>, Status> {
        forward!(self, request, modify_volume_attachment)
    }

    async fn modify_snapshot_permission(
        &self,
        request: Request<pb::ModifySnapshotPermissionRequest>,
    ) -> Result<Response<pb::ModifySnapshotPermissionResponse>, Status> {
        forward!(self, request, modify_snapshot_permission)
    }

    async fn get_snapshot_permission(
        &self,
        request: Request<pb::GetSnapshotPermissionRequest>,
    ) -> Result<Response<pb::GetSnapshotPermissionResponse>, Status> {
        forward!(self, request, get_snapshot_permission)
    }

    async fn reset_snapshot_permission(
        &self,
        request: Request<pb::ResetSnapshotPermissionRequest>,
    ) -> Result<Response<pb::ResetSnapshotPermissionResponse>, Status> {
        forward!(self, request, reset_snapshot_permission)
    }

    async fn put_parameter(
        &self,
        request: Request<pb::PutParameterRequest>,
    ) -> Result<Response<pb::PutParameterResponse>, Status> {
        forward!(self, request, put_parameter)
    }

    async fn purge_account(
        &self,
        request: Request<pb::PurgeAccountRequest>,
    ) -> Result<Response<pb::PurgeAccountResponse>, Status> {
        forward!(self, request, purge_account)
    }

    async fn list_sagas(
        &self,
        _: Request<pb::ListSagasRequest>,
    ) -> Result<Response<pb::ListSagasResponse>, Status> {
        let sagas = self.gateway.list_sagas()?;
        Ok(Response::new(pb::ListSagasResponse { sagas }))
    }
}
