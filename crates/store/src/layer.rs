//! Reading through unwritten writes to what lies below.

use std::{collections::BTreeMap, ops::Bound};

use crate::StoreError;

/// Writes that the view does not hold yet: a value, or `None` for a removal.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Bytes of keys and values.
pub(crate) fn size(writes: &Writes) -> usize {
    writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

/// A row as it lies in the view: its raw key and its sealed value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// What records are read from: a [`Store`](crate::Store) shows what is
/// committed, a [`Tx`](crate::Tx) its own writes as well.
pub trait Read: sealed::Raw {}
impl<R: sealed::Raw> Read for R {}

pub(crate) mod sealed {
    use super::Row;
    use crate::StoreError;

    pub trait Raw {
        fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
        /// At most `limit` rows whose key starts with `prefix`, in key order,
        /// only those behind the full key `after`.
        fn raw_range(
            &self,
            prefix: &[u8],
            after: Option<&[u8]>,
            limit: usize,
        ) -> Result<Vec<Row>, StoreError>;
    }
}

/// The rows of `over` laid on those of `below`.
pub(crate) fn range(
    over: &Writes,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    below: impl Fn(&[u8], Option<&[u8]>, usize) -> Result<Vec<Row>, StoreError>,
) -> Result<Vec<Row>, StoreError> {
    let mut out = Vec::new();
    let mut cursor = after.map(<[u8]>::to_vec);
    loop {
        let rows = below(prefix, cursor.as_deref(), limit)?;
        let end = if rows.len() < limit { None } else { rows.last().map(|row| row.0.clone()) };
        merge(over, prefix, cursor.as_deref(), end.as_deref(), rows, &mut out);
        out.truncate(limit);
        match end {
            Some(end) if out.len() < limit => cursor = Some(end),
            _ => return Ok(out),
        }
    }
}

/// Merges `rows` with what `over` has up to `end` (no end: as far as `prefix` goes).
pub(crate) fn merge(
    over: &Writes,
    prefix: &[u8],
    after: Option<&[u8]>,
    end: Option<&[u8]>,
    rows: Vec<Row>,
    out: &mut Vec<Row>,
) {
    let mut rows = rows.into_iter().peekable();
    let newer =
        from(over, prefix, after).take_while(|(k, _)| end.is_none_or(|e| k.as_slice() <= e));
    for (key, value) in newer {
        while let Some(row) = rows.next_if(|row| row.0 < *key) {
            out.push(row);
        }
        rows.next_if(|row| row.0 == *key);
        if let Some(value) = value {
            out.push((key.clone(), value.clone()));
        }
    }
    out.extend(rows);
}

/// The entries of `map` that start with `prefix` and lie behind `after`.
pub(crate) fn from<'a, V>(
    map: &'a BTreeMap<Vec<u8>, V>,
    prefix: &'a [u8],
    after: Option<&'a [u8]>,
) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> {
    let lower = lower(prefix, after);
    map.range::<[u8], _>((lower, Bound::Unbounded)).take_while(move |(k, _)| k.starts_with(prefix))
}

/// Where a scan of `prefix` behind `after` begins.
pub(crate) fn lower<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}
