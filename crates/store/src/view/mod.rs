//! The view: what the journal says, ready to read.

mod memory;
mod packed;

pub(crate) use memory::MemoryView;
pub(crate) use packed::{PackedView, Packing};

use std::fmt::Debug;

use crate::{
    StoreError,
    layer::{Row, Writes},
};

/// An ordered map that takes a batch of writes and how far they reach in one
/// atomic step.
///
/// Need not be durable by itself; must never show half a batch, also not after
/// the process was killed, and never a row that is not as it was given.
pub(crate) trait View: Debug + Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Rows that start with `prefix` and lie behind `after`, in order.
    fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;
    /// The last row that starts with `prefix`.
    fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError>;
    /// Takes `writes`, the last of them of transaction `seq`.
    fn apply(&self, writes: &Writes, seq: u64) -> Result<(), StoreError>;
    /// The last transaction applied; `None` if the view was never written to.
    fn seq(&self) -> Option<u64>;
    /// Reads everything and checks it.
    fn verify(&self) -> Result<(), StoreError>;
    /// Places that a read may have to look into.
    fn pile(&self) -> usize;
    /// Makes one of `fan` places if there are so many alike; whether it did.
    /// Stops, and leaves all as it was, once `room` for so many bytes is denied.
    fn tidy(&self, fan: usize, room: &dyn Fn(u64) -> bool) -> Result<bool, StoreError>;
    /// Hands what is in memory to the system.
    fn flush(&self) -> Result<(), StoreError>;
}

/// Shows every row, in key order.
pub(crate) fn walk(
    view: &dyn View,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = view.range(&[], after.as_deref(), 1000)?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}
