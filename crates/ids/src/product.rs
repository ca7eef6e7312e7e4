//! Product codes: what an image is sold under.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A product's code: 1 to 25 lower-case letters and digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProductCode(String);

/// Why a text is not a product code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a product code: use 1 to 25 lower-case letters and digits")]
pub struct ParseProductCodeError {
    pub text: String,
}

impl ProductCode {
    /// Draws a fresh code of 25 characters.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = [0; 25];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProductCode {
    type Err = ParseProductCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=25).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseProductCodeError { text: text.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for ProductCode {
    type Error = ParseProductCodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProductCode> for String {
    fn from(code: ProductCode) -> Self {
        code.0
    }
}

impl fmt::Display for ProductCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProductCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_from_its_text() {
        let code = ProductCode::random();
        assert_eq!(code.as_str().parse(), Ok(code.clone()));
        for bad in ["", "UPPER", "with-dash", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(bad.parse::<ProductCode>().is_err(), "{bad}");
        }
    }
}
