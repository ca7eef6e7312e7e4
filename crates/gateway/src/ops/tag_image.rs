use tonic::Status;
use vmint_api::{
    catalog::v1::{EnsureViewerTagsRequest, UpdateImageRequest},
    gateway::v1::{TagImageRequest, TagImageResponse},
    permissions::v1::ImageAction,
};
use vmint_rpc::Caller;

use super::{
    Gateway,
    find_image::{on_behalf, shown},
};

impl Gateway {
    /// Changes the caller's tags on an image that it may see: the image's own
    /// if the caller owns it, else those that only the caller sees.
    pub(crate) async fn tag_image(
        &self,
        caller: &Caller,
        request: TagImageRequest,
    ) -> Result<TagImageResponse, Status> {
        let TagImageRequest { image_id, put_tags, remove_tag_keys, request_id } = request;
        let (mut image, check) = self.find_image(caller, &image_id, ImageAction::Describe).await?;
        let image_id = image.image_id.clone();
        if image.owner_id == caller.account {
            let update = UpdateImageRequest {
                image_id,
                put_tags,
                remove_tag_keys,
                request_id,
                ..UpdateImageRequest::default()
            };
            let answer = self.peers.images(caller).update_image(update).await?.into_inner();
            image = answer.image.unwrap_or(image);
        } else {
            let request = EnsureViewerTagsRequest {
                account_id: caller.account.clone(),
                image_id,
                put_tags,
                remove_tag_keys,
                request_id,
            };
            let catalog = self.peers.catalog(&on_behalf(caller));
            image.tags = { catalog }.ensure_viewer_tags(request).await?.into_inner().tags;
        }
        Ok(TagImageResponse { image: Some(shown(caller, image, &check)) })
    }
}
