//! The marketplace over gRPC: read the request, call one verb, write the answer.

mod convert;
mod internal;
mod messages;

use tonic::{Request, Response, Status};
use vmint_api::marketplace::v1 as pb;
use vmint_api::marketplace::v1::marketplace_service_server::MarketplaceService;
use vmint_rpc::{Caller, to_status};

use crate::{MarketError as E, Marketplace, Result};
use convert::Listing;

pub use internal::Internal;

type Answer<T> = std::result::Result<Response<T>, Status>;

/// Serves a [`Marketplace`] to users, behind the gateway.
#[derive(Debug, Clone)]
pub struct Grpc {
    market: Marketplace,
}

impl Grpc {
    #[must_use]
    pub fn new(market: Marketplace) -> Self {
        Self { market }
    }
}

fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(|e| to_status(&e))
}

#[tonic::async_trait]
impl MarketplaceService for Grpc {
    async fn create_product(
        &self,
        request: Request<pb::CreateProductRequest>,
    ) -> Answer<pb::CreateProductResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let work = async {
            let new = convert::new_product(&caller, request.into_inner())?;
            let product = Some(self.market.create_product(new).await?.into());
            Ok(pb::CreateProductResponse { product })
        };
        answer(work.await)
    }

    async fn get_product(
        &self,
        request: Request<pb::GetProductRequest>,
    ) -> Answer<pb::GetProductResponse> {
        let code = convert::code(&request.get_ref().product_code);
        let product = code.and_then(|code| self.market.product(&code));
        answer(product.map(|p| pb::GetProductResponse { product: Some(p.into()) }))
    }

    async fn list_products(
        &self,
        request: Request<pb::ListProductsRequest>,
    ) -> Answer<pb::ListProductsResponse> {
        let caller = Caller::of_account(&request)?;
        let work = || {
            let asked = request.get_ref();
            let listing = Listing::read("products", asked.page_size, &asked.page_token, caller)?;
            let page = self.market.list_products(listing.after(), listing.size())?;
            let next_page_token = listing.token(page.next.as_deref());
            let products = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListProductsResponse { products, next_page_token })
        };
        answer(work())
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Answer<pb::SubscribeResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let request = request.into_inner();
        let work = async {
            let asked = convert::asked(&caller, "Subscribe", &request, &request.request_id)?;
            let code = convert::code(&request.product_code)?;
            let buyer = convert::account(&caller.account)?;
            let agreement = self.market.subscribe(buyer, code, request.accept_terms, asked).await?;
            Ok(pb::SubscribeResponse { agreement: Some(agreement.into()) })
        };
        answer(work.await)
    }

    async fn cancel_agreement(
        &self,
        request: Request<pb::CancelAgreementRequest>,
    ) -> Answer<pb::CancelAgreementResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let request = request.into_inner();
        // To cancel twice is as good as once, so the request id need not be kept.
        let work = async {
            let id = convert::agreement_id(&request.agreement_id)?;
            let agreement = self.market.cancel(id, convert::account(&caller.account)?).await?;
            Ok(pb::CancelAgreementResponse { agreement: Some(agreement.into()) })
        };
        answer(work.await)
    }

    async fn list_agreements(
        &self,
        request: Request<pb::ListAgreementsRequest>,
    ) -> Answer<pb::ListAgreementsResponse> {
        let caller = Caller::of_account(&request)?;
        let work = || {
            let asked = request.get_ref();
            let listing = Listing::read("agreements", asked.page_size, &asked.page_token, caller)?;
            let party = convert::account(&caller.account)?;
            let page = self.market.list_agreements(party, listing.after(), listing.size())?;
            let next_page_token = listing.token(page.next.as_deref());
            let agreements = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListAgreementsResponse { agreements, next_page_token })
        };
        answer(work())
    }

    async fn list_meters(
        &self,
        request: Request<pb::ListMetersRequest>,
    ) -> Answer<pb::ListMetersResponse> {
        let caller = Caller::of_account(&request)?;
        let work = || {
            let asked = request.get_ref();
            let listing = Listing::read("meters", asked.page_size, &asked.page_token, caller)?;
            let party = convert::account(&caller.account)?;
            let page = self.market.list_meters(party, listing.after(), listing.size())?;
            let next_page_token = listing.token(page.next.as_deref());
            let meters = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListMetersResponse { meters, next_page_token })
        };
        answer(work())
    }

    async fn list_ledger_entries(
        &self,
        request: Request<pb::ListLedgerEntriesRequest>,
    ) -> Answer<pb::ListLedgerEntriesResponse> {
        let caller = Caller::of_account(&request)?;
        let work = || {
            let asked = request.get_ref();
            let listing = Listing::read("entries", asked.page_size, &asked.page_token, caller)?;
            let party = convert::account(&caller.account)?;
            let party = (!caller.is_operator()).then_some(party);
            let page = self.market.list_entries(party, listing.after(), listing.size())?;
            let next_page_token = listing.token(page.next.as_deref());
            let entries = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListLedgerEntriesResponse { entries, next_page_token })
        };
        answer(work())
    }

    async fn audit_ledger(
        &self,
        request: Request<pb::AuditLedgerRequest>,
    ) -> Answer<pb::AuditLedgerResponse> {
        let caller = Caller::of(&request)?;
        // The guard has seen to it before, by the policy.
        if !caller.is_operator() && !caller.is_service() {
            return answer(Err(E::OperatorOnly { what: "audit the ledger" }));
        }
        answer(self.market.audit().await.map(Into::into))
    }
}
