//! Listings and their filters, over a real socket.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{ANN, BOB, Running, image, image_id, reason, saga, start, state};
use proptest::prelude::*;
use vmint_api::catalog::v1 as pb;
use vmint_api::types::v1::{Filter, Tag};
use vmint_catalog::{Catalog, NewImage, Progress, Query, Step};
use vmint_store::Store;

const EVE: &str = "300000000003";

fn view(account: &str) -> pb::QueryImagesRequest {
    pb::QueryImagesRequest { account_id: account.into(), ..Default::default() }
}

fn filtered(filters: &[(&str, &[&str])]) -> pb::QueryImagesRequest {
    let filter = |(name, values): &(&str, &[&str])| Filter {
        name: (*name).into(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    pb::QueryImagesRequest { filters: filters.iter().map(filter).collect(), ..view(ANN) }
}

fn hint(n: u64, public: bool, accounts: &[&str], revision: u64) -> pb::EnsureVisibilityHintRequest {
    pb::EnsureVisibilityHintRequest {
        image_id: image_id(n),
        public,
        account_ids: accounts.iter().map(|a| (*a).to_owned()).collect(),
        revision,
    }
}

async fn three() -> Running {
    let mut running = start(Store::in_memory()).await;
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    running
        .available(pb::Image {
            description: "a base".into(),
            tags: vec![tag("Stage", "prod"), tag("Team", "x")],
            product_codes: vec!["code1".into()],
            ..image(1, "debian-12-amd64")
        })
        .await;
    running
        .available(pb::Image {
            architecture: pb::Architecture::Arm64.into(),
            boot_mode: pb::BootMode::Uefi.into(),
            ena_support: true,
            tags: vec![tag("Stage", "test")],
            ..image(2, "debian-12-arm64")
        })
        .await;
    running
        .available(pb::Image {
            owner_id: BOB.into(),
            platform: "windows".into(),
            ..image(3, "windows-2025")
        })
        .await;
    running.internal.ensure_visibility_hint(hint(3, true, &[], 1)).await.unwrap();
    running
}

#[tokio::test]
async fn filters_select_by_ec2s_names() {
    let mut running = three().await;
    let (deb, arm, win) = ("debian-12-amd64", "debian-12-arm64", "windows-2025");
    let (id1, snap2) = (image_id(1), "snap-00000000000000002");
    let location = format!("{ANN}/{deb}");
    type Case<'a> = (&'a [(&'a str, &'a [&'a str])], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[], &[deb, arm, win]),
        (&[("name", &["debian-*"])], &[deb, arm]),
        (&[("name", &["Debian-*"])], &[]),
        (&[("name", &["debian-12-a??64", "windows*"])], &[deb, arm, win]),
        (&[("image-id", &[&id1])], &[deb]),
        (&[("image-id", &[&id1, "ami-*2"])], &[deb, arm]),
        (&[("image-id", &["nonsense"])], &[]),
        (&[("state", &["available"])], &[deb, arm, win]),
        (&[("state", &["pending"])], &[]),
        (&[("architecture", &["arm64"])], &[arm]),
        (&[("boot-mode", &["uefi"])], &[arm]),
        (&[("description", &["*base"])], &[deb]),
        (&[("owner-id", &[BOB])], &[win]),
        (&[("is-public", &["true"])], &[win]),
        (&[("is-public", &["false"])], &[deb, arm]),
        (&[("platform", &["windows"])], &[win]),
        (&[("root-device-name", &["/dev/sda1"])], &[deb, arm, win]),
        (&[("product-code", &["code?"])], &[deb]),
        (&[("tag:Stage", &["prod"])], &[deb]),
        (&[("tag:Stage", &["*"])], &[deb, arm]),
        (&[("tag-key", &["Team"])], &[deb]),
        (&[("creation-date", &["2*Z"])], &[deb, arm, win]),
        (&[("creation-date", &["1999-*"])], &[]),
        (&[("block-device-mapping.snapshot-id", &[snap2])], &[arm]),
        (&[("block-device-mapping.delete-on-termination", &["true"])], &[deb, arm, win]),
        (&[("block-device-mapping.volume-size", &["8"])], &[]),
        (&[("block-device-mapping.volume-type", &["gp3"])], &[deb, arm, win]),
        (&[("block-device-mapping.encrypted", &["true"])], &[]),
        (&[("state-reason-code", &["*"])], &[]),
        (&[("ena-support", &["true"])], &[arm]),
        (&[("virtualization-type", &["hvm"])], &[deb, arm, win]),
        (&[("virtualization-type", &["paravirtual"])], &[]),
        (&[("root-device-type", &["ebs"]), ("image-type", &["machine"])], &[deb, arm, win]),
        (&[("manifest-location", &[&location])], &[deb]),
        (&[("product-code.type", &["marketplace"])], &[deb]),
        (&[("kernel-id", &["*"])], &[]),
        (&[("state-reason-message", &["*"])], &[]),
        (&[("name", &["debian*"]), ("tag:Stage", &["test"])], &[arm]),
        (&[("name", &["debian*"]), ("owner-id", &[BOB])], &[]),
    ];
    for (filters, expected) in cases {
        assert_eq!(running.names(filtered(filters)).await, *expected, "{filters:?}");
    }
}

#[tokio::test]
async fn bad_queries_are_told_what_is_wrong() {
    let mut running = three().await;
    let unknown = running.internal.query_images(filtered(&[("nmae", &["x"])])).await.unwrap_err();
    assert_eq!(reason(&unknown), "FILTER_INVALID");
    assert!(unknown.message().contains("creation-date"), "{}", unknown.message());
    let many = pb::QueryImagesRequest {
        filters: vec![Filter { name: "name".into(), values: vec!["x".into()] }; 51],
        ..view(ANN)
    };
    for (bad, expected) in [
        (filtered(&[("name", &[])]), "FILTER_INVALID"),
        (filtered(&[("is-public", &["maybe"])]), "FILTER_INVALID"),
        (many, "FIELD_INVALID"),
        (view("ann"), "FIELD_INVALID"),
        (pb::QueryImagesRequest { owners: vec!["amazon".into()], ..view(ANN) }, "FIELD_INVALID"),
        (pb::QueryImagesRequest { page_size: -1, ..view(ANN) }, "FIELD_INVALID"),
        (pb::QueryImagesRequest { page_token: "x".into(), ..view(ANN) }, "PAGE_TOKEN_INVALID"),
    ] {
        let refused = running.internal.query_images(bad.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{bad:?}");
    }
    let ids =
        pb::BatchGetImagesRequest { image_ids: vec![image_id(1); 1001], ..Default::default() };
    let ids = running.internal.batch_get_images(ids).await.unwrap_err();
    assert_eq!(reason(&ids), "FIELD_INVALID");
}

#[tokio::test]
async fn hints_open_and_close_the_view_of_others() {
    let mut running = three().await;
    assert_eq!(running.names(view(EVE)).await, ["windows-2025"]);
    let show = hint(1, false, &[EVE], 5);
    running.internal.ensure_visibility_hint(show.clone()).await.unwrap();
    running.internal.ensure_visibility_hint(show).await.unwrap();
    assert_eq!(running.names(view(EVE)).await, ["debian-12-amd64", "windows-2025"]);
    running.internal.ensure_visibility_hint(hint(1, true, &[EVE], 4)).await.unwrap();
    let public = filtered(&[("is-public", &["true"])]);
    assert_eq!(running.names(public).await, ["windows-2025"], "an older hint is ignored");
    running.internal.ensure_visibility_hint(hint(1, false, &[], 6)).await.unwrap();
    assert_eq!(running.names(view(EVE)).await, ["windows-2025"]);
    let missing = running.internal.ensure_visibility_hint(hint(8, true, &[], 1)).await.unwrap_err();
    assert_eq!(reason(&missing), "IMAGE_NOT_FOUND");
    let many: Vec<_> = (0..1001).map(|n| format!("{n:012}")).collect();
    let many = pb::EnsureVisibilityHintRequest { account_ids: many, ..hint(1, false, &[], 9) };
    let many = running.internal.ensure_visibility_hint(many).await.unwrap_err();
    assert_eq!(reason(&many), "FIELD_INVALID");
}

#[tokio::test]
async fn semantics_3_executable_by_means_shared_by_name() {
    let mut running = three().await;
    running.internal.ensure_visibility_hint(hint(1, false, &[BOB], 1)).await.unwrap();
    running.internal.ensure_visibility_hint(hint(2, true, &[], 1)).await.unwrap();
    running.internal.ensure_visibility_hint(hint(3, false, &[EVE], 2)).await.unwrap();
    let by = |account: &str, who: &[&str]| pb::QueryImagesRequest {
        executable_by: who.iter().map(|who| (*who).to_owned()).collect(),
        ..view(account)
    };
    let (deb, arm, win) = ("debian-12-amd64", "debian-12-arm64", "windows-2025");
    let nothing: &[&str] = &[];
    for (request, expected) in [
        // Not one's own, and not what everybody may launch.
        (by(ANN, &["self"]), nothing),
        (by(BOB, &["self"]), &[deb]),
        (by(BOB, &[BOB]), &[deb]),
        (by(EVE, &["self"]), &[win]),
        (by(EVE, &["all"]), &[arm]),
        (by(EVE, &["all", "self"]), &[arm, win]),
        (by(ANN, &[BOB]), &[deb]),
        (by(BOB, &[EVE]), &[win]),
        // Whom others share with is theirs to know.
        (by(EVE, &[BOB]), nothing),
    ] {
        assert_eq!(running.names(request.clone()).await, expected, "{request:?}");
    }
    let bad = running.internal.query_images(by(ANN, &["bob"])).await.unwrap_err();
    assert_eq!(reason(&bad), "FIELD_INVALID");
}

#[tokio::test]
async fn ended_and_pending_images_are_for_their_owner() {
    let mut running = three().await;
    running.internal.ensure_visibility_hint(hint(1, true, &[], 1)).await.unwrap();
    let end = pb::EnsureDeregisteredRequest {
        saga: saga("s", 1),
        image_id: image_id(1),
        account_id: ANN.into(),
    };
    running.internal.ensure_deregistered(end).await.unwrap();
    running.internal.ensure_image(harness::ensure(image(4, "coming"))).await.unwrap();
    running.internal.ensure_image(harness::ensure(image(5, "broken"))).await.unwrap();
    running.internal.ensure_image_state(state(5, pb::ImageState::Failed)).await.unwrap();

    let own = |account| pb::QueryImagesRequest { owners: vec!["self".into()], ..view(account) };
    assert_eq!(running.names(own(ANN)).await, ["debian-12-arm64", "coming"]);
    let all = pb::QueryImagesRequest { include_ended: true, ..own(ANN) };
    let all = running.names(all).await;
    assert_eq!(all, ["debian-12-amd64", "debian-12-arm64", "coming", "broken"]);
    let of_ann =
        pb::QueryImagesRequest { owners: vec![ANN.into()], include_ended: true, ..view(EVE) };
    assert!(running.names(of_ann).await.is_empty());
}

#[tokio::test]
async fn pages_join_up_and_stay_with_their_query() {
    let mut running = start(Store::in_memory()).await;
    for n in (0..7).rev() {
        running.available(image(n, &format!("image {n}"))).await;
    }
    let mut request = pb::QueryImagesRequest { page_size: 3, ..view(ANN) };
    let mut seen = Vec::new();
    loop {
        let page = running.internal.query_images(request.clone()).await.unwrap().into_inner();
        seen.extend(page.images.into_iter().map(|image| image.image_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        let foreign = pb::QueryImagesRequest { account_id: BOB.into(), ..request.clone() };
        let foreign = running.internal.query_images(foreign).await.unwrap_err();
        assert_eq!(reason(&foreign), "PAGE_TOKEN_INVALID");
    }
    assert_eq!(seen, (0..7).map(image_id).collect::<Vec<_>>());
    let whole = pb::QueryImagesRequest { page_size: 7, ..view(ANN) };
    let whole = running.internal.query_images(whole).await.unwrap().into_inner();
    assert_eq!((whole.images.len(), whole.next_page_token.as_str()), (7, ""));
}

#[derive(Debug, Clone)]
enum Act {
    Make(u64, u64),
    Release(u64),
    Finish(u64),
    Deregister(u64, u64),
    Share(u64, bool, u64),
    Ask(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..6u64, 0..3u64).prop_map(|(n, owner)| Act::Make(n, owner)),
        (0..6u64).prop_map(Act::Release),
        (0..6u64).prop_map(Act::Finish),
        (0..6u64, 0..3u64).prop_map(|(n, owner)| Act::Deregister(n, owner)),
        (0..6u64, any::<bool>(), 0..3u64).prop_map(|(n, public, to)| Act::Share(n, public, to)),
        (0..3u64).prop_map(Act::Ask),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After any history a listing equals what a plain map of images says, and
    /// so does that of a catalog opened afresh on the same store.
    #[test]
    fn the_index_follows_every_change(acts in acts()) {
        use std::collections::{BTreeMap, BTreeSet};
        #[derive(Clone)]
        struct Known { owner: u64, state: u8, public: bool, to: Option<u64> }
        let account = |n: u64| format!("{n:012}").parse::<vmint_ids::AccountId>().unwrap();
        let id = |n: u64| image_id(n).parse::<vmint_ids::ImageId>().unwrap();
        let step = || Step { saga: "s".into(), epoch: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::in_memory();
            let catalog = Catalog::open(store.clone()).unwrap();
            let mut model: BTreeMap<u64, Known> = BTreeMap::new();
            let mut revision = 0;
            let ask = async |catalog: &Catalog, asker: u64| {
                let query = Query {
                    executable_by: Vec::new(),
                    account: account(asker),
                    owners: vec![],
                    filters: vec![],
                    include_ended: false,
                    after: None,
                    size: 100,
                };
                let page = catalog.query(query).await.unwrap();
                page.images.iter().map(|listed| listed.image.id).collect::<Vec<_>>()
            };
            let expected = |model: &BTreeMap<u64, Known>, asker: u64| {
                model.iter().filter(|(_, k)| match k.state {
                    0 => k.owner == asker,
                    1 => k.owner == asker || k.public || k.to == Some(asker),
                    _ => false,
                }).map(|(n, _)| id(*n)).collect::<Vec<_>>()
            };
            for act in acts {
                match act {
                    Act::Make(n, owner) => {
                        let new = NewImage {
                            id: id(n),
                            name: vmint_catalog::Name::parse(&format!("image {n}")).unwrap(),
                            description: String::new(),
                            owner: account(owner),
                            architecture: vmint_catalog::Architecture::X86_64,
                            boot_mode: vmint_catalog::BootMode::LegacyBios,
                            root_device: "/dev/sda1".into(),
                            disks: vec![vmint_catalog::Disk {
                                device: "/dev/sda1".into(),
                                snapshot: Some(vmint_ids::SnapshotId::random()),
                                size_gib: None,
                                delete_on_termination: true,
                                encrypted: false,
                                performance: vmint_catalog::Performance::default(),
                            }],
                            windows: false,
                            product_codes: BTreeSet::new(),
                            source_image: None,
                            source_instance: None,
                            tags: BTreeMap::new(),
                            ena_support: false,
                            imds_v2_required: false,
                            whole: false,
                        };
                        let made = catalog.ensure_image(step(), new).await.is_ok();
                        let there = model.get(&n).map(|k| k.owner);
                        prop_assert_eq!(made, there.is_none_or(|o| o == owner));
                        model.entry(n).or_insert(Known { owner, state: 0, public: false, to: None });
                    }
                    Act::Release(n) => {
                        catalog.release(step(), id(n)).await.unwrap();
                        if model.get(&n).is_some_and(|k| k.state < 2) {
                            model.remove(&n);
                        }
                    }
                    Act::Finish(n) => {
                        let done =
                            catalog.ensure_state(step(), id(n), Progress::Available(BTreeSet::new()), BTreeSet::new());
                        let done = done.await.is_ok();
                        prop_assert_eq!(done, model.get(&n).is_some_and(|k| k.state < 2));
                        if let Some(known) = model.get_mut(&n).filter(|k| k.state < 2) {
                            known.state = 1;
                        }
                    }
                    Act::Deregister(n, owner) => {
                        let done = catalog.deregister(step(), id(n), account(owner)).await.is_ok();
                        let known = model.get_mut(&n).filter(|k| k.owner == owner);
                        prop_assert_eq!(done, known.is_some());
                        if let Some(known) = known {
                            known.state = 2;
                        }
                    }
                    Act::Share(n, public, to) => {
                        revision += 1;
                        let accounts = BTreeSet::from([account(to)]);
                        let done = catalog.ensure_hint(id(n), public, accounts, revision).await;
                        prop_assert_eq!(done.is_ok(), model.contains_key(&n));
                        if let Some(known) = model.get_mut(&n) {
                            (known.public, known.to) = (public, Some(to));
                        }
                    }
                    Act::Ask(asker) => {
                        prop_assert_eq!(ask(&catalog, asker).await, expected(&model, asker));
                    }
                }
            }
            let afresh = Catalog::open(store).unwrap();
            for asker in 0..3 {
                prop_assert_eq!(ask(&catalog, asker).await, expected(&model, asker));
                prop_assert_eq!(ask(&afresh, asker).await, expected(&model, asker));
            }
            Ok(())
        })?;
    }
}
