//! Exact amounts: whole numbers of 10⁻¹² of a currency's unit, never floats.

use std::fmt;

use crate::{MarketError, Result};

/// How many picos a unit has.
pub const PICOS: i128 = 1_000_000_000_000;
/// The most that may be asked for an hour, in units; what a century of it
/// costs is still far from the end of the number range.
const HIGHEST_PRICE: i128 = 1_000_000;
/// A run is billed for a minute at least.
const SHORTEST: u64 = 60;
const NANOS: u64 = 1_000_000_000;

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Three capital letters.
    pub fn parse(text: &str) -> Result<Self> {
        let code: Option<[u8; 3]> = text.as_bytes().try_into().ok();
        code.filter(|code| code.iter().all(u8::is_ascii_uppercase))
            .map(Self)
            .ok_or_else(|| MarketError::field("currency_code", "must be three capital letters"))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    pub currency: Currency,
    /// In 10⁻¹² of a unit.
    pub picos: i128,
}

impl Money {
    /// A price for an hour: from 0 to a million units.
    pub fn price(currency: Currency, picos: i128) -> Result<Self> {
        if (0..=HIGHEST_PRICE * PICOS).contains(&picos) {
            return Ok(Self { currency, picos });
        }
        Err(MarketError::field("price_per_hour", "must be from 0 to 1000000 units"))
    }

    /// What `seconds` cost at this price for an hour, rounded down to a pico.
    #[must_use]
    pub fn for_seconds(self, seconds: u64) -> Self {
        Self { picos: self.picos * i128::from(seconds) / 3600, ..self }
    }

    /// The share of `ppm` millionths, rounded down to a pico.
    #[must_use]
    pub fn share(self, ppm: u32) -> Self {
        Self { picos: self.picos * i128::from(ppm) / 1_000_000, ..self }
    }
}

/// The seconds that a run is billed for, its times in nanoseconds since 1970:
/// whole ones, begun ones counted full, a minute at least.
#[must_use]
pub fn billed_seconds(start_ns: u64, stop_ns: u64) -> u64 {
    // A clock that went backwards makes the shortest run, never a negative one.
    stop_ns.saturating_sub(start_ns).div_ceil(NANOS).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn euros(picos: i128) -> Money {
        Money::price(Currency::parse("EUR").unwrap(), picos).unwrap()
    }

    #[test]
    fn runs_are_billed_by_the_second_begun_and_a_minute_at_least() {
        for (ms, expected) in [
            (0, 60),
            (1, 60),
            (59_000, 60),
            (59_999, 60),
            (60_000, 60),
            (60_001, 61),
            (60_999, 61),
            (61_000, 61),
            (3_599_001, 3600),
            (3_600_000, 3600),
            (86_400_000, 86_400),
        ] {
            let start = 1_700_000_000 * NANOS + 123_456_789;
            assert_eq!(billed_seconds(start, start + ms * 1_000_000), expected, "{ms} ms");
        }
        assert_eq!(billed_seconds(NANOS, 0), 60, "a clock that went backwards");
        assert_eq!(billed_seconds(0, 60 * NANOS + 1), 61, "a nanosecond begins a second");
    }

    #[test]
    fn prices_are_prorated_exactly() {
        // 0.10 an hour: one second is 27.777… millionths of a unit.
        let price = euros(PICOS / 10);
        for (seconds, picos) in
            [(60, 1_666_666_666), (61, 1_694_444_444), (3600, PICOS / 10), (0, 0)]
        {
            assert_eq!(price.for_seconds(seconds).picos, picos);
        }
        assert_eq!(euros(1).for_seconds(3599).picos, 0);
        assert_eq!(euros(1).for_seconds(3600).picos, 1);
        let century = euros(HIGHEST_PRICE * PICOS).for_seconds(100 * 366 * 86_400);
        assert_eq!(century.picos, HIGHEST_PRICE * PICOS * 100 * 366 * 24);
    }

    #[test]
    fn currencies_and_prices_keep_their_rules() {
        for bad in ["", "eur", "EU", "EURO", "E1R", "É"] {
            assert!(Currency::parse(bad).is_err(), "{bad}");
        }
        let euro = Currency::parse("EUR").unwrap();
        assert_eq!(euro.to_string(), "EUR");
        assert!(Money::price(euro, -1).is_err());
        assert!(Money::price(euro, HIGHEST_PRICE * PICOS + 1).is_err());
    }

    proptest! {
        #[test]
        fn a_share_and_its_rest_are_the_whole(picos in 0..PICOS * 1_000_000, ppm in 0..=1_000_000u32) {
            let whole = euros(picos);
            let share = whole.share(ppm);
            prop_assert!(share.picos >= 0 && share.picos <= picos);
        }
    }
}
