//! Tags that accounts put on images of others, over a real socket.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{ANN, BOB, image, image_id, reason, saga, start};
use vmint_api::catalog::v1 as pb;
use vmint_api::types::v1::{Filter, Tag};
use vmint_store::Store;

const EVE: &str = "300000000003";

fn tag(n: u64, account: &str, put: &[(&str, &str)], id: &str) -> pb::EnsureViewerTagsRequest {
    pb::EnsureViewerTagsRequest {
        account_id: account.into(),
        image_id: image_id(n),
        put_tags: put.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect(),
        request_id: id.into(),
        ..Default::default()
    }
}

/// Semantics 26: tags are their account's own, and each account may tag what it sees.
#[tokio::test]
async fn tags_on_images_of_others_are_seen_and_found_by_who_put_them_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), vmint_store::Options::default()).unwrap();
    let mut running = start(store.clone()).await;
    let own = vec![Tag { key: "Stage".into(), value: "owner".into() }];
    running.available(pb::Image { tags: own.clone(), ..image(1, "shared") }).await;
    let public = pb::EnsureVisibilityHintRequest {
        image_id: image_id(1),
        public: true,
        revision: 1,
        ..Default::default()
    };
    running.internal.ensure_visibility_hint(public).await.unwrap();
    let by_tag = |account: &str, value: &str| pb::QueryImagesRequest {
        filters: vec![Filter { name: "tag:Stage".into(), values: vec![value.into()] }],
        account_id: account.into(),
        ..Default::default()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(running.names(by_tag(BOB, "*")).await, nothing);
    let put = tag(1, BOB, &[("Stage", "bob")], "b-1");
    let tags = running.internal.ensure_viewer_tags(put.clone()).await.unwrap().into_inner().tags;
    assert_eq!(tags, [Tag { key: "Stage".into(), value: "bob".into() }]);
    running.internal.ensure_viewer_tags(tag(1, EVE, &[("Stage", "eve")], "e-1")).await.unwrap();
    for (account, value) in [(ANN, "owner"), (BOB, "bob"), (EVE, "eve")] {
        assert_eq!(running.names(by_tag(account, value)).await, ["shared"], "{account}");
        for other in ["owner", "bob", "eve"].into_iter().filter(|other| *other != value) {
            assert_eq!(running.names(by_tag(account, other)).await, nothing, "{account} {other}");
        }
    }
    // Asked again it changes nothing; with another body it is refused.
    running.internal.ensure_viewer_tags(put).await.unwrap();
    let other = tag(1, BOB, &[("Stage", "x")], "b-1");
    let other = running.internal.ensure_viewer_tags(other).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    let owners = running.internal.ensure_viewer_tags(tag(1, ANN, &[("a", "")], "a-1")).await;
    assert_eq!(reason(&owners.unwrap_err()), "FIELD_INVALID");
    let reserved = tag(1, BOB, &[("aws:x", "")], "b-2");
    let reserved = running.internal.ensure_viewer_tags(reserved).await.unwrap_err();
    assert_eq!(reason(&reserved), "TAG_INVALID");
    running.stop().await;
    store.close().await;
    drop(store);

    let store = Store::open(dir.path(), vmint_store::Options::default()).unwrap();
    let mut running = start(store).await;
    let get = |account: &str| pb::BatchGetImagesRequest {
        image_ids: vec![image_id(1)],
        account_id: account.into(),
    };
    let seen = running.internal.batch_get_images(get(BOB)).await.unwrap().into_inner();
    assert_eq!(seen.images[0].tags[0].value, "bob");
    assert_eq!(seen.hinted_image_ids, [image_id(1)]);
    assert_eq!(
        running.internal.batch_get_images(get(ANN)).await.unwrap().into_inner().images[0].tags,
        own
    );
    let gone = pb::EnsureViewerTagsRequest {
        remove_tag_keys: vec!["Stage".into()],
        ..tag(1, BOB, &[], "b-3")
    };
    assert!(running.internal.ensure_viewer_tags(gone).await.unwrap().into_inner().tags.is_empty());
    assert_eq!(running.names(by_tag(BOB, "*")).await, nothing);
    assert_eq!(running.names(by_tag(EVE, "eve")).await, ["shared"]);
    // What ended is nobody's to tag, and a tag of a living one sweeps such tags away.
    let end = pb::EnsureDeregisteredRequest {
        saga: saga("ender", 1),
        image_id: image_id(1),
        account_id: ANN.into(),
    };
    running.internal.ensure_deregistered(end).await.unwrap();
    let late = running.internal.ensure_viewer_tags(tag(1, EVE, &[("a", "")], "e-2")).await;
    assert_eq!(reason(&late.unwrap_err()), "IMAGE_NOT_AVAILABLE");
    running.available(image(0, "living")).await;
    running.internal.ensure_viewer_tags(tag(0, EVE, &[("a", "")], "e-3")).await.unwrap();
    let swept = running.internal.batch_get_images(get(EVE)).await.unwrap().into_inner();
    assert!(swept.images[0].tags.is_empty());
}
