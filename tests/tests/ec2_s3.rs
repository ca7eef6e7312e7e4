//! S3's share over its own protocol: objects whole and in parts, and what must not be kept.
//!
//! Proves: nothing in full; what importing and exporting over S3 rely on.

use vmint_tests::{Ec2, Pieces, Setting, Stack, access_key, noise};

const MIB: usize = 1 << 20;

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
    maker.s3_ok("PUT", "/disks", b"").await;
    assert_eq!(maker.s3_refused("PUT", "/disks", &[], b"").await, "BucketAlreadyOwnedByYou");
    assert_eq!(friend.s3_refused("PUT", "/disks", &[], b"").await, "BucketAlreadyExists");
    assert_eq!(friend.s3_refused("GET", "/disks/a", &[], b"").await, "AccessDenied");
    assert_eq!(maker.s3_refused("PUT", "/Disks", &[], b"").await, "InvalidBucketName");
    assert_eq!(maker.s3_refused("GET", "/none?list-type=2", &[], b"").await, "NoSuchBucket");
    assert_eq!(maker.s3_ok("GET", "/", b"").await.inside("Name"), "disks");
    assert!(!friend.s3_ok("GET", "/", b"").await.text().contains("<Name>"));

    // An object comes back as it went, whole and in part, over a restart of storage too.
    let content = noise(3 * MIB + 7, 1);
    let headers = [("content-type", "a/b"), ("x-amz-meta-colour", "blue")];
    let put = maker.s3("PUT", "/disks/a%20b/c.raw", &headers, &content).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let old = stack.kill9("storage");
    stack.back("storage", old).await;
    let got = maker.s3_ok("GET", "/disks/a%20b/c.raw", b"").await;
    assert!(got.body == content);
    assert_eq!(
        (got.header("content-type"), got.header("x-amz-meta-colour")),
        ("a/b".into(), "blue".into())
    );
    assert_eq!(got.header("etag"), put.header("etag"));
    let range = [("range", "bytes=1048576-1048585")];
    let part = maker.s3("GET", "/disks/a%20b/c.raw", &range, b"").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &content[MIB..MIB + 10]));
    assert_eq!(part.header("content-range"), format!("bytes 1048576-1048585/{}", content.len()));
    let beyond = [("range", "bytes=99999999-")];
    assert_eq!(maker.s3_refused("GET", "/disks/a%20b/c.raw", &beyond, b"").await, "InvalidRange");
    let looked = maker.s3("HEAD", "/disks/a%20b/c.raw", &[], b"").await;
    assert_eq!((looked.status, looked.body.len()), (200, 0));
    assert_eq!(looked.header("content-length"), content.len().to_string());
    assert_eq!(maker.s3("HEAD", "/disks/none", &[], b"").await.status, 404);

    // What is not as declared is not kept, and leaves no file behind.
    let there = files(&stack);
    for (headers, code) in [
        ([("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")], "BadDigest"),
        ([("x-amz-checksum-crc32", "AAAAAA==")], "BadDigest"),
        ([("x-amz-checksum-crc32", "AAAA")], "InvalidDigest"),
        ([("x-amz-server-side-encryption", "AES256")], "NotImplemented"),
        ([("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], "BadDigest"),
        ([("x-amz-copy-source", "/disks/a")], "NoSuchKey"),
        ([("x-amz-copy-source", "disks")], "InvalidArgument"),
    ] {
        assert_eq!(maker.s3_refused("PUT", "/disks/bad", &headers, b"hello").await, code);
    }
    assert_eq!(maker.s3_refused("GET", "/disks/bad", &[], b"").await, "NoSuchKey");
    assert_eq!(files(&stack), there);

    // Parts become one object.
    let started = maker.s3_ok("POST", "/disks/big?uploads", b"").await;
    let id = started.inside("UploadId");
    let (one, two) = (noise(5 * MIB, 2), noise(99, 3));
    let mut named = String::new();
    for (number, bytes) in [(2, &two), (1, &one)] {
        let target = format!("/disks/big?partNumber={number}&uploadId={id}");
        let etag = maker.s3_ok("PUT", &target, bytes).await.header("etag");
        named = format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>{named}");
    }
    let upload = format!("/disks/big?uploadId={id}");
    assert_eq!(maker.s3_ok("GET", &upload, b"").await.text().matches("<Part>").count(), 2);
    let wrong = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    assert_eq!(maker.s3_refused("POST", &upload, &[], wrong.as_bytes()).await, "InvalidPart");
    let all = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    let done = maker.s3_ok("POST", &upload, all.as_bytes()).await;
    assert!(done.inside("ETag").contains("-2"), "{}", done.text());
    let got = maker.s3_ok("GET", "/disks/big", b"").await;
    assert!(got.body == [one.as_slice(), &two].concat());
    let over = [("range", "bytes=5242878-5242882")];
    let got = maker.s3("GET", "/disks/big", &over, b"").await;
    assert_eq!(got.body, [&one[5 * MIB - 2..], &two[..3]].concat());
    assert_eq!(maker.s3_refused("GET", &upload, &[], b"").await, "NoSuchUpload");
    let started = maker.s3_ok("POST", "/disks/gone?uploads", b"").await;
    let gone = format!("/disks/gone?uploadId={}", started.inside("UploadId"));
    maker.s3_ok("PUT", &format!("{gone}&partNumber=1"), b"x").await;
    maker.s3_ok("DELETE", &gone, b"").await;

    // Listings, and the end of it all.
    for key in ["d/1", "d/2", "d/e/3", "z"] {
        maker.s3_ok("PUT", &format!("/disks/{key}"), key.as_bytes()).await;
    }
    let listed = maker.s3_ok("GET", "/disks?list-type=2&prefix=d%2F&delimiter=%2F", b"").await;
    assert_eq!(listed.inside("KeyCount"), "3");
    assert!(listed.text().contains("<CommonPrefixes><Prefix>d/e/</Prefix></CommonPrefixes>"));
    let first = maker.s3_ok("GET", "/disks?list-type=2&max-keys=3", b"").await;
    let token = first.inside("NextContinuationToken");
    let next =
        maker.s3_ok("GET", &format!("/disks?continuation-token={token}&list-type=2"), b"").await;
    assert_eq!((first.inside("KeyCount"), next.inside("KeyCount")), ("3".into(), "3".into()));
    assert_eq!(maker.s3_refused("DELETE", "/disks", &[], b"").await, "BucketNotEmpty");
    let keys = ["a b/c.raw", "big", "d/1", "d/2", "d/e/3", "z", "none"];
    let keys = keys.map(|key| format!("<Object><Key>{key}</Key></Object>")).concat();
    maker.s3_ok("POST", "/disks?delete", format!("<Delete>{keys}</Delete>").as_bytes()).await;
    assert_eq!(files(&stack), 0);
    maker.s3_ok("DELETE", "/disks", b"").await;
    assert_eq!(maker.s3_refused("GET", "/disks?location", &[], b"").await, "NoSuchBucket");
    assert_eq!(maker.s3_refused("GET", "/disks?acl", &[], b"").await, "NotImplemented");
}

#[tokio::test]
async fn copies_share_their_content_and_outlive_the_original() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;
    ok_bucket(&maker, "one").await;
    ok_bucket(&maker, "two").await;
    ok_bucket(&friend, "theirs").await;
    let content = noise(6 * MIB, 7);
    let headers = [("content-type", "a/b"), ("x-amz-meta-colour", "blue")];
    let put = maker.s3("PUT", "/one/a%20b", &headers, &content).await;
    let etag = put.header("etag");

    // With what stands beside it, or with something else.
    let from = ("x-amz-copy-source", "/one/a%20b");
    let copied = maker.s3("PUT", "/two/c", &[from], b"").await;
    assert_eq!(
        (copied.status, copied.inside("ETag")),
        (200, etag.replace('"', "&quot;")),
        "{}",
        copied.text()
    );
    let got = maker.s3_ok("GET", "/two/c", b"").await;
    assert!(got.body == content);
    assert_eq!(got.header("x-amz-meta-colour"), "blue");
    let other = [from, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-colour", "red")];
    assert_eq!(maker.s3("PUT", "/two/d", &other, b"").await.status, 200);
    assert_eq!(maker.s3_ok("GET", "/two/d", b"").await.header("x-amz-meta-colour"), "red");
    assert_eq!(maker.s3("PUT", "/one/a%20b", &other, b"").await.status, 200);
    assert_eq!(maker.s3_ok("GET", "/one/a%20b", b"").await.header("x-amz-meta-colour"), "red");
    assert_eq!(maker.s3_refused("PUT", "/one/a%20b", &[from], b"").await, "InvalidRequest");

    // A part of one is a part of another.
    let id = maker.s3_ok("POST", "/two/e?uploads", b"").await.inside("UploadId");
    let mut named = String::new();
    for (n, range) in [(1, "bytes=0-5242879"), (2, "bytes=5242880-5242889")] {
        let headers = [from, ("x-amz-copy-source-range", range)];
        let at = format!("/two/e?partNumber={n}&uploadId={id}");
        let part = maker.s3("PUT", &at, &headers, b"").await;
        assert!(part.text().contains("<CopyPartResult"), "{}", part.text());
        let etag = part.inside("ETag");
        named += &format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let all = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    maker.s3_ok("POST", &format!("/two/e?uploadId={id}"), all.as_bytes()).await;
    assert!(maker.s3_ok("GET", "/two/e", b"").await.body == content[..5_242_890]);

    // Nobody copies what is not theirs, nor what has changed.
    assert_eq!(friend.s3_refused("PUT", "/theirs/a", &[from], b"").await, "AccessDenied");
    assert_eq!(maker.s3_refused("PUT", "/theirs/a", &[from], b"").await, "AccessDenied");
    let gone = [("x-amz-copy-source", "/one/none")];
    assert_eq!(maker.s3_refused("PUT", "/two/f", &gone, b"").await, "NoSuchKey");
    let stale = [from, ("x-amz-copy-source-if-match", "\"0123\"")];
    assert_eq!(maker.s3_refused("PUT", "/two/f", &stale, b"").await, "PreconditionFailed");

    // The original goes; the copies stay, over a restart too.
    maker.s3_ok("DELETE", "/one/a%20b", b"").await;
    let old = stack.kill9("storage");
    stack.back("storage", old).await;
    assert!(maker.s3_ok("GET", "/two/c", b"").await.body == content);
    let keys = ["c", "d", "e"].map(|key| format!("<Object><Key>{key}</Key></Object>")).concat();
    maker.s3_ok("POST", "/two?delete", format!("<Delete>{keys}</Delete>").as_bytes()).await;
    assert_eq!(files(&stack), 0);
}

async fn ok_bucket(who: &Ec2, name: &str) {
    who.s3_ok("PUT", &format!("/{name}"), b"").await;
}

#[tokio::test]
async fn an_object_is_written_only_where_the_one_is_that_was_meant() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    ok_bucket(&maker, "disks").await;
    let (absent, one) = (("if-none-match", "*"), "/disks/one");
    let put = maker.s3("PUT", one, &[absent], b"first").await;
    assert_eq!(put.status, 200, "{}", put.text());
    let etag = put.header("etag");
    let again = maker.s3("PUT", one, &[absent], b"second").await;
    assert_eq!((again.status, again.inside("Code")), (412, "PreconditionFailed".to_owned()));
    let stale = [("if-match", "\"0123\"")];
    assert_eq!(maker.s3_refused("PUT", one, &stale, b"second").await, "PreconditionFailed");
    let none = maker.s3("PUT", "/disks/none", &[("if-match", &*etag)], b"x").await;
    assert_eq!((none.status, none.inside("Code")), (404, "NoSuchKey".to_owned()));
    assert_eq!(maker.s3_ok("GET", one, b"").await.body, b"first");
    let second = maker.s3("PUT", one, &[("if-match", &*etag)], b"second").await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(maker.s3_ok("GET", one, b"").await.body, b"second");
    let odd = [("if-none-match", "\"0123\"")];
    assert_eq!(maker.s3_refused("PUT", one, &odd, b"x").await, "NotImplemented");
    // So are copies and what comes in parts.
    let copy = [("x-amz-copy-source", "disks/one"), absent];
    assert_eq!(maker.s3("PUT", "/disks/two", &copy, b"").await.status, 200);
    assert_eq!(maker.s3_refused("PUT", "/disks/two", &copy, b"").await, "PreconditionFailed");
    let id = maker.s3_ok("POST", "/disks/one?uploads", b"").await.inside("UploadId");
    let part = format!("/disks/one?partNumber=1&uploadId={id}");
    let part = maker.s3_ok("PUT", &part, b"third").await.header("etag");
    let all = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let upload = format!("/disks/one?uploadId={id}");
    let refused = maker.s3_refused("POST", &upload, &[absent], all.as_bytes()).await;
    assert_eq!(refused, "PreconditionFailed");
    let current = [("if-match", &*second.header("etag"))];
    assert_eq!(maker.s3("POST", &upload, &current, all.as_bytes()).await.status, 200);
    assert_eq!(maker.s3_ok("GET", one, b"").await.body, b"third");
}

#[tokio::test]
async fn pieces_signed_one_by_one_are_kept_only_as_they_were_signed() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    ok_bucket(&maker, "disks").await;
    let whole = noise(200_000, 9);
    let content = whole.chunks(65_536).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let plain = Pieces { content: content.clone(), ..Pieces::default() };
    let put = maker.put_pieces("/disks/plain", &plain).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert!(maker.s3_ok("GET", "/disks/plain", b"").await.body == whole);
    // Of "hello world".
    let hello = vec![b"hello".to_vec(), b" world".to_vec()];
    for (name, value, kept) in [
        ("x-amz-checksum-crc32", "DUoRhQ==", true),
        ("x-amz-checksum-crc64nvme", "jSnVw/bqjr4=", true),
        ("x-amz-checksum-crc32", "DUoRhA==", false),
    ] {
        let trailer = Some((name, value.to_owned()));
        let pieces = Pieces { content: hello.clone(), trailer, spoilt: None };
        let put = maker.put_pieces("/disks/summed", &pieces).await;
        if kept {
            assert_eq!((put.status, put.header(name)), (200, value.to_owned()), "{}", put.text());
            assert_eq!(maker.s3_ok("GET", "/disks/summed", b"").await.body, b"hello world");
        } else {
            assert_eq!(put.inside("Code"), "BadDigest");
        }
    }
    // A byte of a piece, and one of its signature.
    let there = files(&stack);
    for at in [40, 100, 70_000] {
        let pieces = Pieces { spoilt: Some(at), ..plain.clone() };
        let put = maker.put_pieces("/disks/bad", &pieces).await;
        assert_eq!(put.inside("Code"), "SignatureDoesNotMatch", "{at}: {}", put.text());
    }
    assert_eq!(maker.s3_refused("GET", "/disks/bad", &[], b"").await, "NoSuchKey");
    assert_eq!(files(&stack), there);
}

#[tokio::test]
async fn objects_go_to_the_region_that_their_signature_names() {
    let setting = Setting { simulated: true, regions: vec!["here", "there"], ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let key = |region| Ec2::with_key(access_key("maker"), &stack.gateway(), region);
    let (here, there) = (key("here"), key("there"));
    // The names of one region say nothing of the other's.
    ok_bucket(&here, "disks").await;
    ok_bucket(&there, "disks").await;
    let content = noise(3 * MIB + 1, 11);
    let put = there.s3("PUT", "/disks/far", &[("x-amz-meta-colour", "blue")], &content).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let pieces = Pieces { content: vec![content.clone()], ..Pieces::default() };
    let put = there.put_pieces("/disks/pieces", &pieces).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(here.s3_refused("GET", "/disks/far", &[], b"").await, "NoSuchKey");
    let got = there.s3_ok("GET", "/disks/far", b"").await;
    assert!(got.body == content);
    assert_eq!(got.header("x-amz-meta-colour"), "blue");
    assert!(there.s3_ok("GET", "/disks/pieces", b"").await.body == content);
    let location = there.s3_ok("GET", "/disks?location", b"").await;
    assert!(location.text().contains(">there<"), "{}", location.text());
    // What is not as declared is refused by the other region as by this one.
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(there.s3_refused("PUT", "/disks/bad", &wrong, b"hello").await, "BadDigest");
}
