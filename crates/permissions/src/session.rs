//! Bearer tokens, and the sessions they stand for.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use vmint_ids::{AccountId, SessionId};

use crate::{PermissionsError, Result};

/// How long a session lasts unless told.
pub(crate) const USUAL_LIFE: Duration = Duration::from_hours(12);
/// How long a session may last.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long the tokens made at the first start last.
pub(crate) const BOOTSTRAP_LIFE: Duration = Duration::from_hours(3650 * 24);

/// The secret itself. Shown once, never kept: what is kept is its [`Digest`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What a token is found by.
pub type Digest = [u8; 32];

impl Token {
    /// Draws one: `vmt_` and 43 characters that hold 256 random bits.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(["vmt_", &BASE64_URL_SAFE_NO_PAD.encode(bytes)].concat())
    }

    /// One chosen by the operator: 24 to 128 letters, digits, `_` and `-`.
    pub fn chosen(text: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (24..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(PermissionsError::field("token", "must be 24 to 128 letters, digits, `_` and `-`"))
    }

    /// The digest of whatever a caller sent as its token.
    #[must_use]
    pub fn digest_of(text: &str) -> Digest {
        blake3::derive_key("vmint 2026 session token", text.as_bytes())
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        Self::digest_of(&self.0)
    }

    /// The secret, for the one answer that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A bearer token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub account: AccountId,
    pub principal: String,
    /// May read but not change anything.
    pub read_only: bool,
    /// Milliseconds since 1970, as are the next two.
    pub created_ms: u64,
    pub expires_ms: u64,
    pub revoked_ms: Option<u64>,
}

impl Session {
    /// Whether its token is good at `now_ms`.
    #[must_use]
    pub fn is_good(&self, now_ms: u64) -> bool {
        self.revoked_ms.is_none() && now_ms < self.expires_ms
    }
}

/// The name of someone inside an account: 1 to 64 visible ASCII characters.
pub(crate) fn check_principal(text: &str) -> Result<()> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(PermissionsError::field("principal", "must be 1 to 64 visible ASCII characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_form_and_hides_itself() {
        let token = Token::random();
        assert_eq!(token.reveal().len(), 47);
        assert!(Token::chosen(token.reveal()).is_ok());
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
        for bad in ["", "short", "with space with space with space", &"x".repeat(129)] {
            assert!(Token::chosen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_good_until_it_expires_or_is_revoked() {
        let session = Session {
            id: SessionId::random(),
            account: AccountId::random(),
            principal: "root".into(),
            read_only: false,
            created_ms: 0,
            expires_ms: 10,
            revoked_ms: None,
        };
        assert!(session.is_good(9));
        assert!(!session.is_good(10));
        assert!(!Session { revoked_ms: Some(1), ..session }.is_good(2));
    }
}
