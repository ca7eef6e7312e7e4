//! The outbox: events that others pull by cursor, written in the commit that
//! they tell of.

use crate::{StoreError, envelope, layer::Row, space};

/// Something that happened, for others to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in its topic: 1, 2, 3, … without gaps.
    pub seq: u64,
    pub topic: String,
    /// The message that was given to [`Tx::emit`](crate::Tx::emit), encoded.
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

impl Event {
    pub(crate) fn seal(key: &[u8], at_ms: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&at_ms.to_be_bytes());
        bytes.extend_from_slice(body);
        envelope::seal(key, &bytes)
    }

    pub(crate) fn open(topic: &str, row: &Row) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt { place: topic.to_owned() };
        let bytes = envelope::open(&row.0, &row.1)?;
        let (at_ms, body) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let at_ms = u64::from_be_bytes(*at_ms);
        let seq = number(topic, &row.0).ok_or_else(corrupt)?;
        Ok(Self { seq, topic: topic.to_owned(), body: body.to_vec(), at_ms })
    }
}

/// The number of the event that lies at `key`.
pub(crate) fn number(topic: &str, key: &[u8]) -> Option<u64> {
    let rest = key.strip_prefix(space::event(topic, None).as_slice())?;
    rest.try_into().ok().map(u64::from_be_bytes)
}
