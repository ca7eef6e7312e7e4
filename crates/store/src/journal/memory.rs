use parking_lot::Mutex;

use super::{AppendError, Journal, Record};
use crate::StoreError;

/// The journal in memory: for tests; as durable as the process.
#[derive(Debug, Default)]
pub(crate) struct MemoryJournal {
    records: Mutex<Vec<Record>>,
}

impl Journal for MemoryJournal {
    fn append(&self, record: &Record) -> Result<(), AppendError> {
        self.records.lock().push(record.clone());
        Ok(())
    }

    fn read(
        &self,
        after: u64,
        upto: u64,
        visit: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let records = self.records.lock().clone();
        records.into_iter().filter(|r| r.last > after && r.last <= upto).try_for_each(visit)
    }
}
