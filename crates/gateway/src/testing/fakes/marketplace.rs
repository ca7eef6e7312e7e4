use tonic::{Request, Response, Status};
use vmint_api::marketplace::v1::{
    self as marketplace, marketplace_internal_service_server::MarketplaceInternalService,
    marketplace_service_server::MarketplaceService,
};
use vmint_rpc::Kind;

use super::{Fake, fake, no_such_call, once};
use crate::testing::world::refuse;

fake! {
    MarketplaceInternalService, marketplace, "marketplace", "marketplace-internal";
    hold_entitlement("HoldEntitlement" HoldEntitlementRequest) -> HoldEntitlementResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        if !world.subscribed.contains(&request.buyer_id) {
            let reason = "SUBSCRIPTION_REQUIRED";
            return Err(refuse(Kind::Precondition, reason, "marketplace.vmint"));
        }
        world.holds.entry(saga).or_insert(false);
        Ok(marketplace::HoldEntitlementResponse { agreements: Vec::new() })
    }
    confirm_hold("ConfirmHold" ConfirmHoldRequest) -> ConfirmHoldResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        let expired = || refuse(Kind::Precondition, "HOLD_EXPIRED", "marketplace.vmint");
        *world.holds.get_mut(&saga).ok_or_else(expired)? = true;
        Ok(marketplace::ConfirmHoldResponse {})
    }
    release_hold("ReleaseHold" ReleaseHoldRequest) -> ReleaseHoldResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        world.holds.remove(&saga);
        Ok(marketplace::ReleaseHoldResponse {})
    }
    release_account("ReleaseAccount" ReleaseAccountRequest) -> ReleaseAccountResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        let before = world.products.len();
        world.products.retain(|_, seller| *seller != request.account_id);
        Ok(marketplace::ReleaseAccountResponse { more: world.products.len() < before })
    }
    batch_get_products("BatchGetProducts" BatchGetProductsRequest) -> BatchGetProductsResponse
    |_world, caller, _request| { Ok(marketplace::BatchGetProductsResponse::default()) }
}

fake! {
    MarketplaceService, marketplace, "marketplace", "marketplace";
    create_product("CreateProduct" CreateProductRequest) -> CreateProductResponse
    |_world, caller, _request| { no_such_call() }
    get_product("GetProduct" GetProductRequest) -> GetProductResponse |world, caller, request| {
        let not_found = || refuse(Kind::NotFound, "PRODUCT_NOT_FOUND", "marketplace.vmint");
        let seller_id = world.products.get(&request.product_code).ok_or_else(not_found)?.clone();
        let product_code = request.product_code;
        let product =
            marketplace::Product { product_code, seller_id, ..marketplace::Product::default() };
        Ok(marketplace::GetProductResponse { product: Some(product) })
    }
    list_products("ListProducts" ListProductsRequest) -> ListProductsResponse
    |_world, caller, _request| { no_such_call() }
    subscribe("Subscribe" SubscribeRequest) -> SubscribeResponse
    |_world, caller, _request| { no_such_call() }
    cancel_agreement("CancelAgreement" CancelAgreementRequest) -> CancelAgreementResponse
    |_world, caller, _request| { no_such_call() }
    list_agreements("ListAgreements" ListAgreementsRequest) -> ListAgreementsResponse
    |_world, caller, _request| { no_such_call() }
    list_meters("ListMeters" ListMetersRequest) -> ListMetersResponse
    |_world, caller, _request| { no_such_call() }
    list_ledger_entries("ListLedgerEntries" ListLedgerEntriesRequest) -> ListLedgerEntriesResponse
    |_world, caller, _request| { no_such_call() }
    audit_ledger("AuditLedger" AuditLedgerRequest) -> AuditLedgerResponse
    |_world, caller, _request| { no_such_call() }
}
