//! S3's share over its own protocol: objects whole and in parts, and what must not be kept.
//!
//! Proves: nothing in full; what importing and exporting over S3 rely on.

use vmint_tests::{Ec2, Setting, Stack};

const MIB: usize = 1 << 20;

struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    }

    fn inside(&self, name: &str) -> String {
        let text = self.text();
        let rest = text.split(&format!("<{name}>")).nth(1).unwrap_or_default();
        rest.split(&format!("</{name}>")).next().unwrap_or_default().to_owned()
    }
}

async fn send(
    who: &Ec2,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Said {
    let (status, head, body) = who.send("s3", method, target, headers, body).await;
    Said { status, head, body }
}

async fn ok(who: &Ec2, method: &str, target: &str, body: &[u8]) -> Said {
    let said = send(who, method, target, &[], body).await;
    assert!((200..300).contains(&said.status), "{method} {target}: {}", said.text());
    said
}

async fn refused(
    who: &Ec2,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    let said = send(who, method, target, headers, body).await;
    assert!(said.status >= 400, "{method} {target}: {} {}", said.status, said.text());
    said.inside("Code")
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| step()).collect()
}

/// The names of the files that objects lie in.
fn files(stack: &Stack) -> usize {
    std::fs::read_dir(stack.data().join("data/storage/objects"))
        .or_else(|_| std::fs::read_dir(stack.data().join("storage/objects")))
        .unwrap()
        .count()
}

#[tokio::test]
async fn objects_live_as_their_protocol_says_and_outlive_storage() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;

    // Buckets are their account's alone.
    ok(&maker, "PUT", "/disks", b"").await;
    assert_eq!(refused(&maker, "PUT", "/disks", &[], b"").await, "BucketAlreadyOwnedByYou");
    assert_eq!(refused(&friend, "PUT", "/disks", &[], b"").await, "BucketAlreadyExists");
    assert_eq!(refused(&friend, "GET", "/disks/a", &[], b"").await, "AccessDenied");
    assert_eq!(refused(&maker, "PUT", "/Disks", &[], b"").await, "InvalidBucketName");
    assert_eq!(refused(&maker, "GET", "/none?list-type=2", &[], b"").await, "NoSuchBucket");
    assert_eq!(ok(&maker, "GET", "/", b"").await.inside("Name"), "disks");
    assert!(!ok(&friend, "GET", "/", b"").await.text().contains("<Name>"));

    // An object comes back as it went, whole and in part, over a restart of storage too.
    let content = noise(3 * MIB + 7, 1);
    let headers = [("content-type", "a/b"), ("x-amz-meta-colour", "blue")];
    let put = send(&maker, "PUT", "/disks/a%20b/c.raw", &headers, &content).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let old = stack.kill9("storage");
    stack.back("storage", old).await;
    let got = ok(&maker, "GET", "/disks/a%20b/c.raw", b"").await;
    assert!(got.body == content);
    assert_eq!(
        (got.header("content-type"), got.header("x-amz-meta-colour")),
        ("a/b".into(), "blue".into())
    );
    assert_eq!(got.header("etag"), put.header("etag"));
    let range = [("range", "bytes=1048576-1048585")];
    let part = send(&maker, "GET", "/disks/a%20b/c.raw", &range, b"").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &content[MIB..MIB + 10]));
    assert_eq!(part.header("content-range"), format!("bytes 1048576-1048585/{}", content.len()));
    let beyond = [("range", "bytes=99999999-")];
    assert_eq!(refused(&maker, "GET", "/disks/a%20b/c.raw", &beyond, b"").await, "InvalidRange");
    let looked = send(&maker, "HEAD", "/disks/a%20b/c.raw", &[], b"").await;
    assert_eq!((looked.status, looked.body.len()), (200, 0));
    assert_eq!(looked.header("content-length"), content.len().to_string());
    assert_eq!(send(&maker, "HEAD", "/disks/none", &[], b"").await.status, 404);

    // What is not as declared is not kept, and leaves no file behind.
    let there = files(&stack);
    for (headers, code) in [
        ([("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")], "BadDigest"),
        ([("x-amz-checksum-crc32", "AAAAAA==")], "BadDigest"),
        ([("x-amz-checksum-crc32", "AAAA")], "InvalidDigest"),
        ([("x-amz-server-side-encryption", "AES256")], "NotImplemented"),
        ([("x-amz-copy-source", "/disks/a")], "NotImplemented"),
    ] {
        assert_eq!(refused(&maker, "PUT", "/disks/bad", &headers, b"hello").await, code);
    }
    assert_eq!(refused(&maker, "GET", "/disks/bad", &[], b"").await, "NoSuchKey");
    assert_eq!(files(&stack), there);

    // Parts become one object.
    let started = ok(&maker, "POST", "/disks/big?uploads", b"").await;
    let id = started.inside("UploadId");
    let (one, two) = (noise(5 * MIB, 2), noise(99, 3));
    let mut named = String::new();
    for (number, bytes) in [(2, &two), (1, &one)] {
        let target = format!("/disks/big?partNumber={number}&uploadId={id}");
        let etag = ok(&maker, "PUT", &target, bytes).await.header("etag");
        named = format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>{named}");
    }
    let upload = format!("/disks/big?uploadId={id}");
    assert_eq!(ok(&maker, "GET", &upload, b"").await.text().matches("<Part>").count(), 2);
    let wrong = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    assert_eq!(refused(&maker, "POST", &upload, &[], wrong.as_bytes()).await, "InvalidPart");
    let all = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    let done = ok(&maker, "POST", &upload, all.as_bytes()).await;
    assert!(done.inside("ETag").contains("-2"), "{}", done.text());
    let got = ok(&maker, "GET", "/disks/big", b"").await;
    assert!(got.body == [one.as_slice(), &two].concat());
    let over = [("range", "bytes=5242878-5242882")];
    let got = send(&maker, "GET", "/disks/big", &over, b"").await;
    assert_eq!(got.body, [&one[5 * MIB - 2..], &two[..3]].concat());
    assert_eq!(refused(&maker, "GET", &upload, &[], b"").await, "NoSuchUpload");
    let started = ok(&maker, "POST", "/disks/gone?uploads", b"").await;
    let gone = format!("/disks/gone?uploadId={}", started.inside("UploadId"));
    ok(&maker, "PUT", &format!("{gone}&partNumber=1"), b"x").await;
    ok(&maker, "DELETE", &gone, b"").await;

    // Listings, and the end of it all.
    for key in ["d/1", "d/2", "d/e/3", "z"] {
        ok(&maker, "PUT", &format!("/disks/{key}"), key.as_bytes()).await;
    }
    let listed = ok(&maker, "GET", "/disks?list-type=2&prefix=d%2F&delimiter=%2F", b"").await;
    assert_eq!(listed.inside("KeyCount"), "3");
    assert!(listed.text().contains("<CommonPrefixes><Prefix>d/e/</Prefix></CommonPrefixes>"));
    let first = ok(&maker, "GET", "/disks?list-type=2&max-keys=3", b"").await;
    let token = first.inside("NextContinuationToken");
    let next =
        ok(&maker, "GET", &format!("/disks?continuation-token={token}&list-type=2"), b"").await;
    assert_eq!((first.inside("KeyCount"), next.inside("KeyCount")), ("3".into(), "3".into()));
    assert_eq!(refused(&maker, "DELETE", "/disks", &[], b"").await, "BucketNotEmpty");
    let keys = ["a b/c.raw", "big", "d/1", "d/2", "d/e/3", "z", "none"];
    let keys = keys.map(|key| format!("<Object><Key>{key}</Key></Object>")).concat();
    ok(&maker, "POST", "/disks?delete", format!("<Delete>{keys}</Delete>").as_bytes()).await;
    assert_eq!(files(&stack), 0);
    ok(&maker, "DELETE", "/disks", b"").await;
    assert_eq!(refused(&maker, "GET", "/disks?location", &[], b"").await, "NoSuchBucket");
    assert_eq!(refused(&maker, "GET", "/disks?acl", &[], b"").await, "NotImplemented");
}
