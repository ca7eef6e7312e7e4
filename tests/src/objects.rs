//! Somebody who speaks S3, and what is said to them.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use vmint_ec2::sigv4::{Request, Scope, SigningKey};

use crate::Ec2;

/// What S3 answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    }

    /// The text of the first element of this name, or nothing.
    #[must_use]
    pub fn inside(&self, name: &str) -> String {
        let text = self.text();
        let rest = text.split(&format!("<{name}>")).nth(1).unwrap_or_default();
        rest.split(&format!("</{name}>")).next().unwrap_or_default().to_owned()
    }
}

impl Ec2 {
    /// Asks S3 for `target`, a path and a query.
    pub async fn s3(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Heard {
        let (status, head, body) = self.send("s3", method, target, headers, body).await;
        Heard { status, head, body }
    }

    /// As [`Self::s3`], for what must succeed.
    pub async fn s3_ok(&self, method: &str, target: &str, body: &[u8]) -> Heard {
        let heard = self.s3(method, target, &[], body).await;
        assert!((200..300).contains(&heard.status), "{method} {target}: {}", heard.text());
        heard
    }

    /// The code of what must be refused.
    pub async fn s3_refused(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let heard = self.s3(method, target, headers, body).await;
        assert!(heard.status >= 400, "{method} {target}: {} {}", heard.status, heard.text());
        heard.inside("Code")
    }
}

/// A body in pieces that are signed one by one.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pub content: Vec<Vec<u8>>,
    /// A sum behind them, signed too: its header and value.
    pub trailer: Option<(&'static str, String)>,
    /// Which byte of the body is turned over on its way, if any.
    pub spoilt: Option<usize>,
}

impl Ec2 {
    /// Puts an object as a client does that signs each piece as it goes.
    pub async fn put_pieces(&self, target: &str, pieces: &Pieces) -> Heard {
        let length = pieces.content.iter().map(Vec::len).sum::<usize>().to_string();
        let way = match pieces.trailer {
            None => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Some(_) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        };
        let mut all = vec![
            ("host", self.gateway().as_bytes()),
            ("content-encoding", b"aws-chunked"),
            ("x-amz-decoded-content-length", length.as_bytes()),
        ];
        all.extend(pieces.trailer.iter().map(|(name, _)| ("x-amz-trailer", name.as_bytes())));
        let request = Request { method: "PUT", path: target, query: "", headers: &all };
        let signer = self.signer("s3");
        let signed = signer.sign_declared(&request, way, time::OffsetDateTime::now_utc()).unwrap();
        let date = signed[0].1.clone();
        let mut before = signed[2].1.split("Signature=").nth(1).unwrap().to_owned();
        let scope = Scope {
            date: date[..8].to_owned(),
            region: signer.region.to_owned(),
            service: "s3".to_owned(),
        };
        let key = SigningKey::derive(signer.secret, &scope).to_bytes();
        let mut sign = |kind: &str, sums: String| {
            let scope = scope.to_text();
            let text = format!("AWS4-HMAC-SHA256-{kind}\n{date}\n{scope}\n{before}\n{sums}");
            let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            hmac.update(text.as_bytes());
            before = hex::encode(hmac.finalize().into_bytes());
            before.clone()
        };
        let sum = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let (mut body, end) = (Vec::new(), Vec::new());
        for piece in pieces.content.iter().chain([&end]) {
            let signature = sign("PAYLOAD", format!("{}\n{}", sum(b""), sum(piece)));
            let length = piece.len();
            body.extend(format!("{length:x};chunk-signature={signature}\r\n").bytes());
            body.extend_from_slice(piece);
            // Trailers stand where the end of the last piece would.
            if length > 0 || pieces.trailer.is_none() {
                body.extend_from_slice(b"\r\n");
            }
        }
        if let Some((name, value)) = &pieces.trailer {
            let signature = sign("TRAILER", sum(format!("{name}:{value}\n").as_bytes()));
            body.extend(format!("{name}:{value}\r\n").bytes());
            body.extend(format!("x-amz-trailer-signature:{signature}\r\n\r\n").bytes());
        }
        if let Some(at) = pieces.spoilt {
            body[at] ^= 1;
        }
        let (status, head, body) = self.exchange("PUT", target, &all, signed, &body).await;
        Heard { status, head, body }
    }
}

/// Bytes that do not compress, the same for the same seed.
#[must_use]
pub fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| step()).collect()
}
