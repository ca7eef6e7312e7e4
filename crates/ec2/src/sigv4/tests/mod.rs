//! The published test suite's vectors, and what changes one byte of them.

mod vectors;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use vectors::{TOKEN, Vector, vectors};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
fn verify(vector: &Vector, now: time::OffsetDateTime) -> Result<(), SigError> {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={}, Signature={}",
        vector.signed, vector.signature
    );
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("host", b"example.amazonaws.com"),
        ("x-amz-date", b"20150830T123600Z"),
        ("authorization", authorization.as_bytes()),
    ];
    headers.extend(vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let (method, path, query) = (&vector.method, &vector.path, &vector.query);
    let request = Request { method, path, query, headers: &headers };
    let signed = parse(&request)?;
    let key = SigningKey::derive(SECRET, &signed.scope);
    signed.verify(&request, &key, Body::Read(vector.body.as_bytes()), now)
}

const NOW: time::OffsetDateTime = datetime!(2015-08-30 12:36 UTC);

#[test]
fn the_published_vectors_verify() {
    for (name, vector) in vectors() {
        assert_eq!(verify(&vector, NOW), Ok(()), "{name}");
    }
}

#[test]
fn a_token_that_is_not_signed_is_refused() {
    let (_, mut vector) = vectors().swap_remove(14);
    vector.headers.push(("x-amz-security-token".to_owned(), TOKEN.to_owned()));
    assert!(matches!(verify(&vector, NOW), Err(SigError::Incomplete(_))));
}

#[test]
fn a_signature_in_a_header_serves_five_minutes_to_either_side() {
    let (_, vector) = vectors().swap_remove(5);
    let minutes = time::Duration::minutes(5);
    let second = time::Duration::SECOND;
    for (now, good) in [
        (NOW + minutes, true),
        (NOW + minutes + second, false),
        (NOW - minutes, true),
        (NOW - minutes - second, false),
    ] {
        let expired = matches!(verify(&vector, now), Err(SigError::Expired { .. }));
        assert_eq!(expired, !good, "{now}");
    }
}

#[test]
fn the_published_example_of_a_signed_query_verifies() {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let headers: &[(&str, &[u8])] = &[("host", b"examplebucket.s3.amazonaws.com")];
    let request = Request { method: "GET", path: "/test.txt", query, headers };
    let signed = parse(&request).unwrap();
    assert_eq!((signed.expires, signed.payload), (Some(86_400), Payload::Unsigned));
    let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &signed.scope);
    let at = |now| signed.verify(&request, &key, Body::Later, now);
    assert_eq!(at(datetime!(2013-05-24 23:59 UTC)), Ok(()));
    assert_eq!(at(datetime!(2013-05-23 23:46 UTC)), Ok(()));
    assert!(matches!(at(datetime!(2013-05-25 00:01 UTC)), Err(SigError::Expired { .. })));
    assert!(matches!(at(datetime!(2013-05-23 23:44 UTC)), Err(SigError::Expired { .. })));
}

#[test]
fn what_we_sign_we_verify() {
    let signer = Signer { key_id: "AKID", secret: SECRET, region: "us-east-1", service: "ec2" };
    let own: &[(&str, &[u8])] = &[("host", b"h"), ("content-type", b"text/plain")];
    let request = Request { method: "POST", path: "/a b", query: "b=2&a=1", headers: own };
    let added = signer.sign(&request, b"body", NOW).unwrap();
    let mut headers = own.to_vec();
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_bytes())));
    let request = Request { headers: &headers, ..request };
    let read = parse(&request).unwrap();
    let key = SigningKey::derive(SECRET, &read.scope);
    assert_eq!(read.verify(&request, &key, Body::Read(b"body"), NOW), Ok(()));
    let wrong = read.verify(&request, &key, Body::Read(b"other"), NOW);
    assert_eq!(wrong, Err(SigError::WrongBody));
    assert_eq!(read.verify(&request, &key, Body::Later, NOW), Ok(()));
    assert!(signer.sign(&Request { query: "%", ..request }, b"", NOW).is_err());
}

#[test]
fn what_is_malformed_is_named() {
    let scope = "AKID/20150830/us-east-1/service/aws4_request";
    let sig = "0".repeat(64);
    let full = |credential: &str, signed: &str, signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, \
             Signature={signature}"
        )
    };
    for authorization in [
        "Basic abc".to_owned(),
        "AWS4-HMAC-SHA256".to_owned(),
        "AWS4-HMAC-SHA256 Credential".to_owned(),
        full("AKID/20150830/us-east-1/service", "host;x-amz-date", &sig),
        full("AKID/20150831/us-east-1/service/aws4_request", "host;x-amz-date", &sig),
        full("/20150830/us-east-1/service/aws4_request", "host;x-amz-date", &sig),
        full("A/B/20150830/us-east-1/service/aws4_request", "host;x-amz-date", &sig),
        full(scope, "host", &sig),
        full(scope, "x-amz-date", &sig),
        full(scope, "x-amz-date;host", &sig),
        full(scope, "host;host;x-amz-date", &sig),
        full(scope, "Host;x-amz-date", &sig),
        full(scope, "absent;host;x-amz-date", &sig),
        full(scope, "host;x-amz-date", "00"),
        full(scope, "host;x-amz-date", &"A".repeat(64)),
        full(scope, "host;x-amz-date", &format!("{sig}, Signature={sig}")),
    ] {
        let headers: &[(&str, &[u8])] = &[
            ("host", b"example.amazonaws.com"),
            ("x-amz-date", b"20150830T123600Z"),
            ("authorization", authorization.as_bytes()),
        ];
        let request = Request { method: "GET", path: "/", query: "", headers };
        let verified = parse(&request).and_then(|signed| {
            let key = SigningKey::derive(SECRET, &signed.scope);
            signed.verify(&request, &key, Body::Read(b""), NOW)
        });
        assert!(matches!(verified, Err(SigError::Incomplete(_))), "{authorization}: {verified:?}");
    }
    let nothing = Request { method: "GET", path: "/", query: "", headers: &[] };
    assert_eq!(parse(&nothing), Err(SigError::Missing));
}

#[test]
fn only_s3_and_blocks_with_a_checksum_may_leave_the_body_unsigned() {
    let parsed = |service: &str, sum: &str, checksum: bool| {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders=host;{}x-amz-content-sha256;x-amz-date, Signature={}",
            if checksum { "x-amz-checksum;" } else { "" },
            "0".repeat(64)
        );
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("host", b"h"),
            ("x-amz-date", b"20150830T123600Z"),
            ("x-amz-content-sha256", sum.as_bytes()),
            ("authorization", authorization.as_bytes()),
        ];
        if checksum {
            headers.push(("x-amz-checksum", b"c"));
        }
        parse(&Request { method: "PUT", path: "/", query: "", headers: &headers })
            .map(|signed| signed.payload)
    };
    assert_eq!(parsed("s3", "UNSIGNED-PAYLOAD", false), Ok(Payload::Unsigned));
    assert_eq!(parsed("ebs", "UNSIGNED-PAYLOAD", true), Ok(Payload::Unsigned));
    assert_eq!(parsed("s3", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", false), Ok(Payload::Streaming));
    assert_eq!(parsed("ec2", &"00".repeat(32), false), Ok(Payload::Sha256([0; 32])));
    for (service, sum) in [
        ("ebs", "UNSIGNED-PAYLOAD"),
        ("ec2", "UNSIGNED-PAYLOAD"),
        ("ec2", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("ec2", "none"),
    ] {
        assert!(matches!(parsed(service, sum, false), Err(SigError::Incomplete(_))), "{sum}");
    }
}

/// Changes one byte of one part; leaves the part as it is if that makes it no
/// text or only moves blanks.
fn flip(text: &mut String, at: usize, bit: u8) -> bool {
    let mut bytes = text.clone().into_bytes();
    let Some(byte) = at.checked_rem(bytes.len()).map(|at| &mut bytes[at]) else { return false };
    *byte ^= 1 << bit;
    match String::from_utf8(bytes) {
        Ok(changed) if words(&changed) != words(text) => {
            *text = changed;
            true
        }
        _ => false,
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_changed_byte_is_refused(
        which in 0usize..23,
        part in 0usize..7,
        at: usize,
        bit in 0u8..7,
    ) {
        let (name, whole) = vectors().swap_remove(which);
        let mut changed = whole.clone();
        let mut nothing = String::new();
        let text = match part {
            0 => &mut changed.method,
            1 => &mut changed.path,
            2 => &mut changed.query,
            3 => &mut changed.body,
            4 => &mut changed.signed,
            5 => &mut changed.signature,
            _ => changed.headers.first_mut().map_or(&mut nothing, |(_, value)| value),
        };
        let moved = flip(text, at, bit);
        // The same request in another spelling is the same request.
        let same = canonical_path(&changed.path, false) == canonical_path(&whole.path, false)
            && canonical_query(&changed.query) == canonical_query(&whole.query)
            && matches!(part, 1 | 2);
        if moved && !same {
            prop_assert!(verify(&changed, NOW).is_err(), "{name}: {changed:?}");
        }
    }

    #[test]
    fn any_request_is_read_or_refused(
        authorization in "(AWS4-HMAC-SHA256 )?((Credential|SignedHeaders|Signature)=[a-z0-9/;]{0,70}, ?){0,4}\\PC{0,8}",
        query in "(X-Amz-(Algorithm|Date|Credential|Signature|Expires)=[A-Z0-9%-]{0,20}&){0,6}\\PC{0,8}",
        path in "\\PC{0,20}",
    ) {
        let headers: &[(&str, &[u8])] =
            &[("host", b"h"), ("authorization", authorization.as_bytes())];
        for headers in [headers, &headers[..1]] {
            let request = Request { method: "GET", path: &path, query: &query, headers };
            if let Ok(signed) = parse(&request) {
                let key = SigningKey::derive(SECRET, &signed.scope);
                prop_assert!(signed.verify(&request, &key, Body::Read(b""), NOW).is_err());
            }
        }
    }

    #[test]
    fn canonical_forms_are_stable(path in "/[a-z/.%0-9~ é]{0,20}", query in "[a-z&=+%0-9 é]{0,30}") {
        let once = canonical_path(&path, true);
        prop_assert_eq!(canonical_path(&once, true), once);
        if let Some(once) = canonical_query(&query) {
            prop_assert_eq!(canonical_query(&once), Some(once));
        }
        prop_assert!(canonical_path(&path, false).starts_with('/'));
    }
}
