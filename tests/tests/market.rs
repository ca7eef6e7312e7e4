//! Selling: a paid image is launched by who subscribed, billed once and to the second.
//!
//! Proves: nothing in full; subscriptions, meters and product codes, which S 28 and S 29 need.

use vmint_api::{
    gateway::v1::{AddProductCodeRequest, CreateImageRequest, ModifyLaunchPermissionRequest},
    launcher::v1::{InstanceState, StopInstanceRequest},
    marketplace::v1::{
        AuditLedgerRequest, CreateProductRequest, ListLedgerEntriesRequest, Meter, Product,
        SubscribeRequest,
    },
    types::v1::Money,
};
use vmint_tests::{Account, Stack, new_request_id, refused_as, skip};

const FRIEND: &str = "200000000002";
const STRANGER: &str = "300000000003";
const PICOS: i128 = 1_000_000_000_000;

/// Makes an image at 3.60 EUR an hour, which is a tenth of a cent a second.
async fn sold(maker: &Account, image: &str) -> Product {
    let price = Money { currency_code: "EUR".into(), units: 3, picos: 600_000_000_000 };
    let request = CreateProductRequest {
        title: "appliance".into(),
        price_per_hour: Some(price),
        request_id: new_request_id(),
        ..Default::default()
    };
    let answer = maker.marketplace().create_product(request).await.unwrap();
    let product = answer.into_inner().product.unwrap();
    let request = AddProductCodeRequest {
        image_id: image.to_owned(),
        product_code: product.product_code.clone(),
        request_id: new_request_id(),
    };
    let answer = maker.gateway().add_product_code(request).await.unwrap();
    assert_eq!(
        answer.into_inner().image.unwrap().product_codes,
        std::slice::from_ref(&product.product_code)
    );
    product
}

async fn share(owner: &Account, image: &str, with: &[&str]) {
    let request = ModifyLaunchPermissionRequest {
        image_id: image.to_owned(),
        add_account_ids: with.iter().map(|id| (*id).to_owned()).collect(),
        request_id: new_request_id(),
        ..Default::default()
    };
    owner.gateway().modify_launch_permission(request).await.unwrap();
}

/// A run costs its seconds, started ones whole, sixty at least.
fn exact(meter: &Meter) {
    let nanos = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().expect("a closed run has both times");
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
    };
    let ran = nanos(&meter.stop_time) - nanos(&meter.start_time);
    let started = ran / 1_000_000_000 + i128::from(ran % 1_000_000_000 > 0);
    let seconds = started.max(60);
    assert_eq!(i128::from(meter.billed_seconds), seconds, "{meter:?}");
    let amount = meter.amount.as_ref().unwrap();
    let picos = i128::from(amount.units) * PICOS + i128::from(amount.picos);
    assert_eq!(picos, seconds * PICOS / 1000, "{meter:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_image_is_billed_once_to_the_second() {
    let stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("a_paid_image_is_billed_once_to_the_second", &why),
    };
    let (maker, friend) = (stack.account("maker"), stack.account("friend"));
    let stranger = stack.account("stranger");
    let product = sold(&maker, &image).await;
    share(&maker, &image, &[FRIEND, STRANGER]).await;

    // Without a subscription: refused, with what to type, and nothing is left.
    let words = ["launch", &image, "paid", "--type", "v1.nano"];
    let said = stack.cli("friend", &words).await.refused(6, "SUBSCRIPTION_REQUIRED");
    assert!(said.contains("hint: ") && said.contains(&product.product_code), "{said}");
    assert!(friend.living().await.is_empty() && friend.volumes().await.is_empty());
    let request = SubscribeRequest {
        product_code: product.product_code.clone(),
        accept_terms: false,
        request_id: new_request_id(),
    };
    let answer = friend.marketplace().subscribe(request).await;
    refused_as(answer, "TERMS_NOT_ACCEPTED");
    let subscribe = ["market", "subscribe", &product.product_code, "--accept-terms"];
    stack.cli("friend", &subscribe).await.ok();

    // With one: the code is on the machine and its run is open.
    stack.cli("friend", &words).await.ok();
    let paid = friend.living().await.remove(0);
    assert_eq!(paid.product_codes, std::slice::from_ref(&product.product_code));

    // The marketplace dies while the meter runs, and the machine stops while it is away.
    let old = stack.kill9("marketplace");
    let stop = StopInstanceRequest {
        instance_id: paid.instance_id.clone(),
        force: true,
        request_id: new_request_id(),
    };
    friend.launcher().stop_instance(stop).await.unwrap();
    friend.reaches(&paid.instance_id, InstanceState::Stopped).await;
    stack.back("marketplace", old).await;
    let first = friend.bill(&paid.instance_id).await;
    exact(&first);

    // Killed again after it has booked: nothing is booked twice.
    let old = stack.kill9("marketplace");
    stack.back("marketplace", old).await;

    // A second run of the same machine is billed by itself.
    stack.cli("friend", &["start", "paid"]).await.ok();
    derived(&stack, &product.product_code, &paid.instance_id, &stranger).await;
    friend.terminate(std::slice::from_ref(&paid.instance_id)).await;
    let meters = vmint_tests::until("both bills", vmint_tests::SOON, async || {
        let mut meters = friend.meters().await;
        meters.retain(|m| m.stop_time.is_some());
        (meters.len() == 2).then_some(meters)
    })
    .await;
    meters.iter().for_each(exact);
    assert_ne!(meters[0].run, meters[1].run);
    assert!(meters.contains(&first), "a booked run changed");

    // What the buyer paid is what the seller got, and the ledger sums to zero.
    let request = ListLedgerEntriesRequest { page_size: 1000, ..Default::default() };
    let ledger = maker.marketplace().list_ledger_entries(request).await.unwrap().into_inner();
    let picos = |m: &Money| i128::from(m.units) * PICOS + i128::from(m.picos);
    let owed: i128 = meters.iter().map(|m| picos(m.amount.as_ref().unwrap())).sum();
    let got: i128 = ledger.entries.iter().map(|e| picos(e.amount.as_ref().unwrap()).max(0)).sum();
    assert_eq!(got, owed, "{:?}", ledger.entries);
    let audit = maker.marketplace().audit_ledger(AuditLedgerRequest {}).await.unwrap();
    let audit = audit.into_inner();
    assert!(audit.balanced && audit.faults.is_empty(), "{audit:?}");
    assert_eq!((audit.open_meters, audit.closed_meters), (0, 2), "{audit:?}");
    stack.cli("maker", &["market", "audit"]).await.ok();
    let words = stack.cli("friend", &["market", "audit"]).await;
    assert_eq!(words.code, 4, "only the operator audits: {words:?}");
}

/// An image made of a paid machine carries the code, and asks others to subscribe too.
async fn derived(stack: &Stack, code: &str, instance: &str, stranger: &Account) {
    let friend = stack.account("friend");
    let request = CreateImageRequest {
        instance_id: instance.to_owned(),
        name: "derived".into(),
        request_id: new_request_id(),
        ..Default::default()
    };
    let made = friend.gateway().create_image(request).await.unwrap().into_inner().image.unwrap();
    let made = friend.image_made(&made.image_id).await;
    assert_eq!(made.product_codes, [code]);
    let snapshots = friend.snapshots().await;
    assert!(snapshots.iter().all(|s| s.product_codes == [code]), "{snapshots:?}");
    let root = made.block_device_mappings[0].ebs.as_ref().unwrap().snapshot_id.clone();
    let again = friend.register("again", &root).await.unwrap();
    assert_eq!(again.product_codes, [code], "registering anew shed the code");
    share(&friend, &made.image_id, &[STRANGER]).await;
    stranger.launch_refused(&made.image_id, "SUBSCRIPTION_REQUIRED").await;
}
