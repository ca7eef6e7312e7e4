//! What no client sends: it gets an answer or is hung up on, and nothing else
//! comes of it.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Ask, Open, alone, ask, open, send, told};
use crate::{Limits, ec2::entry};

/// Panics on this thread, which runs all tasks of the test's runtime.
struct Panics(Arc<AtomicUsize>);

impl Panics {
    fn counted() -> Self {
        let (count, own, before) = (Arc::default(), thread::current().id(), panic::take_hook());
        let seen: Arc<AtomicUsize> = Arc::clone(&count);
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == own {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
        Self(count)
    }

    fn none_but_for(&self, what: &str) {
        assert_eq!(self.0.load(Ordering::Relaxed), 0, "it panicked at {what}");
    }
}

/// The status of the answer to these bytes; none if the door hung up.
async fn thrown(open: &Open, bytes: &[u8]) -> Option<u16> {
    let mut socket = TcpStream::connect(&open.address).await.unwrap();
    // The door may hang up before it has read all.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no end of the answer to {:?}", String::from_utf8_lossy(bytes));
    let head = String::from_utf8_lossy(&answer);
    head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

const AUTHORIZATIONS: &[&[u8]] = &[
    b"AWS",
    b"AWS4-HMAC-SHA256",
    b"AWS4-HMAC-SHA256 ,,,=,",
    b"AWS4-HMAC-SHA256 Credential=",
    b"AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;;, Signature=",
    b"AWS4-HMAC-SHA256 Credential=owner/2/here/ec2/aws4_request, SignedHeaders=host, Signature=0",
    b"AWS4-HMAC-SHA256 Credential=owner/99999999/here/ec2/aws4_request, SignedHeaders=host, \
      Signature=zz",
    b"AWS4-HMAC-SHA256 Credential=owner/20260101/here/ebs/aws4_request, SignedHeaders=\xff, \
      Signature=\xc3\xa9",
    b"AWS4-ECDSA-P256-SHA256 Credential=owner/20260101/ec2/aws4_request, SignedHeaders=host, \
      Signature=00",
    b"AWS owner:signature",
    b"AWS4-HMAC-SHA256 \xff\xfe",
];

const DATES: &[&str] = &["", "1", "20269999T999999Z", "99999999T000000Z", "2026-01-01T00:00:00Z"];

const TARGETS: &[&str] = &[
    "/",
    "//",
    "*",
    "/?",
    "/?Action",
    "/?Action=&&&==&",
    "/?Action=%",
    "/?Action=%00%ff",
    "/?Action=DescribeImages&X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%2F%2F%2F&X-Amz-Expires=-1",
    "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20260101%2Fhere%2Febs%2Faws4_request\
     &X-Amz-Expires=99999999999999999999&X-Amz-Date=1&X-Amz-Signature=0&X-Amz-SignedHeaders=",
    "/snapshots//blocks/99999999999999999999999?blockToken=%",
    "/snapshots/%2e%2e/blocks/-1",
    "/snapshots/completion/",
    "http://elsewhere.example/?Action=DescribeImages",
    "elsewhere.example:443",
];

#[tokio::test]
async fn what_is_no_request_is_hung_up_on_or_refused() {
    let (panics, open) = (Panics::counted(), alone().await);
    let mut all: Vec<Vec<u8>> = [
        &b"\r\n\r\n"[..],
        b"\0\0\0\0",
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4\r\nTransfer-Encoding: chunked\r\n\r\n\
          zz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4\r\nTransfer-Encoding: chunked\r\n\r\n\
          ffffffffffffffff\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let many = "x: y\r\n".repeat(300);
    all.push(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").into_bytes());
    all.push(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(90_000)).into_bytes());
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "\u{e9}"] {
        for target in TARGETS {
            all.push(format!("{method} {target} HTTP/1.1\r\nHost: \u{e9}\r\n\r\n").into_bytes());
            all.push(format!("{method} {target} HTTP/1.0\r\n\r\n").into_bytes());
        }
    }
    for authorization in AUTHORIZATIONS {
        for date in DATES {
            let mut bytes = b"POST /snapshots/x HTTP/1.1\r\nHost: a\r\nAuthorization: ".to_vec();
            bytes.extend_from_slice(authorization);
            let rest = format!(
                "\r\nX-Amz-Date: {date}\r\nX-Amz-Target: {date}\r\nX-Amz-Content-Sha256: {date}\
                 \r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4\r\n\r\n"
            );
            bytes.extend_from_slice(rest.as_bytes());
            bytes.extend_from_slice(b"A=\xff%");
            all.push(bytes);
        }
    }
    for bytes in &all {
        let shown = String::from_utf8_lossy(bytes).chars().take(300).collect::<String>();
        let status = thrown(&open, bytes).await;
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}: {shown}");
        panics.none_but_for(&shown);
    }
    // A refusal is said, not only meant.
    assert_eq!(thrown(&open, b"POST /?Action=X HTTP/1.1\r\nHost: a\r\n\r\n").await, Some(403));
    assert_eq!(told(&open, &ask("owner", "Action=DescribeRegions")).await.0, 200);
}

const VALUES: &[&str] = &[
    "-1",
    "0",
    "99999999999999999999",
    "true",
    "%00",
    "%C3%A9%F0%9F%92%A9",
    "%3Cx%3E%26",
    "a%0Ab",
];

/// Every operation, with each of its parameters and all of them at once.
#[tokio::test]
async fn odd_values_of_any_parameter_are_refused_or_taken() {
    let panics = Panics::counted();
    let limits = Limits { calls_per_second: 1e6, burst: 1e6, ..Limits::default() };
    let open = open("here", &[], limits).await;
    let mut asked = 0;
    for entry in entry::all() {
        let (name, service) = (entry.operation.name, entry.service.name());
        let takes = entry.operation.parameters();
        let takes = takes.map(|it| it.trim_end_matches('!').replace(".N", ".1"));
        let takes = takes.collect::<Vec<_>>();
        for (n, value) in VALUES.iter().enumerate() {
            let pairs =
                takes.iter().map(|it| format!("&{it}={value}")).collect::<Vec<_>>().concat();
            let some = takes.get(n % takes.len().max(1));
            let one = some.map_or_else(String::new, |it| format!("&{it}={value}"));
            for pairs in [pairs, one] {
                let body = format!("Action={name}{pairs}");
                let (status, text) = told(&open, &Ask { service, ..ask("owner", &*body) }).await;
                panics.none_but_for(&body);
                assert!(status < 500, "{status} of {body}: {text}");
                asked += 1;
            }
        }
    }
    assert!(asked > 500, "{asked}");
}

/// Bodies and paths of EBS direct, rightly signed.
#[tokio::test]
async fn odd_blocks_are_refused() {
    let (panics, open) = (Panics::counted(), alone().await);
    for body in ["", "{", "[]", "null", "{\"VolumeSize\":-1}", "{\"VolumeSize\":1e999}", "\u{0}"] {
        let ask = Ask { service: "ebs", ..ask("owner", body) };
        let (status, text) = send(ask.signed(&open.address)).await;
        panics.none_but_for(body);
        assert!(status.is_client_error(), "{status} of {body:?}: {text}");
    }
}
