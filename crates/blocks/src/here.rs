//! How much of a content lies on this host.

use crate::{
    Result, Tree,
    cut::{BLOCK, REGION},
    tree::entries,
};

impl Tree {
    /// Of the data in at most `most` regions, spread evenly over the content: the bytes that can
    /// be read without asking an object store, and all of them. With packs in a directory the two
    /// are equal. Reads the nodes that list those regions.
    pub fn here(&self, most: u64) -> Result<(u64, u64)> {
        let regions = self.size_bytes().div_ceil(REGION);
        let step = usize::try_from(regions.div_ceil(most.max(1)).max(1)).unwrap_or(usize::MAX);
        let (mut here, mut all) = (0, 0);
        for region in (0..regions).step_by(step) {
            let Some(leaf) = self.leaf(region)? else { continue };
            for entry in entries(&leaf) {
                let bytes = u64::from(entry.blocks) * BLOCK as u64;
                all += bytes;
                if self.store().is_here(&entry.id) {
                    here += bytes;
                }
            }
        }
        Ok((here, all))
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
