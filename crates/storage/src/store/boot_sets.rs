//! Boot sets as records.

use vmint_store::{Read, Table, Tx, TxError};

use super::Records;
use crate::{Content, Result, StorageError, boot_set::BootSet};

#[derive(Clone, PartialEq, prost::Message)]
struct BootSetRecord {
    /// Start and length of each stretch, in grains.
    #[prost(uint64, repeated, tag = "1")]
    numbers: Vec<u64>,
    #[prost(uint64, tag = "2")]
    recorded_ms: u64,
    /// It is that of the content this one was made of.
    #[prost(bool, tag = "3")]
    inherited: bool,
}

/// What is known of a content's boots.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) set: BootSet,
    /// No machine has booted from the content itself.
    pub(crate) inherited: bool,
}

/// By the content.
static BOOT_SETS: Table<String, BootSetRecord> = Table::new("boot-sets.v1");

/// What machines read first of `content`, or of what it was made of.
pub(crate) fn find(read: &impl Read, content: &Content) -> Result<Option<Known>> {
    let Some(found) = BOOT_SETS.get(read, &content.to_string())? else { return Ok(None) };
    let set = BootSet::from_numbers(&found.numbers).ok_or(StorageError::Damaged)?;
    Ok(Some(Known { set, inherited: found.inherited }))
}

/// What was recorded of a boot.
pub(crate) fn put(
    tx: &mut Tx<'_>,
    content: &Content,
    set: &BootSet,
) -> Result<(), TxError<StorageError>> {
    write(tx, content, set, false)
}

/// What a new content begins with, unless something is known of it.
pub(crate) fn inherit(
    tx: &mut Tx<'_>,
    content: &Content,
    set: Option<&BootSet>,
) -> Result<(), TxError<StorageError>> {
    match set {
        Some(set) if BOOT_SETS.get(tx, &content.to_string())?.is_none() => {
            write(tx, content, set, true)
        }
        _ => Ok(()),
    }
}

fn write(
    tx: &mut Tx<'_>,
    content: &Content,
    set: &BootSet,
    inherited: bool,
) -> Result<(), TxError<StorageError>> {
    let record = BootSetRecord { numbers: set.numbers(), recorded_ms: tx.now_ms(), inherited };
    Ok(BOOT_SETS.put(tx, &content.to_string(), &record)?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, content: &str) -> Result<(), TxError<StorageError>> {
    Ok(BOOT_SETS.remove(tx, &content.to_owned())?)
}

impl Records {
    /// The contents that had one before a moment, in milliseconds since 1970.
    pub(crate) fn boot_sets_before(&self, before_ms: u64) -> Result<Vec<String>> {
        let mut all = Vec::new();
        BOOT_SETS.walk(&self.store, |content, record| {
            if record.recorded_ms < before_ms {
                all.push(content);
            }
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
