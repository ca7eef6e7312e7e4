//! What only our own services may ask.

use tonic::{Request, Status};
use vmint_api::catalog::v1 as pb;
use vmint_api::catalog::v1::catalog_internal_service_server::CatalogInternalService;
use vmint_rpc::to_status;

use super::{
    Answer,
    convert::{self, Listing},
    image,
};
use crate::{Catalog, CatalogError as E, Image, Result};

/// Serves a [`Catalog`] to sagas and joins.
#[derive(Debug, Clone)]
pub struct Internal {
    pub(super) catalog: Catalog,
}

impl Internal {
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }

    fn message(&self, image: Image) -> Result<Option<pb::Image>> {
        Ok(Some(self.catalog.listed(image)?.into()))
    }
}

fn answer<T>(result: Result<T>) -> std::result::Result<tonic::Response<T>, Status> {
    result.map(tonic::Response::new).map_err(|e| to_status(&e))
}

#[tonic::async_trait]
impl CatalogInternalService for Internal {
    async fn ensure_image(
        &self,
        request: Request<pb::EnsureImageRequest>,
    ) -> Answer<pb::EnsureImageResponse> {
        let request = request.into_inner();
        let work = async {
            let step = convert::step(request.saga)?;
            let image = request.image.ok_or(E::Missing { field: "image" })?;
            let new = image::new_image(image, request.available)?;
            let image = self.message(self.catalog.ensure_image(step, new).await?)?;
            Ok(pb::EnsureImageResponse { image })
        };
        answer(work.await)
    }

    async fn ensure_image_state(
        &self,
        request: Request<pb::EnsureImageStateRequest>,
    ) -> Answer<pb::EnsureImageStateResponse> {
        let request = request.into_inner();
        let work = async {
            let progress = convert::progress(&request)?;
            let codes = image::codes(&request.product_codes)?;
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            let image = self.catalog.ensure_state(step, id, progress, codes).await?;
            Ok(pb::EnsureImageStateResponse { image: self.message(image)? })
        };
        answer(work.await)
    }

    async fn release_image(
        &self,
        request: Request<pb::ReleaseImageRequest>,
    ) -> Answer<pb::ReleaseImageResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            self.catalog.release(step, id).await?;
            Ok(pb::ReleaseImageResponse {})
        };
        answer(work.await)
    }

    async fn ensure_deregistered(
        &self,
        request: Request<pb::EnsureDeregisteredRequest>,
    ) -> Answer<pb::EnsureDeregisteredResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            let owner = convert::account("account_id", &request.account_id)?;
            let image = self.catalog.deregister(step, id, owner).await?;
            Ok(pb::EnsureDeregisteredResponse { image: self.message(image)? })
        };
        answer(work.await)
    }

    async fn ensure_product_codes(
        &self,
        request: Request<pb::EnsureProductCodesRequest>,
    ) -> Answer<pb::EnsureProductCodesResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            let owner = convert::account("account_id", &request.account_id)?;
            let codes = image::codes(&request.product_codes)?;
            let image = self.catalog.ensure_codes(step, id, owner, codes).await?;
            Ok(pb::EnsureProductCodesResponse { image: self.message(image)? })
        };
        answer(work.await)
    }

    async fn pin_image(
        &self,
        request: Request<pb::PinImageRequest>,
    ) -> Answer<pb::PinImageResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            let image = self.catalog.pin(step, id, convert::lease(request.lease)?).await?;
            Ok(pb::PinImageResponse { image: self.message(image)? })
        };
        answer(work.await)
    }

    async fn unpin_image(
        &self,
        request: Request<pb::UnpinImageRequest>,
    ) -> Answer<pb::UnpinImageResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, id) = (convert::step(request.saga)?, convert::image_id(&request.image_id)?);
            self.catalog.unpin(step, id).await?;
            Ok(pb::UnpinImageResponse {})
        };
        answer(work.await)
    }

    async fn ensure_visibility_hint(
        &self,
        request: Request<pb::EnsureVisibilityHintRequest>,
    ) -> Answer<pb::EnsureVisibilityHintResponse> {
        let request = request.into_inner();
        let work = async {
            let id = convert::image_id(&request.image_id)?;
            let accounts = convert::hint_accounts(&request.account_ids)?;
            self.catalog.ensure_hint(id, request.public, accounts, request.revision).await?;
            Ok(pb::EnsureVisibilityHintResponse {})
        };
        answer(work.await)
    }

    async fn ensure_viewer_tags(
        &self,
        request: Request<pb::EnsureViewerTagsRequest>,
    ) -> Answer<pb::EnsureViewerTagsResponse> {
        let work = async {
            let change = convert::viewer_tags(request.into_inner())?;
            let tags = image::tags(&self.catalog.tag_as_viewer(change).await?);
            Ok(pb::EnsureViewerTagsResponse { tags })
        };
        answer(work.await)
    }

    async fn batch_get_images(
        &self,
        request: Request<pb::BatchGetImagesRequest>,
    ) -> Answer<pb::BatchGetImagesResponse> {
        let ids = convert::ids(&request.get_ref().image_ids);
        let viewer = match request.get_ref().account_id.as_str() {
            "" => None,
            text => Some(convert::account("account_id", text).map_err(|e| to_status(&e))?),
        };
        let Some(viewer) = viewer else {
            let found = ids.and_then(|ids| self.catalog.batch_get(&ids));
            return answer(found.map(|found| pb::BatchGetImagesResponse {
                images: found.into_iter().map(Into::into).collect(),
                ..pb::BatchGetImagesResponse::default()
            }));
        };
        let found = ids.and_then(|ids| self.catalog.batch_get_for(&ids, viewer));
        answer(found.map(|found| {
            let hinted = found.iter().filter(|one| one.hinted);
            let hinted_image_ids = hinted.map(|one| one.listed.image.id.to_string()).collect();
            let images = found.into_iter().map(|one| one.listed.into()).collect();
            pb::BatchGetImagesResponse { images, hinted_image_ids }
        }))
    }

    async fn query_images(
        &self,
        request: Request<pb::QueryImagesRequest>,
    ) -> Answer<pb::QueryImagesResponse> {
        let work = async {
            let listing = Listing::read(request.into_inner())?;
            let page = self.catalog.query(listing.query.clone()).await?;
            Ok(listing.answer(page))
        };
        answer(work.await)
    }
}
