//! The scrub as a record; there is one.

use vmint_store::{Read, Table, Tx, TxError};

use crate::{
    Result, StorageError,
    scrub::{Scrub, ScrubState},
};

static SCRUBS: Table<String, ScrubRecord> = Table::new("scrubs.v1");

/// Under which it is kept.
const LAST: &str = "last";

#[derive(Clone, PartialEq, prost::Message)]
struct ScrubRecord {
    /// 1 running, 2 completed, 3 cancelled.
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(uint64, tag = "2")]
    bytes_per_second: u64,
    #[prost(uint64, tag = "3")]
    checked_bytes: u64,
    #[prost(uint64, tag = "4")]
    checked_chunks: u64,
    #[prost(uint64, tag = "5")]
    damaged_chunks: u64,
    #[prost(uint64, tag = "6")]
    damaged_packs: u64,
    #[prost(uint64, tag = "7")]
    started_ms: u64,
    #[prost(uint64, tag = "8")]
    ended_ms: u64,
    #[prost(bool, tag = "9")]
    fresh: bool,
    #[prost(string, tag = "10")]
    message: String,
    #[prost(bool, tag = "11")]
    periodic: bool,
}

impl From<&Scrub> for ScrubRecord {
    fn from(scrub: &Scrub) -> Self {
        Self {
            state: match scrub.state {
                ScrubState::Running => 1,
                ScrubState::Completed => 2,
                ScrubState::Cancelled => 3,
            },
            bytes_per_second: scrub.bytes_per_second,
            checked_bytes: scrub.checked_bytes,
            checked_chunks: scrub.checked_chunks,
            damaged_chunks: scrub.damaged_chunks,
            damaged_packs: scrub.damaged_packs,
            started_ms: scrub.started_ms,
            ended_ms: scrub.ended_ms,
            fresh: scrub.fresh,
            message: scrub.message.clone(),
            periodic: scrub.periodic,
        }
    }
}

impl TryFrom<ScrubRecord> for Scrub {
    type Error = StorageError;

    fn try_from(record: ScrubRecord) -> Result<Self, StorageError> {
        Ok(Self {
            state: match record.state {
                1 => ScrubState::Running,
                2 => ScrubState::Completed,
                3 => ScrubState::Cancelled,
                _ => return Err(StorageError::Damaged),
            },
            bytes_per_second: record.bytes_per_second,
            checked_bytes: record.checked_bytes,
            checked_chunks: record.checked_chunks,
            damaged_chunks: record.damaged_chunks,
            damaged_packs: record.damaged_packs,
            started_ms: record.started_ms,
            ended_ms: record.ended_ms,
            fresh: record.fresh,
            message: record.message,
            periodic: record.periodic,
        })
    }
}

/// The scrub under way, or the last one.
pub(crate) fn last(read: &impl Read) -> Result<Option<Scrub>> {
    SCRUBS.get(read, &LAST.to_owned())?.map(Scrub::try_from).transpose()
}

/// The scrub under way.
pub(crate) fn running(read: &impl Read) -> Result<Option<Scrub>> {
    Ok(last(read)?.filter(|scrub| scrub.state == ScrubState::Running))
}

pub(crate) fn put(tx: &mut Tx<'_>, scrub: &Scrub) -> Result<(), TxError<StorageError>> {
    Ok(SCRUBS.put(tx, &LAST.to_owned(), &scrub.into())?)
}
