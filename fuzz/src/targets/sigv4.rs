//! Signatures of version 4: reading them, and the one spelling that both sides sign.

use time::{Duration, OffsetDateTime};
use vmint_ec2::sigv4::{
    Body, Request, SigError, Signed, Signer, SigningKey, canonical_path, canonical_query, parse,
};

use super::wire::Asked;
use crate::Target;

pub const TARGET: Target = Target { name: "sigv4", run, seeds };

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// When everything here is signed.
fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_800_000_000)
}

fn signer(service: &'static str) -> Signer<'static> {
    Signer { key_id: "AKIDEXAMPLE", secret: SECRET, region: "us-east-1", service }
}

fn verified(signed: &Signed, request: &Request<'_>, body: &[u8]) -> Result<(), SigError> {
    let key = SigningKey::derive(SECRET, &signed.scope);
    signed.verify(request, &key, Body::Read(body), now())
}

fn run(data: &[u8]) {
    let Some(asked) = Asked::read(data) else { return };
    let request = asked.request();
    // As it came: whatever it says of its signature, it is only refused.
    if let Ok(signed) = parse(&request) {
        assert!(signed.expires.is_none_or(|seconds| seconds <= 604_800));
        let _ = verified(&signed, &request, asked.body);
    }
    let path = canonical_path(asked.path, true);
    assert_eq!(canonical_path(&path, true), path);
    if let Some(query) = canonical_query(asked.query) {
        assert_eq!(canonical_query(&query).as_ref(), Some(&query));
    }
    for service in ["ec2", "s3"] {
        signed_here(&asked, service);
    }
}

/// What we sign and then read as signed is ours, and nothing else is.
fn signed_here(asked: &Asked<'_>, service: &'static str) {
    let Ok(sent) = signer(service).sign(&asked.request(), asked.body, now()) else { return };
    let mut headers = asked.headers.clone();
    headers.extend(sent.iter().map(|(name, value)| (*name, value.as_bytes())));
    let request = Request { headers: &headers, ..asked.request() };
    let Ok(signed) = parse(&request) else { return };
    assert_eq!(verified(&signed, &request, asked.body), Ok(()), "{request:?}");
    let longer = [asked.body, b"x"].concat();
    assert_eq!(verified(&signed, &request, &longer), Err(SigError::WrongBody));
    let other = Request { method: "PATCH", ..request };
    if asked.method != "PATCH" {
        assert_eq!(verified(&signed, &other, asked.body), Err(SigError::Mismatch));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let plain =
        "POST /?Action=DescribeImages&b=%20+&a\nhost:localhost:8773\nx-amz-a: 1  2 \n\nbody";
    let mut seeds = vec![
        plain.as_bytes().to_vec(),
        b"GET /a//b/../c%2Fd/./?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE\
          %2F20270115%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20270115T080000Z&X-Amz-Expires\
          =900&X-Amz-SignedHeaders=host&X-Amz-Signature=\
          0000000000000000000000000000000000000000000000000000000000000000\nhost:a\n\n"
            .to_vec(),
        b"PUT /bucket/key\nhost:a\nx-amz-content-sha256:STREAMING-UNSIGNED-PAYLOAD-TRAILER\n\
          x-amz-decoded-content-length:1\n\n1\r\na\r\n0\r\n\r\n"
            .to_vec(),
    ];
    for service in ["ec2", "s3", "ebs"] {
        let Some(asked) = Asked::read(plain.as_bytes()) else { continue };
        let Ok(sent) = signer(service).sign(&asked.request(), asked.body, now()) else { continue };
        let lines: String = sent.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let signed = plain.replace("\n\nbody", &format!("\n{lines}\nbody"));
        seeds.push(signed.into_bytes());
    }
    seeds
}
