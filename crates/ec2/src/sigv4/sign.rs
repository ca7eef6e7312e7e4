//! Signs as clients do: for tests, measurements, and requests of our own.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use time::OffsetDateTime;

use super::{Payload, Request, Scope, SigError, Signed, SigningKey, body_hash};
use crate::stamp;

/// Whose signature, and for what; its date is that of the signing.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub key_id: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Signer<'_> {
    /// The headers that sign `request`, whose own are signed too: the date, the
    /// body's hash and the authorization.
    ///
    /// Refuses a request without a `host`, or with a malformed query.
    pub fn sign(
        &self,
        request: &Request<'_>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<[(&'static str, String); 3], SigError> {
        self.sign_declared(request, &hex::encode(body_hash(body)), now)
    }

    /// As [`Self::sign`] of a request that says in this way how its body is
    /// signed, such as `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    pub fn sign_declared(
        &self,
        request: &Request<'_>,
        payload: &str,
        now: OffsetDateTime,
    ) -> Result<[(&'static str, String); 3], SigError> {
        let date = stamp::basic(now);
        let mut headers = request.headers.to_vec();
        headers.push(("x-amz-date", date.as_bytes()));
        headers.push(("x-amz-content-sha256", payload.as_bytes()));
        let mut names = headers.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        let scope = Scope {
            date: date.chars().take(8).collect(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        };
        let key = SigningKey::derive(self.secret, &scope);
        let signed = Signed {
            key_id: self.key_id.to_owned(),
            scope,
            at: now,
            session_token: None,
            expires: None,
            payload: Payload::Body,
            headers: names,
            signature: [0; 32],
        };
        let text = signed.string_to_sign(&Request { headers: &headers, ..*request }, payload)?;
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&key.to_bytes()).map_err(|_| SigError::Mismatch)?;
        hmac.update(text.as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
            self.key_id,
            signed.scope.to_text(),
            signed.headers.join(";"),
            hex::encode(hmac.finalize().into_bytes()),
        );
        Ok([
            ("x-amz-date", date.clone()),
            ("x-amz-content-sha256", payload.to_owned()),
            ("authorization", authorization),
        ])
    }
}
