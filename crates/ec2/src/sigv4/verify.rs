//! Holds a request against a key.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::{Payload, Request, Scope, SigError, Signed, canonical};
use crate::stamp;

const SKEW: Duration = Duration::minutes(5);
const LOOSE_SKEW: Duration = Duration::minutes(15);

/// Signs for one [`Scope`]; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives it from an access key's secret.
    #[must_use]
    pub fn derive(secret: &str, scope: &Scope) -> Self {
        let mut key = mac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
        for part in [scope.region.as_str(), scope.service.as_str(), "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        Self(key)
    }

    /// A key that was derived elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to hand it to whoever verifies.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// How much of the body is there when the signature is verified.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// All of it; it is verified too.
    Read(&'a [u8]),
    /// None yet: whoever reads it must hold it against [`Signed::payload`].
    /// Refused where the request declares nothing about it.
    Later,
}

/// SHA-256, as [`Payload::Sha256`] has it.
#[must_use]
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

impl Signed {
    /// The signature: tells this request from every other of its key.
    #[must_use]
    pub fn signature(&self) -> [u8; 32] {
        self.signature
    }

    /// Whether `request`, which it was parsed from, is signed by `key` and is
    /// neither old nor from the future. In constant time where it matters.
    ///
    /// Signatures in headers serve five minutes to either side (S3's fifteen),
    /// those in query strings for as long as they say and fifteen minutes
    /// before.
    pub fn verify(
        &self,
        request: &Request<'_>,
        key: &SigningKey,
        body: Body<'_>,
        now: OffsetDateTime,
    ) -> Result<(), SigError> {
        let payload = self.payload_text(request, body)?;
        let text = self.string_to_sign(request, &payload)?;
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key.0).map_err(|_| SigError::Mismatch)?;
        hmac.update(text.as_bytes());
        hmac.verify_slice(&self.signature).map_err(|_| SigError::Mismatch)?;
        // Only who holds the key learns what the time is here.
        self.in_time(now)?;
        match (self.payload, body) {
            (Payload::Sha256(sum), Body::Read(body)) if body_hash(body) != sum => {
                Err(SigError::WrongBody)
            }
            _ => Ok(()),
        }
    }

    fn payload_text(&self, request: &Request<'_>, body: Body<'_>) -> Result<String, SigError> {
        match (self.payload, body) {
            (Payload::Body, Body::Read(body)) => Ok(hex::encode(body_hash(body))),
            (Payload::Body, Body::Later) => {
                Err(SigError::incomplete("The header 'x-amz-content-sha256' must be signed here."))
            }
            _ => {
                Ok(request.header("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD").to_owned())
            }
        }
    }

    /// What the signature is of.
    pub(super) fn string_to_sign(
        &self,
        request: &Request<'_>,
        payload: &str,
    ) -> Result<String, SigError> {
        let mut canonical = Vec::new();
        let query = canonical::canonical_query(request.query)
            .ok_or_else(|| SigError::incomplete("The query string is malformed."))?;
        let path = canonical::canonical_path(request.path, self.scope.is_s3());
        for part in [request.method, &path, &query] {
            canonical.extend_from_slice(part.as_bytes());
            canonical.push(b'\n');
        }
        canonical.extend(canonical::canonical_headers(request, &self.headers)?);
        let tail = format!("\n{}\n{payload}", self.headers.join(";"));
        canonical.extend_from_slice(tail.as_bytes());
        Ok(format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            stamp::basic(self.at),
            self.scope.to_text(),
            hex::encode(body_hash(&canonical))
        ))
    }

    fn in_time(&self, now: OffsetDateTime) -> Result<(), SigError> {
        let skew = match self.expires {
            None if !self.scope.is_s3() => SKEW,
            _ => LOOSE_SKEW,
        };
        let until = self.expires.map_or(skew, |seconds| Duration::seconds(seconds.into()));
        if now < self.at - skew || now > self.at + until {
            return Err(SigError::Expired { signed: stamp::iso(self.at), now: stamp::iso(now) });
        }
        Ok(())
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    #[allow(clippy::expect_used)] // HMAC takes keys of any length
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    hmac.update(text);
    hmac.finalize().into_bytes().into()
}
