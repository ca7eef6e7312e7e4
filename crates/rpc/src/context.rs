//! The caller, signed by the gateway for one service and one action.

use std::{
    fmt, fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use http::{HeaderMap, HeaderValue};
use prost::Message;

use crate::{Caller, CallerKind};

/// The metadata key the context travels under.
pub const CONTEXT_HEADER: &str = "x-vmint-caller-bin";

/// No context is valid for longer than this.
pub const LONGEST_CONTEXT: Duration = Duration::from_mins(1);

/// How far ahead the signer's clock may be.
const SKEW: Duration = Duration::from_secs(5);
/// A context is a few hundred bytes; more is an attempt at something.
const MAX_CONTEXT_BYTES: usize = 4096;
/// Keeps the signature from standing for anything else the key might sign.
const PURPOSE: &[u8] = b"vmint caller context v1\0";

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    claims: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Claims {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(string, tag = "2")]
    principal: String,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(string, tag = "4")]
    session: String,
    #[prost(string, tag = "5")]
    request_id: String,
    #[prost(string, tag = "6")]
    source: String,
    #[prost(string, tag = "7")]
    audience: String,
    #[prost(string, tag = "8")]
    action: String,
    #[prost(uint64, tag = "9")]
    issued_ms: u64,
    #[prost(uint64, tag = "10")]
    expires_ms: u64,
    #[prost(bytes = "vec", tag = "11")]
    nonce: Vec<u8>,
}

/// Why a context does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    #[error("the caller context cannot be read")]
    Malformed,
    #[error("the caller context is not signed by this deployment's gateway")]
    Forged,
    #[error("the caller context has expired")]
    Expired,
    #[error("the caller context is dated in the future: compare the clocks of the machines")]
    Early,
    #[error("the caller context is made for another service")]
    Audience,
    #[error("the caller context is made for another action")]
    Action,
}

/// Signs callers; only the gateway has one.
#[derive(Clone)]
pub struct ContextSigner {
    key: SigningKey,
}

impl fmt::Debug for ContextSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextSigner").finish_non_exhaustive()
    }
}

impl ContextSigner {
    /// A signer with this secret, 32 bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// Reads the secret, in hexadecimal, from `context.key` in a trust directory.
    pub fn load(trust: &Path) -> io::Result<Self> {
        Ok(Self::new(&read_hex(&trust.join("context.key"))?))
    }

    /// The key that verifies what this signs.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The header that carries `caller` to `audience` for one `action`.
    #[must_use]
    pub fn sign(&self, caller: &Caller, audience: &str, action: &str) -> HeaderValue {
        self.sign_at(caller, audience, action, SystemTime::now(), LONGEST_CONTEXT)
    }

    /// Puts the context of `caller` into `headers`, in place of any other.
    pub fn stamp(&self, headers: &mut HeaderMap, caller: &Caller, audience: &str, action: &str) {
        headers.insert(CONTEXT_HEADER, self.sign(caller, audience, action));
    }

    pub(crate) fn sign_at(
        &self,
        caller: &Caller,
        audience: &str,
        action: &str,
        now: SystemTime,
        life: Duration,
    ) -> HeaderValue {
        let issued_ms = millis(now);
        let claims = Claims {
            account: caller.account.clone(),
            principal: caller.principal.clone(),
            kind: match caller.kind {
                CallerKind::Operator => 1,
                CallerKind::Account => 2,
                CallerKind::Service => 3,
            },
            session: caller.session.clone(),
            request_id: caller.request_id.clone(),
            source: caller.source.clone(),
            audience: audience.to_owned(),
            action: action.to_owned(),
            issued_ms,
            expires_ms: issued_ms + u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 2),
            nonce: rand::random::<[u8; 12]>().to_vec(),
        }
        .encode_to_vec();
        let signature = self.key.sign(&signed_bytes(&claims)).to_bytes().to_vec();
        let text = BASE64_STANDARD_NO_PAD.encode(Envelope { claims, signature }.encode_to_vec());
        HeaderValue::try_from(text).expect("base64 is a header value")
    }
}

/// Verifies callers for one service.
#[derive(Debug, Clone)]
pub struct ContextVerifier {
    key: VerifyingKey,
    audience: String,
}

impl ContextVerifier {
    /// Accepts what the holder of `public` signed for `audience`; none if
    /// `public` is not a key.
    #[must_use]
    pub fn new(public: &[u8; 32], audience: impl Into<String>) -> Option<Self> {
        Some(Self { key: VerifyingKey::from_bytes(public).ok()?, audience: audience.into() })
    }

    /// Reads the key, in hexadecimal, from `context.pub` in a trust directory.
    pub fn load(trust: &Path, audience: impl Into<String>) -> io::Result<Self> {
        let path = trust.join("context.pub");
        Self::new(&read_hex(&path)?, audience).ok_or_else(|| not_a_key(&path))
    }

    /// The name of the service it verifies for.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The caller in `header`, if it may do `action` here and now.
    pub fn verify(&self, header: &HeaderValue, action: &str) -> Result<Caller, ContextError> {
        self.verify_at(header, action, SystemTime::now())
    }

    pub(crate) fn verify_at(
        &self,
        header: &HeaderValue,
        action: &str,
        now: SystemTime,
    ) -> Result<Caller, ContextError> {
        use ContextError as E;
        if header.len() > MAX_CONTEXT_BYTES {
            return Err(E::Malformed);
        }
        let text = header.as_bytes();
        let unpadded = text.iter().rposition(|b| *b != b'=').map_or(&text[..0], |n| &text[..=n]);
        let bytes = BASE64_STANDARD_NO_PAD.decode(unpadded).map_err(|_| E::Malformed)?;
        let envelope = Envelope::decode(bytes.as_slice()).map_err(|_| E::Malformed)?;
        let signature = Signature::from_slice(&envelope.signature).map_err(|_| E::Malformed)?;
        self.key
            .verify_strict(&signed_bytes(&envelope.claims), &signature)
            .map_err(|_| E::Forged)?;

        let claims = Claims::decode(envelope.claims.as_slice()).map_err(|_| E::Malformed)?;
        let now = millis(now);
        if claims.issued_ms > now + u64::try_from(SKEW.as_millis()).unwrap_or(0) {
            return Err(E::Early);
        }
        let longest = u64::try_from(LONGEST_CONTEXT.as_millis()).unwrap_or(0);
        if claims.expires_ms <= now || claims.expires_ms > claims.issued_ms + longest {
            return Err(E::Expired);
        }
        if claims.audience != self.audience {
            return Err(E::Audience);
        }
        if claims.action != action {
            return Err(E::Action);
        }
        let kind = match claims.kind {
            1 => CallerKind::Operator,
            2 => CallerKind::Account,
            3 => CallerKind::Service,
            _ => return Err(E::Malformed),
        };
        Ok(Caller {
            account: claims.account,
            principal: claims.principal,
            kind,
            session: claims.session,
            request_id: claims.request_id,
            source: claims.source,
        })
    }
}

fn signed_bytes(claims: &[u8]) -> Vec<u8> {
    [PURPOSE, claims].concat()
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
}

fn read_hex(path: &Path) -> io::Result<[u8; 32]> {
    let text = fs::read_to_string(path)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| not_a_key(path))?;
    Ok(key)
}

fn not_a_key(path: &Path) -> io::Error {
    let text = format!("{} does not hold a key of 64 hexadecimal digits", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
