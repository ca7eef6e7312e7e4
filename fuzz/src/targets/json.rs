//! REST-JSON (EBS direct) and JSON 1.1: what is asked for, and its body.

use vmint_ec2::{
    Reply,
    ebs::{Route, StartSnapshot},
    json::{self, Target as JsonTarget},
};

use super::wire::Asked;
use crate::Target;

pub const TARGET: Target = Target { name: "json", run, seeds };

fn run(data: &[u8]) {
    let Some(asked) = Asked::read(data) else { return };
    match Route::parse(asked.method, asked.path, asked.query, |name| asked.header(name)) {
        Err(error) => assert!(Reply::ebs_error(&error, "r").status >= 400),
        Ok(Route::StartSnapshot) => {
            if let Ok(start) = StartSnapshot::read(asked.body) {
                assert!((1..=65_536).contains(&start.volume_size));
            }
        }
        Ok(Route::ListSnapshotBlocks { paging, .. } | Route::ListChangedBlocks { paging, .. }) => {
            assert!((100..=10_000).contains(&paging.max_results));
        }
        Ok(Route::PutSnapshotBlock { progress, .. }) => {
            assert!(progress.is_none_or(|percent| percent <= 100));
        }
        Ok(_) => {}
    }
    if let Some(Ok(target)) = asked.header("x-amz-target").map(JsonTarget::parse) {
        assert!(!target.service.is_empty() && !target.operation.contains('.'));
    }
    match json::read::<serde_json::Value>(asked.body) {
        Ok(value) => assert_eq!(Reply::json("r", &value).status, 200),
        Err(error) => assert_eq!(Reply::json_error(&error, "r").status, error.status),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let id = "snap-0123456789abcdef0";
    [
        "POST /snapshots\n\n{\"VolumeSize\":8,\"Tags\":[{\"Key\":\"k\",\"Value\":\"v\"}],\
         \"Timeout\":10,\"ClientToken\":\"t\",\"Description\":\"d\",\"Encrypted\":false}"
            .to_owned(),
        format!(
            "PUT /snapshots/{id}/blocks/7\nx-amz-data-length:524288\nx-amz-progress:9\n\
             x-amz-checksum-algorithm:SHA256\n\
             x-amz-checksum:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"
        ),
        format!(
            "POST /snapshots/completion/{id}\nx-amz-changedblockscount:3\n\
             x-amz-checksum-aggregation-method:LINEAR\nx-amz-checksum-algorithm:SHA256\n\
             x-amz-checksum:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"
        ),
        format!(
            "GET /snapshots/{id}/blocks?maxResults=100&pageToken=a%2Bb&startingBlockIndex=1\n\n"
        ),
        format!("GET /snapshots/{id}/blocks/1?blockToken=abc\n\n"),
        format!("GET /snapshots/{id}/changedblocks?firstSnapshotId={id}\n\n"),
        "POST /\nx-amz-target:AmazonSSM.GetParameter\n\n{\"Name\":\"/a\",\"WithDecryption\":true}"
            .to_owned(),
        "POST /\nx-amz-target:A.B\n\n[[[[[{\"a\":[1e9,-0.0,null,\"\\ud83d\\ude00\"]}]]]]]"
            .to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
