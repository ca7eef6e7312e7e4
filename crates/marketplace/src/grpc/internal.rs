//! What only our own services may ask.

use tonic::Request;
use vmint_api::marketplace::v1 as pb;
use vmint_api::marketplace::v1::marketplace_internal_service_server::MarketplaceInternalService;

use super::{Answer, answer, convert};
use crate::Marketplace;

/// Serves a [`Marketplace`] to sagas.
#[derive(Debug, Clone)]
pub struct Internal {
    market: Marketplace,
}

impl Internal {
    #[must_use]
    pub fn new(market: Marketplace) -> Self {
        Self { market }
    }
}

#[tonic::async_trait]
impl MarketplaceInternalService for Internal {
    async fn hold_entitlement(
        &self,
        request: Request<pb::HoldEntitlementRequest>,
    ) -> Answer<pb::HoldEntitlementResponse> {
        let work = async {
            let agreements = self.market.hold(convert::new_hold(request.get_ref())?).await?;
            let agreements = agreements.into_iter().map(Into::into).collect();
            Ok(pb::HoldEntitlementResponse { agreements })
        };
        answer(work.await)
    }

    async fn confirm_hold(
        &self,
        request: Request<pb::ConfirmHoldRequest>,
    ) -> Answer<pb::ConfirmHoldResponse> {
        let work = async {
            self.market.confirm_hold(convert::step(request.into_inner().saga)?).await?;
            Ok(pb::ConfirmHoldResponse {})
        };
        answer(work.await)
    }

    async fn release_hold(
        &self,
        request: Request<pb::ReleaseHoldRequest>,
    ) -> Answer<pb::ReleaseHoldResponse> {
        let work = async {
            self.market.release_hold(convert::step(request.into_inner().saga)?).await?;
            Ok(pb::ReleaseHoldResponse {})
        };
        answer(work.await)
    }

    async fn release_account(
        &self,
        request: Request<pb::ReleaseAccountRequest>,
    ) -> Answer<pb::ReleaseAccountResponse> {
        let request = request.into_inner();
        let work = async {
            let account = convert::account(&request.account_id)?;
            let step = convert::step(request.saga)?;
            Ok(pb::ReleaseAccountResponse {
                more: self.market.release_account(step, account).await?,
            })
        };
        answer(work.await)
    }

    async fn batch_get_products(
        &self,
        request: Request<pb::BatchGetProductsRequest>,
    ) -> Answer<pb::BatchGetProductsResponse> {
        let codes = convert::codes(&request.get_ref().product_codes);
        let products = codes.and_then(|codes| self.market.products(&codes));
        answer(products.map(|products| pb::BatchGetProductsResponse {
            products: products.into_iter().map(Into::into).collect(),
        }))
    }
}
