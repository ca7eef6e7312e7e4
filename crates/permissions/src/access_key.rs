//! Access keys: what signs requests, and the secrets behind them.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use vmint_ids::AccountId;
use zeroize::Zeroizing;

use crate::{PermissionsError, Result};

/// The public half of an access key: 4 to 64 letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// Draws one: `AKIA` and 16 of A to Z and 2 to 7, 80 random bits.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        let letters = bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)]));
        Self(["AKIA".to_owned(), letters.collect()].concat())
    }

    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (4..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let why = "must be 4 to 64 letters, digits, `_` and `-`";
        Err(PermissionsError::field("access_key_id", why))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half. Shown once; kept only wrapped; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Draws one: 40 characters that hold 240 random bits.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 30]);
        getrandom::fill(&mut *bytes).expect("the kernel gives random bytes");
        Self(Zeroizing::new(BASE64_STANDARD.encode(*bytes)))
    }

    /// One chosen by the operator: 8 to 128 visible ASCII characters.
    pub fn chosen(text: &str) -> Result<Self> {
        if (8..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(Zeroizing::new(text.to_owned())));
        }
        let why = "must be 8 to 128 visible ASCII characters";
        Err(PermissionsError::field("secret_access_key", why))
    }

    /// The secret, for the one answer that shows it and for deriving from it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: AccessKeyId,
    pub account: AccountId,
    pub principal: String,
    /// May read but not change anything.
    pub read_only: bool,
    /// Its signatures count.
    pub active: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    pub last_used: Option<Use>,
}

/// The last use of an access key that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Of the credential's scope.
    pub service: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_its_form_and_secrets_hide() {
        let id = AccessKeyId::random();
        assert_eq!((id.as_str().len(), &id.as_str()[..4]), (20, "AKIA"));
        assert_eq!(AccessKeyId::parse(id.as_str()).unwrap(), id);
        let secret = Secret::random();
        assert_eq!(secret.reveal().len(), 40);
        assert!(Secret::chosen(secret.reveal()).is_ok());
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        for bad in ["", "abc", "a/b/c/d", &"A".repeat(65)] {
            assert!(AccessKeyId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "short", "with a space", &"x".repeat(129)] {
            assert!(Secret::chosen(bad).is_err(), "{bad}");
        }
    }
}
