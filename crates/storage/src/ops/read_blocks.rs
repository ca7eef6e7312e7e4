//! Snapshots read block by block.

use std::ops::Range;

use bytes::Bytes;
use vmint_blocks::ExtentKind;
use vmint_ids::{AccountId, SnapshotId};

use super::attach::now_ms;
use crate::{
    BlockError, Content, Result, Snapshot, Storage, StorageError,
    block_token::LIFE_MS,
    sent::{BLOCK, Sum, sum},
    store::snapshots,
};

/// One page of block indexes.
#[derive(Debug)]
pub(crate) struct BlockPage {
    pub(crate) indexes: Vec<u32>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<u32>,
    pub(crate) size_bytes: u64,
    /// When tokens that are given out now cease to serve.
    pub(crate) until_ms: u64,
}

impl Storage {
    /// Blocks of a snapshot that hold data, from `from` on.
    pub(crate) async fn list_blocks(
        &self,
        id: SnapshotId,
        account: AccountId,
        from: u32,
        most: usize,
    ) -> Result<BlockPage> {
        let (_, content) = self.complete(id, account)?;
        let storage = self.clone();
        Self::blocking(move || page(storage.holding(&content, from)?, most, content.size_bytes))
            .await
    }

    /// Blocks in which two snapshots differ, from `from` on. They need not be
    /// related, nor of one account.
    pub(crate) async fn list_changed(
        &self,
        first: Option<SnapshotId>,
        second: SnapshotId,
        account: AccountId,
        from: u32,
        most: usize,
    ) -> Result<(BlockPage, u64)> {
        let first = first.map(|id| self.complete(id, account)).transpose()?;
        let (_, second) = self.complete(second, account)?;
        let storage = self.clone();
        Self::blocking(move || {
            let size_bytes = second.size_bytes;
            let Some((_, first)) = first else {
                return Ok((page(storage.holding(&second, from)?, most, size_bytes)?, 0));
            };
            let page = if (first.domain, first.lineage) == (second.domain, second.lineage) {
                let (a, b) = (storage.tree(&first)?, storage.tree(&second)?);
                page(blocks(storage.blocks.changed(&a, &b), from), most, size_bytes)?
            } else {
                // Chunks of two domains have no names in common: bytes decide.
                storage.compared(&first, &second, from, most)?
            };
            Ok((page, first.size_bytes))
        })
        .await
    }

    /// Reads one block that the token lets `account` read.
    pub(crate) async fn get_block(
        &self,
        id: SnapshotId,
        account: AccountId,
        index: i32,
        token: &str,
    ) -> Result<(Bytes, Sum)> {
        // Asked again at every read: a revoke binds the next one.
        let (snapshot, content) = self.complete(id, account)?;
        let blocks = snapshot.size_bytes.div_ceil(BLOCK);
        let index = u32::try_from(index)
            .ok()
            .filter(|n| u64::from(*n) < blocks)
            .ok_or(BlockError::Index { id, index: i64::from(index), blocks })?;
        if !self.tokens.admits(token, account, id, index, now_ms()) {
            return Err(BlockError::Token { id, index }.into());
        }
        let storage = self.clone();
        Self::blocking(move || {
            let bytes = storage.block_of(&content, index)?;
            let sum = sum(&bytes);
            Ok((bytes.into(), sum))
        })
        .await
    }

    /// A token for one block of a snapshot.
    pub(crate) fn token(
        &self,
        account: AccountId,
        id: SnapshotId,
        index: u32,
        until_ms: u64,
    ) -> String {
        self.tokens.seal(account, id, index, until_ms)
    }

    fn complete(&self, id: SnapshotId, account: AccountId) -> Result<(Snapshot, Content)> {
        let snapshot = snapshots::readable(self.records.store(), id, account)?;
        let content = snapshot.content().ok_or(StorageError::NotCompleted { id })?;
        Ok((snapshot, content))
    }

    /// A block's bytes, zeros behind the end.
    fn block_of(&self, content: &Content, index: u32) -> Result<Vec<u8>> {
        let start = u64::from(index) * BLOCK;
        let mut bytes = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
        let end = content.size_bytes.min(start + BLOCK);
        if let Some(length) = end.checked_sub(start).and_then(|n| usize::try_from(n).ok()) {
            self.tree(content)?.read_at(start, &mut bytes[..length])?;
        }
        Ok(bytes)
    }

    /// Indexes of the blocks from `from` on that hold data.
    fn holding(
        &self,
        content: &Content,
        from: u32,
    ) -> Result<impl Iterator<Item = vmint_blocks::Result<u32>> + use<>> {
        let start = (u64::from(from) * BLOCK).min(content.size_bytes);
        let extents = self.tree(content)?.extents(start..content.size_bytes);
        let data = extents.filter_map(|extent| match extent {
            Ok((range, ExtentKind::Data)) => Some(Ok(range)),
            Ok((_, ExtentKind::Hole)) => None,
            Err(error) => Some(Err(error)),
        });
        Ok(blocks(data, from))
    }

    /// Where contents of two domains differ, block by block; only what holds
    /// data in either is read, and only so much in one page.
    fn compared(
        &self,
        first: &Content,
        second: &Content,
        from: u32,
        most: usize,
    ) -> Result<BlockPage> {
        let mut a = self.holding(first, from)?.peekable();
        let mut b = self.holding(second, from)?.peekable();
        let mut found = BlockPage::empty(second.size_bytes);
        let mut read = 0;
        loop {
            let heads = [&mut a, &mut b].map(|side| match side.peek() {
                Some(Ok(index)) => Ok(Some(*index)),
                Some(Err(_)) => side.next().transpose(),
                None => Ok(None),
            });
            let [left, right] = heads;
            let Some(index) = left?.into_iter().chain(right?).min() else { return Ok(found) };
            if found.indexes.len() == most || read == MOST_COMPARED {
                found.next = Some(index);
                return Ok(found);
            }
            read += 1;
            if self.block_of(first, index)? != self.block_of(second, index)? {
                found.indexes.push(index);
            }
            a.next_if(|one| one.as_ref().is_ok_and(|one| *one == index));
            b.next_if(|one| one.as_ref().is_ok_and(|one| *one == index));
        }
    }
}

/// A page has this many blocks at most.
pub(crate) const MOST_BLOCKS: usize = 10_000;
/// So many blocks are read for one page at most.
const MOST_COMPARED: usize = 2048;

impl BlockPage {
    fn empty(size_bytes: u64) -> Self {
        Self { indexes: Vec::new(), next: None, size_bytes, until_ms: now_ms() + LIFE_MS }
    }
}

/// The indexes from `from` on of the blocks that ascending ranges touch, each
/// once.
fn blocks(
    ranges: impl Iterator<Item = vmint_blocks::Result<Range<u64>>>,
    from: u32,
) -> impl Iterator<Item = vmint_blocks::Result<u32>> {
    let mut least = u64::from(from);
    ranges.flat_map(move |range| {
        let (start, end, failed) = match range {
            Ok(range) => (range.start / BLOCK, range.end.div_ceil(BLOCK), None),
            Err(error) => (0, 0, Some(Err(error))),
        };
        let start = start.max(least);
        least = least.max(end);
        let indexes = (start..end).map(|n| Ok(u32::try_from(n).unwrap_or(u32::MAX)));
        indexes.chain(failed)
    })
}

/// The first `most` of them.
fn page(
    mut blocks: impl Iterator<Item = vmint_blocks::Result<u32>>,
    most: usize,
    size_bytes: u64,
) -> Result<BlockPage> {
    let mut found = BlockPage::empty(size_bytes);
    found.indexes = blocks.by_ref().take(most).collect::<vmint_blocks::Result<_>>()?;
    found.next = blocks.next().transpose()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_blocks_once_each() {
        let ranges = || [0..10, 20..30, BLOCK - 1..BLOCK + 1, 5 * BLOCK..7 * BLOCK].map(Ok);
        let of = |from, most| {
            let page = page(blocks(ranges().into_iter(), from), most, 8 * BLOCK).unwrap();
            (page.indexes, page.next)
        };
        assert_eq!(of(0, 10), (vec![0, 1, 5, 6], None));
        assert_eq!(of(0, 2), (vec![0, 1], Some(5)));
        assert_eq!(of(5, 1), (vec![5], Some(6)));
        assert_eq!(of(6, 1), (vec![6], None));
        assert_eq!(of(7, 1), (vec![], None));
    }
}
