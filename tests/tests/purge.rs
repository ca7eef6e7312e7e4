//! Emptying an account for tests: all of it, nothing else, and over a killed gateway; and the
//! images of a provider that such deployments have.
//!
//! Proves: nothing in full; what people rely on who test against a deployment.

use serde_json::json;
use tonic::Code;
use vmint_api::{
    gateway::v1::{ListImagesRequest, ListSagasRequest, PurgeAccountRequest, RunInstancesRequest},
    marketplace::v1::{
        AgreementState, CreateProductRequest, ListAgreementsRequest, ListLedgerEntriesRequest,
        ListProductsRequest, SubscribeRequest,
    },
    storage::v1::{
        ListKeysRequest, SetEncryptionByDefaultRequest, key_service_client::KeyServiceClient,
    },
    types::v1::Money,
};
use vmint_tests::{
    Account, Ec2, SOON, Setting, Stack, access_key, new_request_id, refused_as, until,
};

const FRIEND: &str = "200000000002";

fn purge() -> PurgeAccountRequest {
    PurgeAccountRequest { account_id: FRIEND.to_owned(), request_id: new_request_id() }
}

async fn test_stack() -> Stack {
    let args = vec!["--test-mode", "--stand-in-images"];
    Stack::start_with(Setting { simulated: true, args, ..Setting::default() }).await
}

fn key_of(stack: &Stack, name: &str) -> Ec2 {
    Ec2::with_key(access_key(name), &stack.gateway(), "local-1")
}

fn keys_of(stack: &Stack, name: &str) -> KeyServiceClient<vmint_rpc::Channel> {
    KeyServiceClient::new(stack.account(name).channel())
}

/// The code of a product of the maker's.
async fn offered(stack: &Stack) -> String {
    let maker = stack.account("maker");
    let all = maker.marketplace().list_products(ListProductsRequest::default()).await.unwrap();
    let mut own = all.into_inner().products.into_iter().filter(|it| it.seller_id == maker.id);
    if let Some(known) = own.next() {
        return known.product_code;
    }
    let price = Money { currency_code: "EUR".into(), units: 1, picos: 0 };
    let request = CreateProductRequest {
        title: "everybody's".to_owned(),
        price_per_hour: Some(price),
        request_id: new_request_id(),
        ..Default::default()
    };
    let made = maker.marketplace().create_product(request).await.unwrap();
    made.into_inner().product.unwrap().product_code
}

/// Gives an account one of everything; answers its image.
async fn furnish(stack: &Stack, name: &str) -> String {
    let who = key_of(stack, name);
    let file = stack.data().join(format!("{name}.raw"));
    std::fs::write(&file, name.as_bytes().repeat(1 << 16)).unwrap();
    let image = stack.cli(name, &["import", file.to_str().unwrap(), "one", "-o", "id"]).await;
    let image = image.ok().trim().to_owned();
    let shared = [("ImageId", image.as_str()), ("LaunchPermission.Add.1.Group", "all")];
    who.ok("ModifyImageAttribute", &shared).await;
    let described = who.ok("DescribeImages", &[("ImageId.1", image.as_str())]).await;
    let snapshot = described.first("snapshotId").to_owned();
    let run = [
        ("ImageId", image.as_str()),
        ("MinCount", "2"),
        ("MaxCount", "2"),
        ("DisableApiTermination", "true"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    who.ok("RunInstances", &run).await;
    who.ok("CreateKeyPair", &[("KeyName", "key")]).await;
    let zone = who.ok("DescribeAvailabilityZones", &[]).await.first("zoneName").to_owned();
    who.ok("CreateVolume", &[("AvailabilityZone", zone.as_str()), ("Size", "1")]).await;
    let copy = [("SourceRegion", "local-1"), ("SourceSnapshotId", snapshot.as_str())];
    let own = who.ok("CopySnapshot", &copy).await.first("snapshotId").to_owned();
    let share =
        [("SnapshotId", own.as_str()), ("CreateVolumePermission.Add.1.UserId", "300000000003")];
    who.ok("ModifySnapshotAttribute", &share).await;
    let group = [("GroupName", "group"), ("GroupDescription", "d")];
    who.ok("CreateSecurityGroup", &group).await;
    let parameter = json!({ "Name": "/a/b", "Value": "v", "Type": "String" });
    assert_eq!(who.ssm("PutParameter", &parameter).await.0, 200);
    let always = SetEncryptionByDefaultRequest { enabled: true, request_id: new_request_id() };
    keys_of(stack, name).set_encryption_by_default(always).await.unwrap();
    let sealed = [("AvailabilityZone", zone.as_str()), ("Size", "1"), ("Encrypted", "true")];
    who.ok("CreateVolume", &sealed).await;
    let price = Money { currency_code: "EUR".into(), units: 1, picos: 0 };
    let product = CreateProductRequest {
        title: name.to_owned(),
        price_per_hour: Some(price),
        request_id: new_request_id(),
        ..Default::default()
    };
    let mut market = stack.account(name).marketplace();
    market.create_product(product).await.unwrap();
    let agree = SubscribeRequest {
        product_code: offered(stack).await,
        accept_terms: true,
        request_id: new_request_id(),
    };
    market.subscribe(agree).await.unwrap();
    let bucket = format!("/bucket-{name}");
    for (target, body) in [(bucket.clone(), ""), (format!("{bucket}/key"), "content")] {
        let (status, _, said) = who.send("s3", "PUT", &target, &[], body.as_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
    }
    image
}

/// How many of each an account has, by what it is asked over EC2 and its neighbours.
async fn has(stack: &Stack, name: &str) -> Vec<(&'static str, usize)> {
    let account = stack.account(name);
    let who = key_of(stack, name);
    let mut all = Vec::new();
    for (action, params, element) in [
        ("DescribeInstances", vec![], "instanceId"),
        ("DescribeImages", vec![("Owner.1", "self")], "imageId"),
        ("DescribeVolumes", vec![], "volumeId"),
        ("DescribeSnapshots", vec![("Owner.1", "self")], "snapshotId"),
        ("DescribeKeyPairs", vec![], "keyPairId"),
        ("DescribeTags", vec![], "resourceId"),
    ] {
        all.push((action, who.ok(action, &params).await.all(element).len()));
    }
    let groups = who.ok("DescribeSecurityGroups", &[]).await;
    let groups = groups.all("groupName").into_iter().filter(|name| *name == "group").count();
    all.push(("groups", groups));
    let (_, parameters) = who.ssm("DescribeParameters", &json!({})).await;
    all.push(("parameters", parameters["Parameters"].as_array().unwrap().len()));
    let (_, _, buckets) = who.send("s3", "GET", "/", &[], b"").await;
    let buckets = String::from_utf8(buckets).unwrap().matches("<Bucket>").count();
    all.push(("buckets", buckets));
    let request = vmint_api::storage::v1::ListImportTasksRequest::default();
    let tasks = account.transfers().list_import_tasks(request).await.unwrap().into_inner().tasks;
    all.push(("imports", tasks.len()));
    let keys = keys_of(stack, name).list_keys(ListKeysRequest::default()).await.unwrap();
    all.push(("keys", keys.into_inner().keys.len()));
    let encrypts = who.ok("GetEbsEncryptionByDefault", &[]).await;
    let encrypts = encrypts.first("ebsEncryptionByDefault") == "true";
    all.push(("encrypts", usize::from(encrypts)));
    let mut market = account.marketplace();
    let products = market.list_products(ListProductsRequest::default()).await.unwrap();
    let own = products.into_inner().products.iter().filter(|it| it.seller_id == account.id).count();
    all.push(("products", own));
    let agreed = market.list_agreements(ListAgreementsRequest::default()).await.unwrap();
    let agreed = agreed.into_inner().agreements;
    let agreed = agreed.iter().filter(|it| it.state() == AgreementState::Active).count();
    all.push(("agreements", agreed));
    all
}

async fn ledger(operator: &Account) -> usize {
    let request = ListLedgerEntriesRequest { page_size: 1000, ..Default::default() };
    operator.marketplace().list_ledger_entries(request).await.unwrap().into_inner().entries.len()
}

#[tokio::test]
async fn an_account_is_emptied_and_nothing_else_is_touched() {
    let stack = test_stack().await;
    let (maker, friend) = (stack.account("maker"), stack.account("friend"));
    let image = furnish(&stack, "friend").await;
    furnish(&stack, "stranger").await;
    let before = has(&stack, "friend").await;
    assert!(before.iter().all(|(_, count)| *count > 0), "{before:?}");
    let (others, entries) = (has(&stack, "stranger").await, ledger(&maker).await);

    let by_owner = friend.gateway().purge_account(purge()).await;
    refused_as(by_owner, "FORBIDDEN");
    // Killed in its midst, it ends after the restart; asked again it says what it did.
    let request = purge();
    let (gateway, sent) = (maker.gateway(), request.clone());
    let asked = tokio::spawn(async move { gateway.clone().purge_account(sent).await });
    until("the purge has begun", SOON, async || {
        let sagas = maker.gateway().list_sagas(ListSagasRequest {}).await.ok()?.into_inner().sagas;
        sagas.iter().any(|saga| saga.kind == "purge").then_some(())
    })
    .await;
    let old = stack.kill9("gateway");
    let _cut = asked.await.unwrap();
    stack.back("gateway", old).await;
    until("the purge's answer", SOON, async || {
        match maker.gateway().purge_account(request.clone()).await {
            Ok(done) => Some(done),
            Err(status) if status.code() == Code::Unavailable => None,
            Err(status) => panic!("{status:?}"),
        }
    })
    .await;

    let after = has(&stack, "friend").await;
    assert!(after.iter().all(|(_, count)| *count == 0), "{after:?}");
    assert_eq!(has(&stack, "stranger").await, others);
    assert_eq!(ledger(&maker).await, entries);
    let run = RunInstancesRequest {
        image_id: image,
        request_id: new_request_id(),
        ..RunInstancesRequest::default()
    };
    refused_as(stack.account("stranger").gateway().run_instances(run).await, "IMAGE_NOT_FOUND");
    // It can go on as if it were new.
    furnish_again(&stack).await;
}

async fn furnish_again(stack: &Stack) {
    furnish(stack, "friend").await;
    let said = stack.cli("maker", &["account", "purge", FRIEND]).await.ok();
    assert!(said.contains("2 instances, 1 images"), "{said}");
}

#[tokio::test]
async fn without_test_mode_nothing_is_purged() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let seen =
        refused_as(stack.account("maker").gateway().purge_account(purge()).await, "NOT_TEST_MODE");
    assert!(seen.hint.unwrap().contains("--test-mode"));
    let none = stack.account("maker").gateway().list_images(ListImagesRequest::default()).await;
    assert!(none.unwrap().into_inner().images.is_empty(), "no stand-ins unless asked for");
}

#[tokio::test]
async fn a_provider_has_images_that_everybody_finds_and_launches() {
    let stack = test_stack().await;
    let friend = key_of(&stack, "friend");
    let found = friend.ok("DescribeImages", &[("Owner.1", "amazon")]).await;
    assert_eq!(found.all("imageId").len(), 2);
    assert_eq!(found.all("platform"), ["windows"]);
    assert_eq!(found.all("imageOwnerAlias"), ["amazon", "amazon"]);
    let path = json!({ "Path": "/aws/service/ami-amazon-linux-latest" });
    let (_, parameters) = friend.ssm("GetParametersByPath", &path).await;
    assert_eq!(parameters["Parameters"].as_array().unwrap().len(), 2);
    let name = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let run = [("ImageId", name), ("MinCount", "1"), ("MaxCount", "1")];
    let ran = friend.ok("RunInstances", &run).await;
    assert_eq!(ran.first("imageId"), parameters["Parameters"][0]["Value"].as_str().unwrap());
}
