//! Somebody who speaks EC2, byte by byte: signed POSTs over one connection.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use vmint_api::permissions::v1::CreateAccessKeyRequest;
use vmint_ec2::sigv4::{Request, Signer};

use crate::{Account, new_request_id};

/// An access key, and where to use it.
#[derive(Debug, Clone)]
pub struct Ec2 {
    gateway: String,
    key_id: String,
    secret: String,
    region: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Ec2 {
    /// Makes an access key for `account`.
    pub async fn of(account: &Account, gateway: &str) -> Self {
        let request = CreateAccessKeyRequest { request_id: new_request_id(), ..Default::default() };
        let made = account.permissions().create_access_key(request).await.unwrap().into_inner();
        Self {
            gateway: gateway.to_owned(),
            key_id: made.access_key.unwrap().access_key_id,
            secret: made.secret_access_key,
            region: "us-east-1".to_owned(),
        }
    }

    /// Signs with this key, for a region.
    #[must_use]
    pub fn with_key((key_id, secret): (String, String), gateway: &str, region: &str) -> Self {
        Self { gateway: gateway.to_owned(), key_id, secret, region: region.to_owned() }
    }

    /// Calls an operation with these parameters.
    pub async fn call(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (name, value) in params {
            body.push_str(&format!("&{}={}", encoded(name), encoded(value)));
        }
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let (status, _, body) = self.send("ec2", "POST", "/", &[kind], body.as_bytes()).await;
        Answer { status, body: String::from_utf8(body).unwrap() }
    }

    /// Calls an operation of SSM; answers its status and body.
    pub async fn ssm(&self, operation: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let target = format!("AmazonSSM.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &*target)];
        let body = body.to_string();
        let (status, _, body) = self.send("ssm", "POST", "/", &headers, body.as_bytes()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Sends any request to `target`, a path and a query, signed for `service`; answers
    /// status, head and body.
    pub async fn send(
        &self,
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String, Vec<u8>) {
        let mut all = vec![("host", self.gateway.as_bytes())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method, path, query, headers: &all };
        let signer = self.signer(service);
        let signed = signer.sign(&request, body, time::OffsetDateTime::now_utc()).unwrap();
        self.exchange(method, target, &all, signed, body).await
    }

    pub(crate) fn signer<'a>(&'a self, service: &'a str) -> Signer<'a> {
        let (key_id, secret) = (self.key_id.as_str(), self.secret.as_str());
        Signer { key_id, secret, region: &self.region, service }
    }

    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Sends a request as it stands, with the headers that sign it.
    pub(crate) async fn exchange(
        &self,
        method: &str,
        target: &str,
        all: &[(&str, &[u8])],
        signed: [(&'static str, String); 3],
        body: &[u8],
    ) -> (u16, String, Vec<u8>) {
        let invocation = new_request_id();
        let mut text = format!(
            "{method} {target} HTTP/1.1\r\ncontent-length: {}\r\n\
             amz-sdk-invocation-id: {invocation}\r\nconnection: close\r\n",
            body.len()
        );
        let own = all.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value).into()));
        for (name, value) in own.chain(signed) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut socket = TcpStream::connect(&self.gateway).await.unwrap();
        socket.write_all(&[text.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..at].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[at + 4..].to_vec())
    }

    /// As [`Self::call`], for what must succeed.
    pub async fn ok(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        let answer = self.call(action, params).await;
        assert_eq!(answer.status, 200, "{action} {params:?}: {}", answer.body);
        answer
    }

    /// The code and status of what must be refused.
    pub async fn refused(&self, action: &str, params: &[(&str, &str)]) -> (String, u16) {
        let answer = self.call(action, params).await;
        assert_ne!(answer.status, 200, "{action} {params:?}: {}", answer.body);
        (answer.first("Code").to_owned(), answer.status)
    }
}

impl Answer {
    /// The texts of every element of this name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = self.body.split(&open).skip(1);
        parts.filter_map(|part| Some(part.split_once(&close)?.0)).collect()
    }

    /// The first of them, or nothing.
    #[must_use]
    pub fn first(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}
