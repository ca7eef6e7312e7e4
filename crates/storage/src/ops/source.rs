//! The source's side of a copy to another region: what a content is called
//! there, and its chunks.

use vmint_blocks::{Leaf, Names, Place};
use vmint_ids::SnapshotId;

use crate::{Result, Storage, StorageError, store::snapshots};

/// Stretches in one page, and with their chunks in one answer.
pub(crate) const LEAVES: usize = 64;
pub(crate) const WHOLE_LEAVES: usize = 8;
/// Chunks in one answer.
pub(crate) const CHUNKS: usize = 1024;

/// A stretch and what it is called.
pub(crate) type Named = (u64, Leaf);

impl Storage {
    fn source(&self, id: SnapshotId) -> Result<vmint_blocks::Tree> {
        let found = snapshots::find(self.records.store(), id)?;
        let found = found.ok_or(StorageError::NoSuchSnapshot { id })?;
        self.tree(&found.content().ok_or(StorageError::NotCompleted { id })?)
    }

    /// Up to `limit` stretches from `first` on that hold data, as `names` would call them; and
    /// whether more may follow.
    pub(crate) async fn leaves(
        &self,
        id: SnapshotId,
        names: Names,
        first: u64,
        limit: usize,
    ) -> Result<(Vec<Named>, bool)> {
        let storage = self.clone();
        Self::blocking(move || {
            let tree = storage.source(id)?;
            let regions = tree.regions(first, limit)?;
            let more = regions.len() == limit;
            let mut found = Vec::with_capacity(regions.len());
            for region in regions {
                found.extend(tree.recast(region, &names)?.map(|leaf| (region, leaf)));
            }
            Ok((found, more))
        })
        .await
    }

    /// What machines read first of a snapshot's content, as a record keeps it; none if nothing
    /// is known of it.
    pub(crate) async fn boot_numbers(&self, id: SnapshotId) -> Result<Option<Vec<u64>>> {
        let storage = self.clone();
        Self::blocking(move || {
            let found = snapshots::find(storage.records.store(), id)?;
            let content = found.and_then(|found| found.content());
            Ok(content.and_then(|content| storage.boot_set(&content)).map(|set| set.numbers()))
        })
        .await
    }

    /// These stretches with their chunks; holes are left out.
    pub(crate) async fn whole_leaves(
        &self,
        id: SnapshotId,
        names: Names,
        regions: Vec<u64>,
    ) -> Result<Vec<Named>> {
        let storage = self.clone();
        Self::blocking(move || {
            let tree = storage.source(id)?;
            let mut found = Vec::with_capacity(regions.len());
            for region in regions.into_iter().take(WHOLE_LEAVES) {
                found.extend(tree.recast(region, &names)?.map(|leaf| (region, leaf)));
            }
            Ok(found)
        })
        .await
    }

    /// Chunks of a stretch, compressed where that helps.
    pub(crate) async fn chunks(
        &self,
        id: SnapshotId,
        region: u64,
        starts: Vec<u16>,
    ) -> Result<tokio::sync::mpsc::Receiver<Result<(u16, Vec<u8>, bool)>>> {
        let storage = self.clone();
        let (send, receive) = tokio::sync::mpsc::channel(16);
        let (tree, places) = Self::blocking(move || {
            let tree = storage.source(id)?;
            let leaf = tree.recast(region, &tree.names())?;
            let places = leaf.map(|leaf| leaf.places).unwrap_or_default();
            Ok((tree, places))
        })
        .await?;
        let stop = self.transfers.stop.clone();
        self.tasks.spawn_blocking(move || {
            for start in starts.into_iter().take(CHUNKS) {
                let place = places.iter().find(|place| place.start == start);
                let chunk = place.ok_or(StorageError::Sequence("no chunk begins there"));
                let chunk = chunk.and_then(|place| packed(&tree, region, place));
                let over = chunk.is_err() || stop.is_cancelled();
                if send.blocking_send(chunk).is_err() || over {
                    return;
                }
            }
        });
        Ok(receive)
    }
}

fn packed(tree: &vmint_blocks::Tree, region: u64, place: &Place) -> Result<(u16, Vec<u8>, bool)> {
    let mut bytes = vec![0; place.bytes()];
    let at = place.offset(region);
    // The last chunk of a disk reaches over its end, with zeros.
    let there = usize::try_from(tree.size_bytes().saturating_sub(at)).unwrap_or(bytes.len());
    let there = there.min(bytes.len());
    tree.read_at(at, &mut bytes[..there])?;
    let small = zstd::bulk::compress(&bytes, 1)?;
    Ok(if small.len() < bytes.len() {
        (place.start, small, true)
    } else {
        (place.start, bytes, false)
    })
}
