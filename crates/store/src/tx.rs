use std::{
    collections::HashMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Event, StoreError, envelope,
    layer::{self, Row, Writes, sealed::Raw},
    outbox,
    recent::Recent,
    space,
};

/// Records put or removed in one transaction.
pub const MAX_TX_WRITES: usize = 100;
/// Bytes written in one transaction, indexes and events included.
pub const MAX_TX_BYTES: usize = 1 << 20;
/// Bytes of a record or an event.
pub const MAX_VALUE: usize = 64 << 10;
/// Bytes of a key or an index entry, its table's and index's name included.
pub const MAX_KEY: usize = 512;

/// One running transaction: sees what is committed, what waits before it, and
/// its own writes.
///
/// Its body runs on the store's only writer thread: no I/O, no waiting, no
/// other store in there.
pub struct Tx<'a> {
    below: Below<'a>,
    tables: &'a mut HashMap<&'static str, &'static str>,
    heads: &'a HashMap<&'static str, u64>,
    fronts: &'a Fronts,
    now_ms: u64,
    events_kept: u64,
    wrote: usize,
    pub(crate) changes: Changes,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) writes: Writes,
    pub(crate) bytes: usize,
    /// The last event of each topic it wrote to.
    pub(crate) heads: HashMap<&'static str, u64>,
    pub(crate) fronts: Fronts,
}

/// For tables whose rows go in key order: an encoded key that no row lies
/// before any more. Rows that went cost a scan from the start their time until
/// the view has tidied them away.
pub(crate) type Fronts = HashMap<&'static str, Vec<u8>>;

/// What a transaction stands on: earlier writes of its group over the view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below<'a> {
    pub(crate) pending: &'a Writes,
    pub(crate) recent: &'a Recent,
}

impl Raw for Below<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.recent.raw_get(key),
        }
    }

    fn raw_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        layer::range(self.pending, prefix, after, limit, |p, a, l| self.recent.raw_range(p, a, l))
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(
        below: Below<'a>,
        tables: &'a mut HashMap<&'static str, &'static str>,
        (heads, fronts): (&'a HashMap<&'static str, u64>, &'a Fronts),
        now_ms: u64,
        events_kept: u64,
    ) -> Self {
        let changes = Changes::default();
        Self { below, tables, heads, fronts, now_ms, events_kept, wrote: 0, changes }
    }

    /// Milliseconds since 1970; never less than in an earlier transaction.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Leaves an event in the outbox, to be seen if this transaction commits.
    ///
    /// Fails if it is longer than [`MAX_VALUE`].
    pub fn emit(
        &mut self,
        topic: &'static str,
        body: &impl prost::Message,
    ) -> Result<(), StoreError> {
        let body = body.encode_to_vec();
        within("an event", body.len(), MAX_VALUE)?;
        let number = self.head(topic)? + 1;
        let key = space::event(topic, Some(number));
        let value = Event::seal(&key, self.now_ms, &body);
        self.write(key, Some(value))?;
        if let Some(old) = number.checked_sub(self.events_kept).filter(|old| *old > 0) {
            self.write(space::event(topic, Some(old)), None)?;
        }
        self.changes.heads.insert(topic, number);
        Ok(())
    }

    /// The number of the last event of `topic`.
    fn head(&self, topic: &'static str) -> Result<u64, StoreError> {
        if let Some(head) = self.changes.heads.get(topic).or_else(|| self.heads.get(topic)) {
            return Ok(*head);
        }
        let last = self.below.recent.last(&space::event(topic, None))?;
        Ok(last.and_then(|row| outbox::number(topic, &row.0)).unwrap_or(0))
    }

    /// Where `table` begins, as far as is known.
    pub(crate) fn front(&self, table: &'static str) -> Option<&[u8]> {
        let front = self.changes.fronts.get(table).or_else(|| self.fronts.get(table));
        front.map(Vec::as_slice)
    }

    /// Says that `table` holds records of type `kind`; counts one write.
    pub(crate) fn touch(
        &mut self,
        table: &'static str,
        kind: &'static str,
    ) -> Result<(), StoreError> {
        if *self.tables.entry(table).or_insert(kind) != kind {
            return Err(StoreError::TableReused { table });
        }
        self.wrote += 1;
        if self.wrote > MAX_TX_WRITES {
            return Err(StoreError::TooManyWrites { limit: MAX_TX_WRITES });
        }
        Ok(())
    }

    pub(crate) fn put_raw(&mut self, key: Vec<u8>, body: &[u8]) -> Result<(), StoreError> {
        within("a record", body.len(), MAX_VALUE)?;
        let value = envelope::seal(&key, body);
        self.write(key, Some(value))
    }

    pub(crate) fn remove_raw(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        self.write(key, None)
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        within("a key", key.len(), MAX_KEY)?;
        self.changes.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        within("a transaction", self.changes.bytes, MAX_TX_BYTES)?;
        self.changes.writes.insert(key, value);
        Ok(())
    }
}

impl Raw for Tx<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.raw_get(key),
        }
    }

    fn raw_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let below = |p: &[u8], a: Option<&[u8]>, l| self.below.raw_range(p, a, l);
        layer::range(&self.changes.writes, prefix, after, limit, below)
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooBig { what, size, limit }) } else { Ok(()) }
}

/// The clock, in milliseconds since 1970.
pub(crate) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}
