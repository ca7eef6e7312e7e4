//! Products, agreements and holds, over a real socket.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{Running, from, operator, reason, saga, seen, start};
use vmint_api::marketplace::v1 as pb;
use vmint_api::types::v1::Money;
use vmint_marketplace::Marketplace;
use vmint_store::Store;

const SELLER: &str = "100000000001";
const BUYER: &str = "200000000002";
const OTHER: &str = "300000000003";
const INSTANCE: &str = "i-00000000000000001";

fn price(units: i64, picos: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".into(), units, picos })
}

fn offer(title: &str, request_id: &str) -> pb::CreateProductRequest {
    pb::CreateProductRequest {
        title: title.into(),
        description: String::new(),
        price_per_hour: price(0, 100_000_000_000),
        request_id: request_id.into(),
    }
}

async fn offered() -> (Running, String) {
    let mut running = start(Marketplace::open(Store::in_memory(), 0)).await;
    let product = running.users.create_product(from(SELLER, offer("Fine image", ""))).await;
    let code = product.unwrap().into_inner().product.unwrap().product_code;
    (running, code)
}

fn subscribe(code: &str) -> pb::SubscribeRequest {
    pb::SubscribeRequest {
        product_code: code.into(),
        accept_terms: true,
        request_id: String::new(),
    }
}

fn hold(id: &str, buyer: &str, code: &str) -> pb::HoldEntitlementRequest {
    pb::HoldEntitlementRequest {
        saga: saga(id, 1),
        buyer_id: buyer.into(),
        product_codes: vec![code.into()],
        instance_ids: vec![INSTANCE.into()],
        time_to_live: None,
    }
}

#[tokio::test]
async fn products_are_offered_once_and_found() {
    let (mut running, code) = offered().await;
    let first = running.users.create_product(from(SELLER, offer("Two", "1"))).await.unwrap();
    let again = running.users.create_product(from(SELLER, offer("Two", "1"))).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let reused = running.users.create_product(from(SELLER, offer("Three", "1"))).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");

    let get = |code: &str| from(OTHER, pb::GetProductRequest { product_code: code.into() });
    let found = running.users.get_product(get(&code)).await.unwrap().into_inner().product.unwrap();
    assert_eq!(
        (found.seller_id.as_str(), found.price_per_hour),
        (SELLER, price(0, 100_000_000_000))
    );
    let missing = running.users.get_product(get("nothing")).await.unwrap_err();
    assert_eq!(reason(&missing), "PRODUCT_NOT_FOUND");
    let bad = running.users.get_product(get("Not A Code")).await.unwrap_err();
    assert_eq!(reason(&bad), "FIELD_INVALID");

    let codes = vec![code.clone(), "nothing".into(), "Not A Code".into()];
    let batch = pb::BatchGetProductsRequest { product_codes: codes };
    let batch = running.internal.batch_get_products(batch).await.unwrap().into_inner();
    assert_eq!(batch.products.iter().map(|p| &p.product_code).collect::<Vec<_>>(), [&code]);

    for bad in [
        pb::CreateProductRequest { title: String::new(), ..offer("", "") },
        pb::CreateProductRequest { price_per_hour: None, ..offer("x", "") },
        pb::CreateProductRequest { price_per_hour: price(-1, 0), ..offer("x", "") },
        pb::CreateProductRequest { price_per_hour: price(1, -1), ..offer("x", "") },
        pb::CreateProductRequest { price_per_hour: price(0, 1_000_000_000_000), ..offer("x", "") },
        pb::CreateProductRequest { price_per_hour: price(1_000_001, 0), ..offer("x", "") },
        pb::CreateProductRequest {
            price_per_hour: Some(Money { currency_code: "eur".into(), units: 1, picos: 0 }),
            ..offer("x", "")
        },
    ] {
        let refused = running.users.create_product(from(SELLER, bad.clone())).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{bad:?}");
    }
}

#[tokio::test]
async fn pages_of_products_join_up() {
    let (mut running, _) = offered().await;
    for n in 0..6 {
        running.users.create_product(from(SELLER, offer(&format!("n{n}"), ""))).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut request = pb::ListProductsRequest { page_size: 3, ..Default::default() };
    loop {
        let page = running.users.list_products(from(BUYER, request.clone())).await.unwrap();
        let page = page.into_inner();
        seen.extend(page.products.into_iter().map(|p| p.product_code));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        let elsewhere =
            pb::ListMetersRequest { page_token: request.page_token.clone(), ..Default::default() };
        let elsewhere = running.users.list_meters(from(BUYER, elsewhere)).await.unwrap_err();
        assert_eq!(reason(&elsewhere), "PAGE_TOKEN_INVALID");
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn a_launch_needs_an_active_agreement() {
    let (mut running, code) = offered().await;
    let refused = running.internal.hold_entitlement(hold("a", BUYER, &code)).await.unwrap_err();
    let told = seen(&refused);
    assert_eq!(told.reason, "SUBSCRIPTION_REQUIRED");
    assert_eq!(told.metadata["product_code"], code);
    assert_eq!(told.hint.unwrap(), format!("vmint market subscribe {code}"));

    let unread = pb::SubscribeRequest { accept_terms: false, ..subscribe(&code) };
    let unread = running.users.subscribe(from(BUYER, unread)).await.unwrap_err();
    assert_eq!(reason(&unread), "TERMS_NOT_ACCEPTED");
    let first = running.users.subscribe(from(BUYER, subscribe(&code))).await.unwrap().into_inner();
    let again = running.users.subscribe(from(BUYER, subscribe(&code))).await.unwrap().into_inner();
    assert_eq!(first, again, "the agreement there is");
    let held = running.internal.hold_entitlement(hold("a", BUYER, &code)).await.unwrap();
    assert_eq!(held.into_inner().agreements, vec![first.agreement.clone().unwrap()]);

    let agreement_id = first.agreement.unwrap().agreement_id;
    let cancel = |id: &str| pb::CancelAgreementRequest {
        agreement_id: id.into(),
        request_id: String::new(),
    };
    for (who, id) in [(SELLER, agreement_id.as_str()), (BUYER, "agmt-00000000000000000")] {
        let missing = running.users.cancel_agreement(from(who, cancel(id))).await.unwrap_err();
        assert_eq!(reason(&missing), "AGREEMENT_NOT_FOUND");
    }
    for _ in 0..2 {
        let ended = running.users.cancel_agreement(from(BUYER, cancel(&agreement_id))).await;
        let ended = ended.unwrap().into_inner().agreement.unwrap();
        assert_eq!(ended.state(), pb::AgreementState::Cancelled);
    }
    // What held before goes on; what comes now is refused.
    running.internal.hold_entitlement(hold("a", BUYER, &code)).await.unwrap();
    running.internal.confirm_hold(pb::ConfirmHoldRequest { saga: saga("a", 1) }).await.unwrap();
    let late = running.internal.hold_entitlement(hold("b", BUYER, &code)).await.unwrap_err();
    assert_eq!(reason(&late), "SUBSCRIPTION_REQUIRED");
    let anew = running.users.subscribe(from(BUYER, subscribe(&code))).await.unwrap().into_inner();
    assert_ne!(anew.agreement.unwrap().agreement_id, agreement_id);

    let list = pb::ListAgreementsRequest::default();
    for (who, count) in [(BUYER, 2), (SELLER, 2), (OTHER, 0)] {
        let listed = running.users.list_agreements(from(who, list.clone())).await.unwrap();
        assert_eq!(listed.into_inner().agreements.len(), count);
    }
}

#[tokio::test]
async fn a_seller_runs_its_own_without_an_agreement() {
    let (mut running, code) = offered().await;
    let held = running.internal.hold_entitlement(hold("a", SELLER, &code)).await.unwrap();
    assert!(held.into_inner().agreements.is_empty());
    let refused = running.users.subscribe(from(SELLER, subscribe(&code))).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let unknown = running.internal.hold_entitlement(hold("b", BUYER, "nothing")).await.unwrap_err();
    assert_eq!(reason(&unknown), "PRODUCT_NOT_FOUND");
}

#[tokio::test]
async fn holds_are_confirmed_given_back_and_run_out() {
    let (mut running, code) = offered().await;
    let agreement = running.users.subscribe(from(BUYER, subscribe(&code))).await.unwrap();
    let agreement_id = agreement.into_inner().agreement.unwrap().agreement_id;
    let confirm = |id: &str| pb::ConfirmHoldRequest { saga: saga(id, 1) };
    let release = |id: &str| pb::ReleaseHoldRequest { saga: saga(id, 1) };

    running.internal.hold_entitlement(hold("a", BUYER, &code)).await.unwrap();
    running.internal.hold_entitlement(hold("a", BUYER, &code)).await.unwrap();
    running.internal.confirm_hold(confirm("a")).await.unwrap();
    running.internal.confirm_hold(confirm("a")).await.unwrap();
    running.internal.hold_entitlement(hold("b", BUYER, &code)).await.unwrap();
    running.internal.release_hold(release("b")).await.unwrap();
    running.internal.release_hold(release("b")).await.unwrap();
    let gone = running.internal.confirm_hold(confirm("b")).await.unwrap_err();
    assert_eq!(reason(&gone), "HOLD_EXPIRED");

    let brief = |id: &str| pb::HoldEntitlementRequest {
        time_to_live: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
        ..hold(id, BUYER, &code)
    };
    running.internal.hold_entitlement(brief("c")).await.unwrap();
    running.internal.hold_entitlement(brief("d")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    running.internal.confirm_hold(confirm("c")).await.unwrap();
    let cancel = pb::CancelAgreementRequest { agreement_id, request_id: String::new() };
    running.users.cancel_agreement(from(BUYER, cancel)).await.unwrap();
    let late = running.internal.confirm_hold(confirm("d")).await.unwrap_err();
    assert_eq!(reason(&late), "HOLD_EXPIRED");

    let newer = pb::ReleaseHoldRequest { saga: saga("e", 7) };
    running.internal.release_hold(newer).await.unwrap();
    let fenced = running.internal.release_hold(release("a")).await.unwrap_err();
    assert_eq!(reason(&fenced), "SAGA_FENCED");
    for bad in [
        pb::HoldEntitlementRequest { saga: None, ..hold("x", BUYER, &code) },
        pb::HoldEntitlementRequest { buyer_id: "x".into(), ..hold("x", BUYER, &code) },
        pb::HoldEntitlementRequest { instance_ids: vec!["x".into()], ..hold("x", BUYER, &code) },
        pb::HoldEntitlementRequest {
            instance_ids: (0..21).map(|n| format!("i-{n:017}")).collect(),
            ..hold("x", BUYER, &code)
        },
        pb::HoldEntitlementRequest {
            time_to_live: Some(prost_types::Duration { seconds: 90_000, nanos: 0 }),
            ..hold("x", BUYER, &code)
        },
    ] {
        let refused = running.internal.hold_entitlement(bad.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{bad:?}");
    }
}

#[tokio::test]
async fn only_the_operator_audits() {
    let (mut running, _) = offered().await;
    let refused = running.users.audit_ledger(from(BUYER, pb::AuditLedgerRequest {})).await;
    assert_eq!(reason(&refused.unwrap_err()), "OPERATOR_ONLY");
    let audit = running.users.audit_ledger(operator(SELLER, pb::AuditLedgerRequest {})).await;
    let audit = audit.unwrap().into_inner();
    assert!(audit.balanced && audit.entries == 0 && audit.faults.is_empty());
}
