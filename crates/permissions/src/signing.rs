//! The key that signatures of one day, region and service are checked with.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use time::{Date, Month};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{PermissionsError, Result, Secret};

/// How far a scope's day may be from today: presigned requests live a week.
const DAYS: i64 = 8;
const DAY_MS: u64 = 86_400_000;

/// What a credential is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    date: String,
    region: String,
    service: String,
}

impl Scope {
    /// `date` is `20260131`, at most eight days from `now_ms`; the others are
    /// 1 to 64 visible ASCII characters.
    pub fn parse(date: &str, region: &str, service: &str, now_ms: u64) -> Result<Self> {
        let bad = || PermissionsError::field("date", "must be YYYYMMDD, at most eight days away");
        let day = day(date).ok_or_else(bad)?;
        let today = i64::try_from(now_ms / DAY_MS).unwrap_or(i64::MAX);
        if (day - today).abs() > DAYS {
            return Err(bad());
        }
        for (field, text) in [("region", region), ("service", service)] {
            let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
            if !fits {
                let why = "must be 1 to 64 visible ASCII characters";
                return Err(PermissionsError::field(field, why));
            }
        }
        let (date, region, service) = (date.to_owned(), region.to_owned(), service.to_owned());
        Ok(Self { date, region, service })
    }
}

/// Days since 1970 of `YYYYMMDD`.
fn day(text: &str) -> Option<i64> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let month = Month::try_from(text[4..6].parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(text[..4].parse().ok()?, month, text[6..].parse().ok()?);
    Some(date.ok()?.midnight().assume_utc().unix_timestamp().div_euclid(86_400))
}

/// A signing key: opens nothing but its own [`Scope`]. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// Derives it as Signature Version 4 says.
    #[must_use]
    pub fn derive(secret: &Secret, scope: &Scope) -> Self {
        let start = Zeroizing::new(["AWS4", secret.reveal()].concat().into_bytes());
        let mut key = mac(&start, scope.date.as_bytes());
        for part in [scope.region.as_str(), scope.service.as_str(), "aws4_request"] {
            let next = mac(&*key, part.as_bytes());
            key.zeroize();
            key = next;
        }
        Self(key)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

fn mac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length serves");
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30, the day of the published examples.
    const THEN: u64 = 1_440_892_800_000;

    #[test]
    fn the_published_example_comes_out() {
        let secret = Secret::chosen("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").unwrap();
        let scope = Scope::parse("20150830", "us-east-1", "iam", THEN).unwrap();
        let key = SigningKey::derive(&secret, &scope);
        let wanted = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        let byte = |at: usize| u8::from_str_radix(&wanted[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!(*key.as_bytes(), std::array::from_fn(byte));
    }

    #[test]
    fn a_scope_is_of_about_today() {
        let at = |date| Scope::parse(date, "here", "ec2", THEN);
        assert!(at("20150830").is_ok() && at("20150823").is_ok() && at("20150907").is_ok());
        for bad in ["20150820", "20150908", "2015083", "20151399", "2015083x", ""] {
            assert!(at(bad).is_err(), "{bad}");
        }
        assert!(Scope::parse("20150830", "", "ec2", THEN).is_err());
        assert!(Scope::parse("20150830", "here", "e c", THEN).is_err());
    }
}
