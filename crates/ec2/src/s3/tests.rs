use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::sigv4::{Scope, SigningKey};

fn kind<T: std::fmt::Debug>(result: Result<T, S3Error>) -> &'static str {
    result.unwrap_err().kind.wire()
}

#[test]
fn requests_are_told_apart_by_method_path_and_query() {
    let name = |method, path, query| Route::parse(method, path, query).map(|route| route.name());
    for (method, path, query, wanted) in [
        ("GET", "/", "x-id=ListBuckets", "ListBuckets"),
        ("PUT", "/b", "", "CreateBucket"),
        ("PUT", "/b/", "", "CreateBucket"),
        ("HEAD", "/b", "", "HeadBucket"),
        ("GET", "/b", "location", "GetBucketLocation"),
        ("GET", "/b", "list-type=2&prefix=a", "ListObjectsV2"),
        ("POST", "/b", "delete=", "DeleteObjects"),
        ("PUT", "/b/k/l", "x-id=PutObject", "PutObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", "UploadPart"),
        ("POST", "/b/k", "uploads", "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/b/k", "uploadId=u", "AbortMultipartUpload"),
        ("DELETE", "/b/k", "", "DeleteObject"),
        ("GET", "/b/k", "uploadId=u", "ListParts"),
    ] {
        assert_eq!(name(method, path, query), Ok(wanted), "{method} {path}?{query}");
    }
    assert_eq!(kind(name("GET", "/b", "acl")), "NotImplemented");
    assert_eq!(kind(name("POST", "/b", "")), "MethodNotAllowed");
    assert_eq!(kind(name("PUT", "/b/k", "partNumber=0&uploadId=u")), "InvalidArgument");
    assert_eq!(kind(name("GET", "/b/%zz", "")), "InvalidArgument");
    let key = Route::parse("GET", "/b/a%2Fb+c%20d/..//e", "").unwrap();
    assert_eq!(key, Route::GetObject { bucket: "b".into(), key: "a/b+c d/..//e".into() });
}

#[test]
fn ranges_are_read_as_they_are_written() {
    for (text, wanted) in [
        ("bytes=0-9", Some(Range::From(0, Some(9)))),
        ("bytes=5-", Some(Range::From(5, None))),
        ("bytes=-3", Some(Range::Last(3))),
        ("bytes=9-0", None),
        ("bytes=0-1,3-4", None),
        ("bytes=+1-2", None),
        ("lines=1-2", None),
    ] {
        assert_eq!(Range::parse(text), wanted, "{text}");
    }
}

#[test]
fn what_is_copied_is_named_as_it_stands_in_an_address() {
    let read = |text: &str| CopySource::parse(text).map(|it| (it.bucket, it.key));
    for text in ["/b/a%20b/c+d", "b/a%20b/c+d", "b/a b/c+d?"] {
        assert_eq!(read(text), Ok(("b".into(), "a b/c+d".into())), "{text}");
    }
    for bad in ["", "/", "b", "/b/", "//k", "b/%zz"] {
        assert_eq!(kind(read(bad)), "InvalidArgument", "{bad}");
    }
    assert_eq!(kind(read("b/k?versionId=1")), "NotImplemented");
}

type Taken = (Vec<u8>, Vec<(String, String)>);

fn take_by(chunked: Chunked, body: &[u8], step: usize) -> Result<Taken, S3Error> {
    let (mut chunked, mut content) = (chunked, Vec::new());
    for part in body.chunks(step) {
        chunked.take(part, &mut content)?;
    }
    Ok((content, chunked.finish()?))
}

#[test]
fn pieces_come_together_however_they_are_cut() {
    let body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    for step in 1..=body.len() {
        let (content, trailers) = take_by(Chunked::new(None, true), body, step).unwrap();
        assert_eq!(content, b"hello world", "{step}");
        assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]);
    }
    for (bad, trailing) in [
        (&b"5\r\nhello"[..], true),
        (&b"5\r\nhelloo\r\n0\r\n\r\n"[..], true),
        (&b"x\r\n"[..], true),
        (&b"fffffffff\r\n"[..], true),
        (&b"0\r\nx-a:b\r\n\r\n"[..], false),
        (&b"0\r\n\r\nmore"[..], true),
    ] {
        let refused = kind(take_by(Chunked::new(None, trailing), bad, 3));
        assert_eq!(refused, "IncompleteBody", "{bad:?}");
    }
}

fn signing() -> Signing {
    let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope);
    Signing { key, date: "20130524T000000Z".into(), scope, previous: [7; 32] }
}

/// Signs pieces as a client does.
fn signed(pieces: &[&[u8]]) -> Vec<u8> {
    let mut signing = signing();
    let mut body = Vec::new();
    for piece in pieces.iter().copied().chain([&b""[..]]) {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            signing.date,
            signing.scope.to_text(),
            hex::encode(signing.previous),
            hex::encode(Sha256::digest([])),
            hex::encode(Sha256::digest(piece)),
        );
        let mut hmac = Hmac::<Sha256>::new_from_slice(&signing.key.to_bytes()).unwrap();
        hmac.update(text.as_bytes());
        signing.previous = hmac.finalize().into_bytes().into();
        let sum = hex::encode(signing.previous);
        body.extend(format!("{:x};chunk-signature={sum}\r\n", piece.len()).bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    body
}

#[test]
fn signed_pieces_are_each_as_they_were_signed() {
    let body = signed(&[b"hello", b" world"]);
    for step in [1, 7, body.len()] {
        let (content, _) = take_by(Chunked::new(Some(signing()), false), &body, step).unwrap();
        assert_eq!(content, b"hello world");
    }
    for at in 0..body.len() {
        let mut bad = body.clone();
        bad[at] ^= 1;
        let taken = take_by(Chunked::new(Some(signing()), false), &bad, 1 << 20);
        // Only where a line breaks may it be otherwise.
        let content = taken.map(|(content, _)| content);
        assert!(content.is_err() || content == Ok(b"hello world".to_vec()), "{at}");
    }
    let cut = &signed(&[b"hello"])[..40];
    assert!(take_by(Chunked::new(Some(signing()), false), cut, 9).is_err());
}

#[test]
fn sums_are_held_against_what_came() {
    // Known sums of "hello world".
    for (header, sum) in [
        ("x-amz-checksum-crc32", "DUoRhQ=="),
        ("x-amz-checksum-crc32c", "yZRlqg=="),
        ("x-amz-checksum-crc64nvme", "jSnVw/bqjr4="),
        ("x-amz-checksum-sha1", "Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
        ("content-md5", "XrY7u+Ae7tCTyyK7j1rNww=="),
    ] {
        let algorithm = Algorithm::of_header(header).unwrap();
        let mut declared = Declared::default();
        declared.add(algorithm, sum).unwrap();
        let mut sums = Sums::new(&declared, None);
        sums.update(b"hello ");
        sums.update(b"world");
        assert_eq!(sums.check(&declared), Ok(()), "{header}");
        let mut sums = Sums::new(&declared, None);
        sums.update(b"hello");
        assert_eq!(kind(sums.check(&declared)), "BadDigest", "{header}");
        assert_eq!(kind(declared.add(algorithm, "YQ==")), "InvalidDigest");
    }
    assert_eq!(Algorithm::of_name("crc32c").map(Algorithm::name), Some("crc32c"));
    assert_eq!(Algorithm::of_name("crc64"), None);
}

#[test]
fn lists_of_parts_and_keys_are_read_and_bombs_are_not() {
    let parts = b"<CompleteMultipartUpload xmlns=\"x\"><Part><ETag>&quot;a&quot;</ETag>\
        <PartNumber>1</PartNumber></Part><Part><PartNumber>2</PartNumber><ETag>b</ETag></Part>\
        </CompleteMultipartUpload>";
    let read = read_completion(parts).unwrap();
    assert_eq!(read.parts, [(1, "a".to_owned()), (2, "b".to_owned())]);
    let keys = b"<Delete><Quiet>true</Quiet><Object><Key>a&amp;b&#x41;</Key></Object></Delete>";
    let read = read_deletion(keys).unwrap();
    assert_eq!((read.keys, read.quiet), (vec!["a&bA".to_owned()], true));
    for bad in [
        &b"<!DOCTYPE a [<!ENTITY b \"c\">]><Delete><Object><Key>&b;</Key></Object></Delete>"[..],
        b"<Delete><Object><Key>a</Key></Object>",
        b"<Delete></Delete>",
        b"<Delete><Object><Key>&b;</Key></Object></Delete>",
        b"not xml",
        b"<a><a><a><a><a><a><a><a><a>",
    ] {
        assert_eq!(kind(read_deletion(bad)), "MalformedXML", "{bad:?}");
    }
}
