use std::collections::BTreeMap;

use parking_lot::RwLock;

use super::View;
use crate::{
    StoreError,
    layer::{Row, Writes, from},
};

/// The view in memory: for tests, and the second implementation of the trait.
#[derive(Debug, Default)]
pub(crate) struct MemoryView {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    seq: Option<u64>,
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.read().rows.get(key).cloned())
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let state = self.state.read();
        let rows = from(&state.rows, prefix, after).take(limit);
        Ok(rows.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let state = self.state.read();
        Ok(from(&state.rows, prefix, None).last().map(|(k, v)| (k.clone(), v.clone())))
    }

    fn apply(&self, writes: &Writes, seq: u64) -> Result<(), StoreError> {
        let mut state = self.state.write();
        for (key, value) in writes {
            match value {
                Some(value) => state.rows.insert(key.clone(), value.clone()),
                None => state.rows.remove(key),
            };
        }
        state.seq = Some(seq);
        Ok(())
    }

    fn seq(&self) -> Option<u64> {
        self.state.read().seq
    }

    fn verify(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn pile(&self) -> usize {
        1
    }

    fn tidy(&self, _: usize, _: &dyn Fn(u64) -> bool) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
