//! Reading several runs as one, and which runs to make one.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use super::{block::Block, blocks::Blocks, run::Run};
use crate::StoreError;

/// A place in a run, moving forward.
#[derive(Debug)]
struct Cursor<'a> {
    run: &'a Run,
    number: usize,
    block: Option<Block>,
    at: usize,
}

impl Cursor<'_> {
    fn key(&self) -> Result<Option<&[u8]>, StoreError> {
        self.block.as_ref().map(|block| Ok(block.entry(self.at)?.0)).transpose()
    }

    /// Goes to the next row; behind the last one there is no block.
    fn next(&mut self, store: &Blocks) -> Result<(), StoreError> {
        self.at += 1;
        self.settle(store)
    }

    fn settle(&mut self, store: &Blocks) -> Result<(), StoreError> {
        if self.block.as_ref().is_some_and(|block| self.at >= block.len()) {
            self.number += 1;
            self.at = 0;
            let more = self.number < self.run.blocks.len();
            self.block = more.then(|| self.run.block(store, self.number)).transpose()?;
        }
        Ok(())
    }
}

/// The rows of several runs in key order; of equal keys the newest one's.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    store: &'a Blocks,
    /// Newest first.
    cursors: Vec<Cursor<'a>>,
    begun: bool,
    /// Those whose row is the present one; the first of them is it.
    present: Vec<usize>,
}

impl<'a> Merged<'a> {
    /// Begins at the first row for whose key `before` is false.
    pub(super) fn new(
        store: &'a Blocks,
        runs: &'a [Arc<Run>],
        before: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, StoreError> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs.iter().filter(|run| !before(run.last())) {
            let number = run.seek(&before);
            let block = run.block(store, number)?;
            let at = block.seek(&before)?;
            let mut cursor = Cursor { run, number, block: Some(block), at };
            cursor.settle(store)?;
            cursors.push(cursor);
        }
        Ok(Self { store, cursors, begun: false, present: Vec::new() })
    }

    /// Moves to the next key; false behind the last one.
    pub(super) fn advance(&mut self) -> Result<bool, StoreError> {
        if self.begun {
            for at in &self.present {
                self.cursors[*at].next(self.store)?;
            }
        }
        self.begun = true;
        self.present.clear();
        let mut least: Option<&[u8]> = None;
        for (at, cursor) in self.cursors.iter().enumerate() {
            let Some(key) = cursor.key()? else { continue };
            match least.map_or(Ordering::Less, |least| key.cmp(least)) {
                Ordering::Less => {
                    least = Some(key);
                    self.present.clear();
                    self.present.push(at);
                }
                Ordering::Equal => self.present.push(at),
                Ordering::Greater => {}
            }
        }
        Ok(!self.present.is_empty())
    }

    /// The row it stands at.
    pub(super) fn row(&self) -> Result<super::block::Entry<'_>, StoreError> {
        let cursor = self.present.first().and_then(|at| self.cursors.get(*at));
        let block = cursor.and_then(|cursor| Some((cursor.block.as_ref()?, cursor.at)));
        let (block, at) = block.ok_or_else(super::damaged)?;
        block.entry(at)
    }
}

/// A row of its own: its key, and its value or `None` for a removal.
type Owned = (Vec<u8>, Option<Vec<u8>>);

/// The last row, removals included, for whose key `before` holds; of equal keys
/// the newest one's.
pub(super) fn last(
    store: &Blocks,
    runs: &[Arc<Run>],
    before: impl Fn(&[u8]) -> bool,
) -> Result<Option<Owned>, StoreError> {
    let mut found: Option<Owned> = None;
    for run in runs {
        let block = run.block(store, run.seek(&before))?;
        let Some(at) = block.seek(&before)?.checked_sub(1) else { continue };
        let (key, value) = block.entry(at)?;
        if found.as_ref().is_none_or(|(best, _)| key > best.as_slice()) {
            found = Some((key.to_vec(), value.map(<[u8]>::to_vec)));
        }
    }
    Ok(found)
}

/// Which runs to make one, given how large they are, newest first: `fan` of
/// about the same size that lie beside each other. `base` is the size of a
/// fresh one.
pub(super) fn pick(sizes: &[u64], base: u64, fan: usize) -> Option<Range<usize>> {
    // Each class is eight times the size of the one before.
    let class = |size: u64| (size / (base.max(1) * 2)).checked_ilog2().map_or(0, |log| log / 3 + 1);
    let classes: Vec<_> = sizes.iter().map(|size| class(*size)).collect();
    for wanted in 0..=classes.iter().copied().max()? {
        let mut at = 0;
        while at < classes.len() {
            let stretch = classes[at..].iter().take_while(|class| **class <= wanted).count();
            let end = at + stretch;
            let members = (at..end).filter(|n| classes[*n] == wanted);
            if members.clone().count() >= fan
                && let (Some(first), Some(last)) = (members.clone().min(), members.max())
            {
                return Some(first..last + 1);
            }
            at = end + 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_same_size_and_side_by_side_is_merged() {
        let pick = |sizes: &[u64]| pick(sizes, 10, 3);
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[10, 10]), None);
        assert_eq!(pick(&[10, 10, 10]), Some(0..3));
        assert_eq!(pick(&[10, 10, 40, 40, 40]), Some(2..5));
        assert_eq!(pick(&[10, 10, 40, 10, 10]), None, "not across a larger one");
        assert_eq!(pick(&[40, 5, 40, 40]), Some(0..4), "a smaller one between goes with them");
        assert_eq!(pick(&[10, 400, 400, 9_000, 400]), None);
    }
}
