use std::{any, fmt, marker::PhantomData};

use crate::{
    Key, Read, StoreError, Tx, envelope,
    key::{END, escape, unescape},
    layer::{Row, sealed::Raw as _},
    space,
};

/// Rows that one scan gives at most.
pub const SCAN_LIMIT: usize = 1000;
const INDEXES: usize = 8;

/// A named table from `K` to `V`, kept in key order.
///
/// Costs nothing to make: put it in a `static`. Names and records are for
/// ever: a name stays with its kind of record, and records only gain fields.
pub struct Table<K, V> {
    name: &'static str,
    indexes: [Option<Index<K, V>>; INDEXES],
}

/// What a record is found by, besides its key.
struct Index<K, V> {
    name: &'static str,
    unique: bool,
    values: fn(&K, &V) -> Vec<Vec<u8>>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// # Panics
    ///
    /// If `name` is empty, longer than 64 bytes or has a zero byte in it.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        check_name(name);
        Self { name, indexes: [None; INDEXES] }
    }

    /// Adds a secondary index: records are found by each of the `values` of
    /// theirs. A new index holds only records put since.
    ///
    /// # Panics
    ///
    /// If the name is no name, or the table has eight indexes already.
    #[must_use]
    pub const fn with_index(self, name: &'static str, values: fn(&K, &V) -> Vec<Vec<u8>>) -> Self {
        self.with(Index { name, unique: false, values, types: PhantomData })
    }

    /// Adds an index no two records of which may share a value: the second one
    /// is refused with [`StoreError::NotUnique`].
    ///
    /// # Panics
    ///
    /// If the name is no name, or the table has eight indexes already.
    #[must_use]
    pub const fn with_unique(self, name: &'static str, values: fn(&K, &V) -> Vec<Vec<u8>>) -> Self {
        self.with(Index { name, unique: true, values, types: PhantomData })
    }

    const fn with(mut self, index: Index<K, V>) -> Self {
        check_name(index.name);
        let mut at = 0;
        while self.indexes[at].is_some() {
            at += 1;
            assert!(at < INDEXES, "a table has at most eight indexes");
        }
        self.indexes[at] = Some(index);
        self
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn index(&self, name: &str) -> Result<&Index<K, V>, StoreError> {
        let index = self.indexes.iter().flatten().find(|index| index.name == name);
        index.ok_or_else(|| StoreError::NoSuchIndex { table: self.name, index: name.to_owned() })
    }

    fn corrupt(&self) -> StoreError {
        StoreError::Corrupt { place: self.name.to_owned() }
    }
}

impl<K: Key, V: prost::Message + Default> Table<K, V> {
    pub fn get(&self, read: &impl Read, key: &K) -> Result<Option<V>, StoreError> {
        self.get_at(read, &space::table(self.name, &key.encode()))
    }

    /// Puts a record in its place, and its indexes in order.
    ///
    /// Fails if the record, the key or the transaction is too big, or a unique
    /// value is taken.
    pub fn put(&self, tx: &mut Tx<'_>, key: &K, value: &V) -> Result<(), StoreError> {
        tx.touch(self.name, any::type_name::<(K, V)>())?;
        self.put_uncounted(tx, key, value)
    }

    pub(crate) fn put_uncounted(
        &self,
        tx: &mut Tx<'_>,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        let at = space::table(self.name, &key.encode());
        self.reindex(tx, key, &at, Some(value))?;
        tx.put_raw(at, &value.encode_to_vec())
    }

    /// Removes a record, if it is there.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &K) -> Result<(), StoreError> {
        tx.touch(self.name, any::type_name::<(K, V)>())?;
        self.remove_uncounted(tx, key)
    }

    pub(crate) fn remove_uncounted(&self, tx: &mut Tx<'_>, key: &K) -> Result<(), StoreError> {
        let at = space::table(self.name, &key.encode());
        self.reindex(tx, key, &at, None)?;
        tx.remove_raw(at)
    }

    /// Records in key order whose encoded key starts with `prefix` (empty: all)
    /// and lies behind the encoded key `after`; at most `limit`, never more
    /// than [`SCAN_LIMIT`].
    pub fn scan(
        &self,
        read: &impl Read,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let prefix = space::table(self.name, prefix);
        let after = after.map(|after| space::table(self.name, after));
        let rows = read.raw_range(&prefix, after.as_deref(), limit.min(SCAN_LIMIT))?;
        rows.iter().map(|row| self.decode(row)).collect()
    }

    /// Shows every record, in key order, in steps: for building what a service
    /// keeps in memory. Takes its time; not for the async runtime.
    pub fn walk<E: From<StoreError>>(
        &self,
        read: &impl Read,
        mut visit: impl FnMut(K, V) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let step = self.scan(read, &[], after.as_deref(), SCAN_LIMIT)?;
            let Some((last, _)) = step.last() else { return Ok(()) };
            after = Some(last.encode());
            for (key, value) in step {
                visit(key, value)?;
            }
        }
    }

    /// The first record that has exactly `value` in `index`.
    pub fn find(
        &self,
        read: &impl Read,
        index: &str,
        value: &[u8],
    ) -> Result<Option<(K, V)>, StoreError> {
        Ok(self.equal(read, index, value, None, 1)?.pop())
    }

    /// Records that have exactly `value` in `index`, in key order, behind the
    /// encoded key `after`; at most `limit`, never more than [`SCAN_LIMIT`].
    pub fn equal(
        &self,
        read: &impl Read,
        index: &str,
        value: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let index = self.index(index)?;
        let prefix = entry(self.name, index.name, value, &[]);
        let after = after.map(|after| entry(self.name, index.name, value, after));
        self.follow(read, index, &prefix, after.as_deref(), limit)
    }

    /// Records one of whose values in `index` starts with `prefix`, by value
    /// and then by key, behind the place `after` (see [`Table::cursor`]); at
    /// most `limit`, never more than [`SCAN_LIMIT`]. A record is given once for
    /// each value that fits.
    pub fn by_index(
        &self,
        read: &impl Read,
        index: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let index = self.index(index)?;
        let mut escaped = Vec::with_capacity(prefix.len());
        escape(prefix, &mut escaped);
        let prefix = space::index(self.name, index.name, &escaped);
        let after = after.map(|after| space::index(self.name, index.name, after));
        self.follow(read, index, &prefix, after.as_deref(), limit)
    }

    /// The place in an index behind which [`Table::by_index`] goes on: that of
    /// the record `key` under `value`.
    #[must_use]
    pub fn cursor(&self, value: &[u8], key: &K) -> Vec<u8> {
        place(value, &key.encode())
    }

    fn follow(
        &self,
        read: &impl Read,
        index: &Index<K, V>,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let head = space::index(self.name, index.name, &[]);
        let rows = read.raw_range(prefix, after, limit.min(SCAN_LIMIT))?;
        let mut out = Vec::with_capacity(rows.len());
        for (entry, sealed) in rows {
            envelope::open(&entry, &sealed)?;
            let mut rest = entry.strip_prefix(head.as_slice()).ok_or_else(|| self.corrupt())?;
            unescape(&mut rest).ok_or_else(|| self.corrupt())?;
            // Gone only if it was removed between the two reads.
            if let Some(value) = self.get_at(read, &space::table(self.name, rest))? {
                out.push((K::decode(rest).ok_or_else(|| self.corrupt())?, value));
            }
        }
        Ok(out)
    }

    fn reindex(
        &self,
        tx: &mut Tx<'_>,
        key: &K,
        at: &[u8],
        new: Option<&V>,
    ) -> Result<(), StoreError> {
        if self.indexes[0].is_none() {
            return Ok(());
        }
        let old = self.get_at(tx, at)?;
        let primary = key.encode();
        for index in self.indexes.iter().flatten() {
            let gone = old.as_ref().map_or_else(Vec::new, |old| (index.values)(key, old));
            let come = new.map_or_else(Vec::new, |new| (index.values)(key, new));
            for value in gone.iter().filter(|value| !come.contains(value)) {
                tx.remove_raw(entry(self.name, index.name, value, &primary))?;
            }
            for value in come.iter().filter(|value| !gone.contains(value)) {
                let place = entry(self.name, index.name, value, &primary);
                if index.unique {
                    let all = entry(self.name, index.name, value, &[]);
                    let taken = tx.raw_range(&all, None, 2)?;
                    if taken.iter().any(|row| row.0 != place) {
                        let (table, index) = (self.name, index.name);
                        return Err(StoreError::NotUnique { table, index, key: value.clone() });
                    }
                }
                tx.put_raw(place, &[])?;
            }
        }
        Ok(())
    }

    fn get_at(&self, read: &impl Read, at: &[u8]) -> Result<Option<V>, StoreError> {
        let Some(sealed) = read.raw_get(at)? else { return Ok(None) };
        self.value(at, &sealed).map(Some)
    }

    fn value(&self, at: &[u8], sealed: &[u8]) -> Result<V, StoreError> {
        V::decode(envelope::open(at, sealed)?).map_err(|_| self.corrupt())
    }

    fn decode(&self, row: &Row) -> Result<(K, V), StoreError> {
        let key = row.0.get(self.name.len() + 2..).and_then(K::decode);
        Ok((key.ok_or_else(|| self.corrupt())?, self.value(&row.0, &row.1)?))
    }
}

fn entry(table: &str, index: &str, value: &[u8], primary: &[u8]) -> Vec<u8> {
    space::index(table, index, &place(value, primary))
}

fn place(value: &[u8], primary: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + primary.len() + END.len());
    escape(value, &mut out);
    out.extend_from_slice(&END);
    out.extend_from_slice(primary);
    out
}

const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= 64, "a name has 1 to 64 bytes");
    let mut at = 0;
    while at < bytes.len() {
        assert!(bytes[at] != 0, "a name has no zero byte");
        at += 1;
    }
}

// Derives would ask the same of `K` and `V`.
impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Table<K, V> {}
impl<K, V> Clone for Index<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Index<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}
