use tonic::Status;
use vmint_api::{
    catalog::v1::QueryImagesRequest,
    gateway::v1::{ListImagesRequest, ListImagesResponse},
    permissions::v1::ImageAction,
};
use vmint_rpc::{Caller, Retry, retry};

use super::{Gateway, find_image::on_behalf, find_image::shown, has_ended};

impl Gateway {
    /// One page of the images `caller` may see. The catalog finds them by hints;
    /// permissions decide, as of now, what goes out.
    pub(crate) async fn list_images(
        &self,
        caller: &Caller,
        request: ListImagesRequest,
    ) -> Result<ListImagesResponse, Status> {
        let query = QueryImagesRequest {
            account_id: caller.account.clone(),
            owners: request.owners,
            filters: request.filters,
            include_ended: request.include_ended,
            page_size: request.page_size,
            page_token: request.page_token,
            executable_by: request.executable_by,
        };
        let catalog = self.peers.catalog(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut catalog, query) = (catalog.clone(), query.clone());
            async move { catalog.query_images(query).await }
        });
        let page = answer.await?.into_inner();
        let ids = page.images.iter().map(|i| i.image_id.clone()).collect::<Vec<_>>();
        let checks = if ids.is_empty() {
            Vec::new()
        } else {
            self.check(caller, ImageAction::Describe, &ids).await?
        };
        let images = page.images.into_iter().zip(checks);
        let images = images
            .filter(|(image, check)| {
                check.visible || (has_ended(image) && image.owner_id == caller.account)
            })
            .map(|(image, check)| shown(caller, image, &check))
            .collect();
        Ok(ListImagesResponse { images, next_page_token: page.next_page_token })
    }
}
