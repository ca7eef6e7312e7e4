use std::{fmt, str::FromStr, time::SystemTime};

/// A saga's id: 32 hexadecimal digits, newer ones sorting first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SagaId(u128);

/// The text is not a saga's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a saga id: use 32 hexadecimal digits")]
pub(crate) struct ParseSagaIdError;

impl SagaId {
    /// A fresh one: milliseconds until the year 10889, then 80 random bits.
    pub(crate) fn draw() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(Self::bound(now).0 | rand::random::<u128>() >> 48)
    }

    /// What sorts behind this was drawn at or before `ms` since 1970.
    pub(crate) fn bound(ms: u64) -> Self {
        let left = (1_u128 << 48).saturating_sub(u128::from(ms) + 1);
        Self(left << 80)
    }

    pub(crate) fn to_key(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_key(key: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(key))
    }
}

impl FromStr for SagaId {
    type Err = ParseSagaIdError;

    fn from_str(text: &str) -> Result<Self, ParseSagaIdError> {
        let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Err(ParseSagaIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseSagaIdError)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_newer_ones_sort_first() {
        let old = SagaId::draw();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let new = SagaId::draw();
        assert!(new < old);
        assert_eq!(old.to_string().parse(), Ok(old));
        assert_eq!(SagaId::from_key(new.to_key()), new);
        assert_eq!("+1234567890123456789012345678901".parse::<SagaId>(), Err(ParseSagaIdError));
    }
}
