//! Organizations and the accounts under them.

use vmint_ids::AccountId;

use crate::{PermissionsError, Result};

/// A name of an organization or account: 1 to 128 characters, none of them
/// control characters, no space at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Self> {
        let fits = (1..=128).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
            && text.trim() == text;
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(PermissionsError::field(
            "name",
            "must be 1 to 128 characters without control characters or space at its ends",
        ))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A group of accounts under one roof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// `o-` and 20 letters and digits.
    pub id: String,
    pub name: Name,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

impl Organization {
    /// Draws an id.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn fresh_id() -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = [0; 20];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        let letters = bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)]));
        ["o-".to_owned(), letters.collect()].concat()
    }
}

/// Whoever owns images and instances and pays for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Unique in the deployment.
    pub name: Name,
    pub organization: String,
    /// May administer the deployment itself.
    pub operator: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}
