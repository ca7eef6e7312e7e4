//! The catalog over gRPC: read the request, call one verb, write the answer.

mod convert;
mod image;
mod internal;
mod parameters;

use tonic::{Request, Response, Status};
use vmint_api::catalog::v1 as pb;
use vmint_api::catalog::v1::catalog_service_server::CatalogService;
use vmint_rpc::{Caller, to_status};

use crate::Catalog;

pub use internal::Internal;

type Answer<T> = Result<Response<T>, Status>;

/// Serves a [`Catalog`] to users, behind the gateway.
#[derive(Debug, Clone)]
pub struct Grpc {
    catalog: Catalog,
}

impl Grpc {
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }
}

#[tonic::async_trait]
impl CatalogService for Grpc {
    async fn update_image(
        &self,
        request: Request<pb::UpdateImageRequest>,
    ) -> Answer<pb::UpdateImageResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let update = convert::update(&caller, request.into_inner()).map_err(|e| to_status(&e))?;
        let image = self.catalog.update(update).await.map_err(|e| to_status(&e))?;
        let image = self.catalog.listed(image).map_err(|e| to_status(&e))?;
        Ok(Response::new(pb::UpdateImageResponse { image: Some(image.into()) }))
    }
}
