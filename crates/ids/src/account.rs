//! Accounts are named by twelve digits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An account's id: twelve decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(u64);

/// Why a text is not an account's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an account id: use 12 digits")]
pub struct ParseAccountError {
    pub text: String,
}

impl AccountId {
    /// No account: what internal calls act for.
    pub const NOBODY: Self = Self(0);

    /// Draws a fresh id that does not begin with a zero, so that no
    /// spreadsheet shortens it.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(100_000_000_000 + u64::from_be_bytes(bytes) % 900_000_000_000)
    }
}

impl FromStr for AccountId {
    type Err = ParseAccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseAccountError { text: text.chars().take(64).collect() };
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        text.parse().map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for AccountId {
    type Error = ParseAccountError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_digits_and_nothing_else() {
        assert_eq!("000000000042".parse::<AccountId>().unwrap().to_string(), "000000000042");
        for bad in ["", "42", "1234567890123", "12345678901x", "+12345678901", "١٢٣٤٥٦٧٨٩٠١٢"]
        {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
        assert_eq!(AccountId::random().to_string().len(), 12);
    }
}
