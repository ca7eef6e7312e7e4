//! Held against an independent signer: the AWS SDK for Python.
#![allow(clippy::unwrap_used, clippy::pedantic)]

use std::{io::Write as _, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use time::OffsetDateTime;
use vmint_ec2::sigv4::{Body, Payload, Request, SigError, SigningKey, parse};

#[derive(Deserialize)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    secret: String,
    token: Option<String>,
    service: String,
    presigned: bool,
}

/// What the SDK signs now; none where it is not installed.
fn signed(count: usize, seed: u64) -> Option<Vec<Sent>> {
    let python = std::env::var("VMINT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sign.py");
    let (count, seed) = (count.to_string(), seed.to_string());
    let ran = Command::new(python).args([script, &count, &seed]).output().ok()?;
    if !ran.status.success() {
        let text = String::from_utf8_lossy(&ran.stderr);
        assert!(text.contains("ModuleNotFoundError"), "{text}");
        return None;
    }
    let lines = std::str::from_utf8(&ran.stdout).unwrap().lines();
    Some(lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Says that nothing was compared; `VMINT_SKIP_LOG` names a file to note it in.
fn skip() {
    let why = "ec2/botocore: no Python with botocore here; VMINT_PYTHON may name one";
    eprintln!("SKIPPED {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(log, "{why}").unwrap();
}

fn verify(sent: &Sent, body: &[u8]) -> Result<(), SigError> {
    let headers = sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = headers.collect::<Vec<_>>();
    let request =
        Request { method: &sent.method, path: &sent.path, query: &sent.query, headers: &headers };
    let signed = parse(&request)?;
    assert_eq!(signed.scope.service, sent.service);
    assert_eq!(signed.session_token, sent.token);
    assert_eq!(signed.expires.is_some(), sent.presigned);
    let key = SigningKey::derive(&sent.secret, &signed.scope);
    signed.verify(&request, &key, Body::Read(body), OffsetDateTime::now_utc())
}

fn is_unsigned(sent: &Sent) -> bool {
    let headers = sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = headers.collect::<Vec<_>>();
    let (method, path, query) = (&sent.method, &sent.path, &sent.query);
    let parsed = parse(&Request { method, path, query, headers: &headers });
    parsed.is_ok_and(|signed| signed.payload == Payload::Unsigned)
}

#[test]
fn what_the_python_sdk_signs_verifies_and_nothing_else_does() {
    let Some(requests) = signed(1_500, 20_270_131) else { return skip() };
    assert_eq!(requests.len(), 1_500);
    let mut presigned = 0;
    for (at, mut sent) in requests.into_iter().enumerate() {
        let body = BASE64_STANDARD.decode(&sent.body).unwrap();
        let shown =
            format!("{at}: {} {}?{} {:?}", sent.method, sent.path, sent.query, sent.headers);
        assert_eq!(verify(&sent, &body), Ok(()), "{shown}");
        presigned += usize::from(sent.presigned);
        let other = [body.as_slice(), b"x"].concat();
        if !is_unsigned(&sent) {
            assert!(verify(&sent, &other).is_err(), "another body: {shown}");
        }
        let secret = std::mem::replace(&mut sent.secret, "another".to_owned());
        assert_eq!(verify(&sent, &body), Err(SigError::Mismatch), "another secret: {shown}");
        sent.secret = secret;
        let method = std::mem::replace(&mut sent.method, "PATCH".to_owned());
        assert_eq!(verify(&sent, &body), Err(SigError::Mismatch), "another method: {shown}");
        sent.method = method;
        sent.path.push('x');
        assert_eq!(verify(&sent, &body), Err(SigError::Mismatch), "another path: {shown}");
        sent.path.pop();
        let query = sent.query.clone();
        sent.query.push_str("&Extra=1");
        assert_eq!(verify(&sent, &body), Err(SigError::Mismatch), "another query: {shown}");
        sent.query = query;
        let host = sent.headers.iter_mut().find(|(name, _)| name == "host").unwrap();
        host.1.push('x');
        assert_eq!(verify(&sent, &body), Err(SigError::Mismatch), "another host: {shown}");
    }
    assert!(presigned > 300, "{presigned}");
}
