use std::collections::BTreeMap;

use parking_lot::RwLock;

use super::{Mark, View};
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
    mark: Option<Mark>,
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

    fn apply(&self, writes: &Writes, mark: Mark) -> Result<(), StoreError> {
        let mut state = self.state.write();
        for (key, value) in writes {
            match value {
                Some(value) => state.rows.insert(key.clone(), value.clone()),
                None => state.rows.remove(key),
            };
        }
        state.mark = Some(mark);
        Ok(())
    }

    fn mark(&self) -> Result<Option<Mark>, StoreError> {
        Ok(self.state.read().mark)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
