//! The root of a content, worked out from its leaves without a store.

use crate::{
    ChunkId, Leaf, Names, Result, Root, Tree,
    cut::REGION,
    id::Kind,
    node::{Node, TOP, child_of, level_for},
};

/// Leaves in, a root out; holds one node a level.
#[derive(Debug)]
pub struct Outline {
    names: Names,
    /// The children of the node that is open at each level from 1 on.
    open: [Vec<(u8, ChunkId)>; TOP as usize],
    last: Option<(u64, ChunkId)>,
}

impl Outline {
    /// Of a content that is called by `names`.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self { names, open: [const { Vec::new() }; TOP as usize], last: None }
    }

    /// Takes the leaf of a region as it is called there; regions ascend.
    ///
    /// Errors: [`crate::BlocksError::OutOfOrder`], also of a region beyond the largest content.
    pub fn leaf(&mut self, region: u64, leaf: &Leaf) -> Result<()> {
        let next = self.last.map_or(0, |(last, _)| last + 1);
        if region < next || region >= crate::MAX_CONTENT_BYTES / REGION {
            let (offset, at) = (region.saturating_mul(REGION), next * REGION);
            return Err(crate::BlocksError::OutOfOrder { offset, at });
        }
        for level in 1..=TOP {
            let bits = 8 * u32::from(level);
            match self.last {
                Some((last, _)) if last >> bits != region >> bits => self.close(level, last),
                _ => break,
            }
        }
        let id = ChunkId(leaf.id);
        self.open[0].push((child_of(1, region), id));
        self.last = Some((region, id));
        Ok(())
    }

    /// The root of the content.
    #[must_use]
    pub fn finish(mut self) -> Root {
        let Some((last, only)) = self.last else { return Root::EMPTY };
        // A tree is no higher than its last region needs.
        let top = level_for(last);
        for level in 1..top {
            self.close(level, last);
        }
        if top == 0 {
            return Root::of(Some(only));
        }
        let children = std::mem::take(&mut self.open[usize::from(top) - 1]);
        Root::of(Some(self.id(top, children)))
    }

    /// The node of `level` around region `last` is complete.
    fn close(&mut self, level: u8, last: u64) {
        let children = std::mem::take(&mut self.open[usize::from(level) - 1]);
        let id = self.id(level, children);
        if let Some(above) = self.open.get_mut(usize::from(level)) {
            above.push((child_of(level + 1, last), id));
        }
    }

    fn id(&self, level: u8, children: Vec<(u8, ChunkId)>) -> ChunkId {
        self.names.id(Kind::Node, &Node::Inner { level, children }.encode())
    }
}

impl Tree {
    /// What the whole content is called by `names`. Reads every chunk, unless those are the
    /// content's own; `watch` hears how many bytes of the content are done and may end it.
    pub fn root_in(&self, names: &Names, watch: &mut dyn FnMut(u64) -> Result<()>) -> Result<Root> {
        let mut outline = Outline::new(*names);
        let mut first = 0;
        loop {
            let regions = self.regions(first, 64)?;
            let Some(last) = regions.last() else { return Ok(outline.finish()) };
            first = last + 1;
            for region in regions {
                if let Some(leaf) = self.recast(region, names)? {
                    outline.leaf(region, &leaf)?;
                }
                watch((region + 1) * REGION)?;
            }
        }
    }
}
