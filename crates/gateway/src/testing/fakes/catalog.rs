use tonic::{Request, Response, Status};
use vmint_api::catalog::v1::{
    self as catalog, ImageState, catalog_internal_service_server::CatalogInternalService,
};
use vmint_rpc::Kind;

use super::{Fake, fake, once};
use crate::testing::world::refuse;

fake! {
    CatalogInternalService, catalog, "catalog", "catalog-internal";
    ensure_image("EnsureImage" EnsureImageRequest) -> EnsureImageResponse |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let mut image = request.image.unwrap();
        if let Some(known) = world.images.get(&image.image_id) {
            return Ok(catalog::EnsureImageResponse { image: Some(known.clone()) });
        }
        let taken = world.images.values().any(|other| {
            other.name == image.name
                && other.owner_id == image.owner_id
                && matches!(other.state(), ImageState::Available | ImageState::Pending)
        });
        if taken {
            return Err(refuse(Kind::AlreadyExists, "IMAGE_NAME_TAKEN", "catalog.vmint"));
        }
        let whole = request.available;
        image.set_state(if whole { ImageState::Available } else { ImageState::Pending });
        world.made_by.insert(image.image_id.clone(), saga);
        world.images.insert(image.image_id.clone(), image.clone());
        Ok(catalog::EnsureImageResponse { image: Some(image) })
    }
    ensure_image_state("EnsureImageState" EnsureImageStateRequest) -> EnsureImageStateResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let not_found = || refuse(Kind::NotFound, "IMAGE_NOT_FOUND", "catalog.vmint");
        let image = world.images.get_mut(&request.image_id).ok_or_else(not_found)?;
        if image.state() == ImageState::Pending {
            image.state = request.state;
            image.progress_percent = request.progress_percent;
            image.state_reason = request.state_reason;
            image.state_reason_code = request.state_reason_code;
            image.product_codes.extend(request.product_codes);
            image.product_codes.dedup();
        }
        Ok(catalog::EnsureImageStateResponse { image: Some(image.clone()) })
    }
    release_image("ReleaseImage" ReleaseImageRequest) -> ReleaseImageResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let own = world.made_by.get(&request.image_id) == Some(&saga);
        let goes = |image: &catalog::Image| {
            image.state() == ImageState::Pending || image.state() == ImageState::Available && own
        };
        if world.images.get(&request.image_id).is_some_and(goes) {
            world.images.remove(&request.image_id);
        }
        Ok(catalog::ReleaseImageResponse {})
    }
    ensure_deregistered("EnsureDeregistered" EnsureDeregisteredRequest)
        -> EnsureDeregisteredResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get_mut(&request.image_id).unwrap();
        assert_eq!(image.owner_id, request.account_id);
        image.set_state(ImageState::Deregistered);
        Ok(catalog::EnsureDeregisteredResponse { image: Some(image.clone()) })
    }
    ensure_product_codes("EnsureProductCodes" EnsureProductCodesRequest)
        -> EnsureProductCodesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get_mut(&request.image_id).unwrap();
        image.product_codes.extend(request.product_codes);
        image.product_codes.dedup();
        Ok(catalog::EnsureProductCodesResponse { image: Some(image.clone()) })
    }
    pin_image("PinImage" PinImageRequest) -> PinImageResponse |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get(&request.image_id).cloned().unwrap_or_default();
        if image.state() != ImageState::Available {
            return Err(refuse(Kind::Precondition, "IMAGE_NOT_AVAILABLE", "catalog.vmint"));
        }
        world.pins.insert((saga, request.image_id));
        Ok(catalog::PinImageResponse { image: Some(image) })
    }
    unpin_image("UnpinImage" UnpinImageRequest) -> UnpinImageResponse |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        world.pins.remove(&(saga, request.image_id));
        Ok(catalog::UnpinImageResponse {})
    }
    ensure_visibility_hint("EnsureVisibilityHint" EnsureVisibilityHintRequest)
        -> EnsureVisibilityHintResponse
    |world, caller, request| {
        world.hints.insert(request.image_id, request.account_ids);
        Ok(catalog::EnsureVisibilityHintResponse {})
    }
    ensure_viewer_tags("EnsureViewerTags" EnsureViewerTagsRequest) -> EnsureViewerTagsResponse
    |world, caller, request| {
        assert!(world.images.contains_key(&request.image_id));
        Ok(catalog::EnsureViewerTagsResponse { tags: request.put_tags })
    }
    batch_get_images("BatchGetImages" BatchGetImagesRequest) -> BatchGetImagesResponse
    |world, caller, request| {
        let images = request.image_ids.iter().filter_map(|id| world.images.get(id).cloned());
        let hinted_image_ids = Vec::new();
        Ok(catalog::BatchGetImagesResponse { images: images.collect(), hinted_image_ids })
    }
    query_images("QueryImages" QueryImagesRequest) -> QueryImagesResponse |world, caller, request| {
        let own = request.owners.iter().any(|owner| owner == "self");
        let named = request.filters.iter().find(|f| f.name == "name").map(|f| f.values.clone());
        let images = world.images.values().filter(|image| {
            (!own || image.owner_id == request.account_id)
                && named.as_ref().is_none_or(|names| names.contains(&image.name))
                && (request.include_ended || image.state() != ImageState::Deregistered)
        });
        let next_page_token = String::new();
        Ok(catalog::QueryImagesResponse { images: images.cloned().collect(), next_page_token })
    }
}
