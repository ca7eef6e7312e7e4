//! How much of a content lies on this host.

use crate::{
    BlockStore, Result, Tree,
    cut::{BLOCK, REGION},
    tree::{Descent, entries},
};

impl BlockStore {
    /// Whether packs are kept in an object store: then not all that can be read is on this host.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.0.packs.fetched().is_some()
    }
}

impl Tree {
    /// Of the data in at most `most` regions, spread evenly over the content: the bytes that can
    /// be read without asking an object store, and all of them. With packs in a directory the two
    /// are equal. Asks no object store itself: a region whose list is not here counts as not
    /// here, and as dense as the others.
    pub fn here(&self, most: u64) -> Result<(u64, u64)> {
        let regions = self.size_bytes().div_ceil(REGION);
        let step = usize::try_from(regions.div_ceil(most.max(1)).max(1)).unwrap_or(usize::MAX);
        let store = self.store();
        let (mut here, mut all) = (0, 0);
        let (mut listed, mut unlisted) = (0_u64, 0_u64);
        for region in (0..regions).step_by(step) {
            let span = REGION.min(self.size_bytes() - region * REGION);
            let known = |id: &crate::ChunkId| store.is_here(id) || store.cache.has(&self.key(*id));
            let leaf = match self.descend(region, known)? {
                Descent::Leaf(leaf) => leaf,
                Descent::Hole => continue,
                Descent::Stopped => {
                    unlisted += span;
                    continue;
                }
            };
            listed += span;
            for entry in entries(&leaf) {
                let bytes = u64::from(entry.blocks) * BLOCK as u64;
                all += bytes;
                if store.is_here(&entry.id) {
                    here += bytes;
                }
            }
        }
        // At most 256 regions of 16 MiB: the product stays far below 2^64.
        let away = (all * unlisted).checked_div(listed).unwrap_or(unlisted);
        Ok((here, all + away))
    }
}

impl crate::store::Inner {
    fn is_here(&self, id: &crate::ChunkId) -> bool {
        self.index.get(id).is_some_and(|loc| {
            let start = u64::from(loc.offset);
            self.packs.is_here(loc.pack, start..start + u64::from(loc.stored()))
        })
    }
}
