use proptest::prelude::*;

use super::*;

const ID: &str = "snap-0123456789abcdef0";

fn route(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Route, String> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let header =
        |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    Route::parse(method, path, query, header).map_err(|error| error.reason.to_owned())
}

fn id() -> SnapshotId {
    ID.parse().unwrap()
}

#[test]
fn every_operation_has_its_route() {
    let sum = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let sums = [
        ("x-amz-checksum", sum),
        ("x-amz-checksum-algorithm", "SHA256"),
        ("x-amz-checksum-aggregation-method", "LINEAR"),
        ("x-amz-data-length", "524288"),
        ("x-amz-changedblockscount", "3"),
    ];
    let put = route("PUT", &format!("/snapshots/{ID}/blocks/7"), &sums).unwrap();
    assert!(matches!(put, Route::PutSnapshotBlock { index: 7, snapshot, .. } if snapshot == id()));
    let done = route("POST", &format!("/snapshots/completion/{ID}"), &sums).unwrap();
    assert!(matches!(
        done,
        Route::CompleteSnapshot { changed_blocks: 3, checksum: Some(_), snapshot } if snapshot == id()
    ));
    assert_eq!(route("POST", "/snapshots", &[]), Ok(Route::StartSnapshot));
    assert_eq!(
        route("GET", &format!("/snapshots/{ID}/blocks/9?blockToken=a%2Bb"), &[]),
        Ok(Route::GetSnapshotBlock { snapshot: id(), index: 9, token: "a+b".to_owned() })
    );
    let paging = Paging { max_results: 100, page_token: Some("t".to_owned()), starting_index: 5 };
    let query = "maxResults=100&pageToken=t&startingBlockIndex=5";
    assert_eq!(
        route("GET", &format!("/snapshots/{ID}/blocks?{query}"), &[]),
        Ok(Route::ListSnapshotBlocks { snapshot: id(), paging: paging.clone() })
    );
    assert_eq!(
        route("GET", &format!("/snapshots/{ID}/changedblocks?{query}&firstSnapshotId={ID}"), &[]),
        Ok(Route::ListChangedBlocks { first: Some(id()), second: id(), paging })
    );
}

#[test]
fn what_is_wrong_has_a_reason() {
    let short = [("x-amz-data-length", "512")];
    let unsummed = [("x-amz-data-length", "524288")];
    for (method, path, headers, wanted) in [
        ("GET", "/snapshots".to_owned(), &[][..], "INVALID_PARAMETER_VALUE"),
        ("GET", "/snapshots/snap-1/blocks".to_owned(), &[], "INVALID_SNAPSHOT_ID"),
        ("GET", format!("/snapshots/{ID}/blocks?maxResults=99"), &[], "INVALID_PARAMETER_VALUE"),
        ("GET", format!("/snapshots/{ID}/blocks/-1?blockToken=a"), &[], "INVALID_PARAMETER_VALUE"),
        ("GET", format!("/snapshots/{ID}/blocks/1"), &[], "INVALID_BLOCK_TOKEN"),
        ("PUT", format!("/snapshots/{ID}/blocks/1"), &short, "INVALID_PARAMETER_VALUE"),
        ("PUT", format!("/snapshots/{ID}/blocks/1"), &unsummed, "INVALID_PARAMETER_VALUE"),
        ("POST", format!("/snapshots/completion/{ID}"), &[], "INVALID_PARAMETER_VALUE"),
    ] {
        assert_eq!(route(method, &path, headers), Err(wanted.to_owned()), "{method} {path}");
    }
}

#[test]
fn a_start_is_bounded() {
    let read = |body: &str| StartSnapshot::read(body.as_bytes()).map_err(|error| error.reason);
    let all = r#"{"VolumeSize":8,"Tags":[{"Key":"a","Value":"b"}],"Description":"d",
        "ClientToken":"t","Timeout":10,"ParentSnapshotId":"snap-1"}"#;
    let read_all = read(all).unwrap();
    assert_eq!((read_all.volume_size, read_all.timeout, read_all.tags.len()), (8, Some(10), 1));
    assert_eq!(read(r#"{"VolumeSize":0}"#), Err("INVALID_VOLUME_SIZE"));
    assert_eq!(read(r#"{"VolumeSize":65537}"#), Err("INVALID_VOLUME_SIZE"));
    assert_eq!(read(r#"{"VolumeSize":1,"Timeout":9}"#), Err("INVALID_PARAMETER_VALUE"));
    assert_eq!(read("{}"), Err("INVALID_PARAMETER_VALUE"));
    assert_eq!(read(&" ".repeat(65_537)), Err("INVALID_PARAMETER_VALUE"));
}

proptest! {
    #[test]
    fn any_request_is_read_or_refused(
        method in "GET|PUT|POST",
        path in "/(snapshots|completion|snap-[0-9a-f]{16,17}|blocks|[0-9%/]{0,6}|\\PC{0,4}){0,6}",
        query in "\\PC{0,40}",
        header in "\\PC{0,44}",
    ) {
        if let Ok(route) = Route::parse(&method, &path, &query, |_| Some(&header)) {
            prop_assert!(route.status() < 300);
        }
    }

    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(read) = StartSnapshot::read(&body) {
            prop_assert!((1..=65_536).contains(&read.volume_size));
        }
    }
}
