//! The view: what the journal says, ready to read.

mod memory;
mod sled;

pub(crate) use memory::MemoryView;
pub(crate) use sled::SledView;

use std::fmt::Debug;

use crate::{
    StoreError,
    digest::Digest,
    layer::{Row, Writes},
};

/// How far a view is, and what it should hold there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// The last transaction applied.
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
}

/// An ordered map that takes a batch of writes and its mark in one atomic step.
///
/// Need not be durable by itself; must never show half a batch, also not after
/// the process was killed.
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
    fn apply(&self, writes: &Writes, mark: Mark) -> Result<(), StoreError>;
    /// `None` if the view was never written to.
    fn mark(&self) -> Result<Option<Mark>, StoreError>;
    /// Hands what is in memory to the system.
    fn flush(&self) -> Result<(), StoreError>;
}

impl Mark {
    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let mut out = [0; 40];
        out[..8].copy_from_slice(&self.seq.to_be_bytes());
        out[8..].copy_from_slice(&self.digest.to_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let digest = Digest::from_bytes(rest.try_into().ok()?);
        Some(Self { seq: u64::from_be_bytes(*seq), digest })
    }
}

/// Applies `writes`, the last of them of transaction `seq`, and moves `mark` along.
pub(crate) fn advance(
    view: &dyn View,
    writes: &Writes,
    seq: u64,
    mark: &mut Mark,
) -> Result<(), StoreError> {
    let mut next = Mark { seq, ..*mark };
    for (key, value) in writes {
        if let Some(old) = view.get(key)? {
            next.digest.remove(key, &old);
        }
        if let Some(value) = value {
            next.digest.add(key, value);
        }
    }
    view.apply(writes, next)?;
    *mark = next;
    Ok(())
}

/// Reads all of a view and adds up what it holds.
pub(crate) fn digest(view: &dyn View) -> Result<Digest, StoreError> {
    let mut digest = Digest::default();
    walk(view, |key, value| {
        digest.add(key, value);
        Ok(())
    })?;
    Ok(digest)
}

/// Shows every row but the mark, in key order.
pub(crate) fn walk(
    view: &dyn View,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = view.range(&[], after.as_deref(), 1000)?;
        for (key, value) in rows.iter().filter(|row| row.0 != crate::space::MARK) {
            visit(key, value)?;
        }
        match rows.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}
