//! The journal: every group of transactions, in order, durable.

mod file;
mod memory;
mod record;
mod segment;

pub(crate) use file::{Begin, FileJournal, Layout};
pub(crate) use memory::MemoryJournal;
pub(crate) use record::Record;
pub(crate) use segment::{list, scan};

use std::fmt::Debug;

use crate::StoreError;

/// What went wrong when appending.
#[derive(Debug, Clone)]
pub(crate) enum AppendError {
    /// Nothing was written; the journal can go on.
    Refused(StoreError),
    /// It is not known what is on disk. Only opening it again can tell.
    Unknown(StoreError),
}

/// An append-only log of records, each durable when `append` returns.
///
/// One thread appends. The second implementation is in memory; the third is to
/// be a replicated log.
pub(crate) trait Journal: Debug + Send + Sync {
    fn append(&self, record: &Record) -> Result<(), AppendError>;
    /// Shows the records behind `after`, up to and with `upto`, in order.
    fn read(
        &self,
        after: u64,
        upto: u64,
        visit: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}
