//! Tags, filters and pages.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn labels_keep_their_rules_and_change_all_or_none() {
    let place = Place::new();
    let mut running = place.start().await;
    let ours = running.import(&sparse(8, 2)).await.snapshot_id;
    let put = |ids: &[&str], tags: Vec<Tag>| pb::TagResourcesRequest {
        resource_ids: ids.iter().map(ToString::to_string).collect(),
        tags,
        request_id: String::new(),
    };
    let many = |range: std::ops::Range<u32>| range.map(|n| tag(&format!("k{n}"), "")).collect();
    running.snapshots.tag_resources(from(ANN, put(&[&ours], many(0..49)))).await.unwrap();
    let missing = snap(0xdead);
    for (request, why) in [
        (put(&[&ours], many(49..51)), "TAG_INVALID"),
        (put(&[&ours], vec![tag("aws:x", "")]), "TAG_INVALID"),
        (put(&[&ours, &missing], vec![tag("new", "")]), "SNAPSHOT_NOT_FOUND"),
        (put(&[&ours, "ami-1"], vec![tag("new", "")]), "FIELD_INVALID"),
        (put(&[&ours], vec![]), "FIELD_INVALID"),
        (put(&[], vec![tag("new", "")]), "FIELD_INVALID"),
    ] {
        let refused = running.snapshots.tag_resources(from(ANN, request)).await.unwrap_err();
        assert_eq!(reason(&refused), why);
    }
    assert_eq!(running.settled(ANN, &ours).await.tags.len(), 49);
    let select = |key: &str, value: Option<&str>| pb::TagSelector {
        key: key.to_owned(),
        value: value.map(str::to_owned),
    };
    let take = pb::UntagResourcesRequest {
        resource_ids: vec![ours.clone()],
        tags: vec![select("k1", None), select("k2", Some("other")), select("nothing", None)],
        request_id: String::new(),
    };
    running.snapshots.untag_resources(from(ANN, take)).await.unwrap();
    let left = running.settled(ANN, &ours).await.tags;
    assert_eq!(left.len(), 48);
    assert!(left.contains(&tag("k2", "")));
    // None named are all.
    let all = pb::UntagResourcesRequest { resource_ids: vec![ours.clone()], ..Default::default() };
    running.snapshots.untag_resources(from(ANN, all)).await.unwrap();
    assert!(running.settled(ANN, &ours).await.tags.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_ids_and_pages_go_together() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(running.import(&sparse(20 + n, 2)).await.snapshot_id);
    }
    ids.sort();
    for id in &ids[..3] {
        let request = pb::TagResourcesRequest {
            resource_ids: vec![id.clone()],
            tags: vec![tag("Team", "blue")],
            request_id: String::new(),
        };
        running.snapshots.tag_resources(from(ANN, request)).await.unwrap();
    }
    let by = |filters: Vec<Filter>| pb::ListSnapshotsRequest {
        filters,
        page_size: 2,
        ..Default::default()
    };
    let blue = by(vec![filter("tag:Team", &["bl*"]), filter("status", &["completed", "pending"])]);
    assert_eq!(listed(&mut running, ANN, blue.clone()).await.unwrap(), ids[..3]);
    let none = by(vec![filter("volume-size", &["2"])]);
    assert!(listed(&mut running, ANN, none).await.unwrap().is_empty());
    let named = pb::ListSnapshotsRequest { snapshot_ids: ids[2..].to_vec(), ..blue };
    assert_eq!(listed(&mut running, ANN, named.clone()).await.unwrap(), ids[2..3]);
    let refused = listed(&mut running, BOB, named).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    let refused = listed(&mut running, ANN, by(vec![filter("colour", &["red"])])).await;
    assert_eq!(reason(&refused.unwrap_err()), "FILTER_INVALID");
    // A token serves the query it was given out for.
    let first = running.users.list_snapshots(from(ANN, by(vec![]))).await.unwrap().into_inner();
    assert_eq!(first.snapshots.len(), 2);
    let mut other = by(vec![filter("status", &["completed"])]);
    other.page_token = first.next_page_token;
    let refused = listed(&mut running, ANN, other).await.unwrap_err();
    assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
    running.stop().await;
}
