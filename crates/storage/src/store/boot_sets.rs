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
}

/// By the content.
static BOOT_SETS: Table<String, BootSetRecord> = Table::new("boot-sets.v1");

/// What machines read first of `content`, if one has booted from it.
pub(crate) fn find(read: &impl Read, content: &Content) -> Result<Option<BootSet>> {
    let found = BOOT_SETS.get(read, &content.to_string())?;
    found
        .map(|found| BootSet::from_numbers(&found.numbers).ok_or(StorageError::Damaged))
        .transpose()
}

pub(crate) fn put(
    tx: &mut Tx<'_>,
    content: &Content,
    set: &BootSet,
) -> Result<(), TxError<StorageError>> {
    let record = BootSetRecord { numbers: set.numbers(), recorded_ms: tx.now_ms() };
    Ok(BOOT_SETS.put(tx, &content.to_string(), &record)?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, content: &str) -> Result<(), TxError<StorageError>> {
    Ok(BOOT_SETS.remove(tx, &content.to_owned())?)
}

impl Records {
    /// The contents that have one.
    pub(crate) fn all_boot_sets(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        BOOT_SETS.walk(&self.store, |content, _| {
            all.push(content);
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
