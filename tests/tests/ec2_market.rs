//! Images that are sold, over EC2's own protocol: what plain copies of it get wrong, by number.
//! No machine runs here; they are on paper.
//!
//! Proves: nothing in full; the semantics that the names of the tests number.

use vmint_api::{
    gateway::v1::AddProductCodeRequest,
    marketplace::v1::{
        AgreementState, CancelAgreementRequest, CreateProductRequest, SubscribeRequest,
    },
    storage::v1::GetUsageRequest,
    types::v1::Money,
};
use vmint_tests::{Account, Answer, Ec2, SOON, Setting, Stack, new_request_id, until};

const FRIEND: &str = "200000000002";

struct Stage {
    stack: Stack,
    maker: Ec2,
    friend: Ec2,
    /// The maker's, sold, and shared with the friend.
    sold: String,
    code: String,
}

async fn import(stack: &Stack, account: &str, name: &str) -> String {
    let noise = stack.data().join(format!("{name}.raw"));
    std::fs::write(&noise, name.as_bytes().repeat(1 << 16)).unwrap();
    let words = ["import", noise.to_str().unwrap(), name, "-o", "id"];
    stack.cli(account, &words).await.ok().trim().to_owned()
}

async fn product(seller: &Account, image: &str) -> String {
    let price = Money { currency_code: "EUR".into(), units: 3, picos: 600_000_000_000 };
    let request = CreateProductRequest {
        title: "appliance".into(),
        price_per_hour: Some(price),
        request_id: new_request_id(),
        ..Default::default()
    };
    let made = seller.marketplace().create_product(request).await.unwrap();
    let code = made.into_inner().product.unwrap().product_code;
    let request = AddProductCodeRequest {
        image_id: image.to_owned(),
        product_code: code.clone(),
        request_id: new_request_id(),
    };
    seller.gateway().add_product_code(request).await.unwrap();
    code
}

async fn stage() -> Stage {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let sold = import(&stack, "maker", "sold").await;
    let code = product(&stack.account("maker"), &sold).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;
    let share = [("ImageId", &*sold), ("LaunchPermission.Add.1.UserId", FRIEND)];
    maker.ok("ModifyImageAttribute", &share).await;
    Stage { stack, maker, friend, sold, code }
}

impl Stage {
    /// Has the friend subscribe; the agreement.
    async fn subscribe(&self) -> String {
        let request = SubscribeRequest {
            product_code: self.code.clone(),
            accept_terms: true,
            request_id: new_request_id(),
        };
        let agreed = self.stack.account("friend").marketplace().subscribe(request).await.unwrap();
        agreed.into_inner().agreement.unwrap().agreement_id
    }

    async fn instance(&self, id: &str, state: &str) -> Answer {
        let wanted = format!("<name>{state}</name>");
        until(&format!("{id} is {state}"), SOON, async || {
            let seen = self.friend.ok("DescribeInstances", &[("InstanceId.1", id)]).await;
            seen.body.contains(&wanted).then_some(seen)
        })
        .await
    }

    async fn run(&self, image: &str) -> String {
        let id = self.friend.ok("RunInstances", &one(image)).await.first("instanceId").to_owned();
        self.instance(&id, "running").await;
        id
    }

    /// An image that the friend makes of an instance.
    async fn image_of(&self, instance: &str, name: &str) -> Answer {
        let make = [("InstanceId", instance), ("Name", name), ("NoReboot", "true")];
        let id = self.friend.ok("CreateImage", &make).await.first("imageId").to_owned();
        available(&self.friend, &id).await
    }
}

async fn available(who: &Ec2, id: &str) -> Answer {
    until(&format!("{id} is available"), SOON, async || {
        let seen = who.ok("DescribeImages", &[("ImageId.1", id)]).await;
        (seen.first("imageState") == "available").then_some(seen)
    })
    .await
}

fn one(image: &str) -> [(&str, &str); 3] {
    [("ImageId", image), ("MinCount", "1"), ("MaxCount", "1")]
}

fn copy<'a>(of: &'a str, name: &'a str) -> [(&'a str, &'a str); 3] {
    [("SourceImageId", of), ("SourceRegion", "us-east-1"), ("Name", name)]
}

fn coded(code: &str, status: u16) -> (String, u16) {
    (code.to_owned(), status)
}

#[tokio::test]
async fn semantics_34_37_who_launches_subscribes_and_pays_and_its_owner_does_not() {
    let stage = stage().await;
    let (stack, friend) = (&stage.stack, &stage.friend);
    // 34: nothing but a subscription lets it be launched, and it takes no parameter.
    let no = coded("OptInRequired", 401);
    assert_eq!(friend.refused("RunInstances", &one(&stage.sold)).await, no);
    assert!(friend.ok("DescribeInstances", &[]).await.all("instanceId").is_empty());
    let agreement = stage.subscribe().await;
    let instance = stage.run(&stage.sold).await;
    let seen = stage.instance(&instance, "running").await;
    assert_eq!(seen.all("productCode"), [stage.code.as_str()]);
    let buyer = stack.account("friend");
    let open = until("the run's meter", SOON, async || buyer.meters().await.pop()).await;
    assert_eq!((&*open.instance_id, &*open.buyer_id), (&*instance, FRIEND));
    assert!(open.stop_time.is_none());

    // 34: when it is cancelled what runs goes on, counted, and nothing new begins.
    let request =
        CancelAgreementRequest { agreement_id: agreement.clone(), request_id: new_request_id() };
    let ended = buyer.marketplace().cancel_agreement(request).await.unwrap().into_inner();
    assert_eq!(ended.agreement.unwrap().state(), AgreementState::Cancelled);
    assert_eq!(friend.refused("RunInstances", &one(&stage.sold)).await, no);
    stage.instance(&instance, "running").await;
    assert_eq!(buyer.meters().await, std::slice::from_ref(&open));
    friend.ok("TerminateInstances", &[("InstanceId.1", &instance)]).await;
    let bill = buyer.bill(&instance).await;
    assert_eq!((bill.agreement_id, bill.run), (agreement, open.run));
    assert!(bill.amount.is_some_and(|amount| amount.picos > 0));

    // 37: its owner pays for no launch of another's, nor for the other's disks.
    let owner = stack.account("maker");
    let of_owner = owner.meters().await;
    assert!(of_owner.iter().all(|meter| meter.buyer_id == FRIEND), "{of_owner:?}");
    let held = async |who: &Account| {
        let usage = who.storage().get_usage(GetUsageRequest {}).await.unwrap().into_inner();
        (usage.snapshots, usage.logical_bytes)
    };
    let (before, nothing) = (held(&owner).await, held(&buyer).await);
    assert_eq!(nothing, (0, 0), "an image's storage is its owner's");
    stage.subscribe().await;
    let again = stage.run(&stage.sold).await;
    let made = stage.image_of(&again, "made").await;
    assert_eq!(held(&owner).await, before);
    assert_eq!(held(&buyer).await.0, 1);
    friend.ok("CopyImage", &copy(made.first("imageId"), "copied")).await;
    until("the copy's storage", SOON, async || (held(&buyer).await.0 == 2).then_some(())).await;
    assert_eq!(held(&owner).await, before);
}

#[tokio::test]
async fn semantics_35_36_what_is_sold_is_not_shed_by_a_disk_or_a_copy() {
    let stage = stage().await;
    let friend = &stage.friend;
    let denied = coded("InvalidRequest", 400);
    // 36: neither to subscribe nor to be let at its storage makes a copy of another's.
    stage.subscribe().await;
    assert_eq!(friend.refused("CopyImage", &copy(&stage.sold, "mine")).await, denied);
    let seen = stage.maker.ok("DescribeImages", &[("ImageId.1", &stage.sold)]).await;
    let share =
        [("SnapshotId", seen.first("snapshotId")), ("CreateVolumePermission.Add.1.UserId", FRIEND)];
    stage.maker.ok("ModifySnapshotAttribute", &share).await;
    assert_eq!(friend.refused("CopyImage", &copy(&stage.sold, "mine")).await, denied);

    // The way is to launch it and make an image of what runs: the code is in it, in its
    // snapshots, and in what is copied of it within the account.
    let paid = stage.run(&stage.sold).await;
    let made = stage.image_of(&paid, "made").await;
    assert_eq!(made.all("productCode"), [stage.code.as_str()]);
    let copied = friend.ok("CopyImage", &copy(made.first("imageId"), "copied")).await;
    let copied = available(friend, copied.first("imageId")).await;
    assert_eq!(copied.all("productCode"), [stage.code.as_str()]);
    let snapshot = copied.first("snapshotId").to_owned();

    // 35: a disk of it is attached to nothing that is not billed for it.
    let free = import(&stage.stack, "friend", "free").await;
    let free = stage.run(&free).await;
    let zone = friend.ok("DescribeAvailabilityZones", &[]).await.first("zoneName").to_owned();
    let make = [("SnapshotId", &*snapshot), ("AvailabilityZone", &*zone)];
    let volume = friend.ok("CreateVolume", &make).await.first("volumeId").to_owned();
    let attach = |to| [("VolumeId", &*volume), ("InstanceId", to), ("Device", "/dev/sdf")];
    let refused = friend.refused("AttachVolume", &attach(&free)).await;
    assert_eq!(refused, coded("OperationNotPermitted", 400));
    friend.ok("AttachVolume", &attach(&paid)).await;
}
