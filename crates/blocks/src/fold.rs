//! Builds the inner nodes of a tree from changed nodes below and a base that keeps the rest.

use std::collections::BTreeMap;

use crate::{
    ChunkId, Result,
    cache::Value,
    id::{Keys, Kind},
    node::{Node, TOP, child_of, level_for, span},
    store::Inner,
};

/// The root node of the tree built upon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub(crate) id: ChunkId,
    pub(crate) level: u8,
}

/// The new node whose first region is `at`; `None` is a hole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) node: Option<ChunkId>,
}

pub(crate) struct Fold<'a> {
    pub(crate) store: &'a Inner,
    pub(crate) keys: &'a Keys,
    pub(crate) base: Option<Base>,
    /// The level of the changes.
    pub(crate) floor: u8,
    /// Regions from here on are cut off.
    pub(crate) limit: u64,
    /// Bytes appended for new nodes.
    pub(crate) stored: u64,
}

impl Fold<'_> {
    /// The level-1 node of the group at `at` with changed leaves.
    pub(crate) fn group(&mut self, at: u64, leaves: &[Change]) -> Result<Option<ChunkId>> {
        let base = self.find(at, 1)?;
        self.build(1, at, base, leaves)
    }

    /// The root of the tree with changed groups.
    pub(crate) fn tree(&mut self, groups: &[Change]) -> Result<Option<ChunkId>> {
        let last = groups.last().map_or(0, |change| change.at + span(1) - 1);
        let level = level_for(last).max(self.base.map_or(0, |base| base.level)).max(1);
        let mut root = self.build(level, 0, self.base, groups)?;
        // A tree is no higher than its last region needs.
        while let Some(id) = root {
            match &*self.store.cached(self.keys, Kind::Node, &id)? {
                Value::Node(Node::Inner { children, .. }) if children[..].len() == 1 => {
                    match children[0] {
                        (0, child) => root = Some(child),
                        _ => break,
                    }
                }
                _ => break,
            }
        }
        Ok(root)
    }

    /// The base's node of `level` or below that covers the regions from `at`.
    fn find(&self, at: u64, level: u8) -> Result<Option<Base>> {
        let Some(mut node) = self.base else { return Ok(None) };
        if at >= span(node.level.max(level)) {
            return Ok(None);
        }
        while node.level > level {
            let children = self.children(node)?;
            let Some(&id) = children.get(&child_of(node.level, at)) else { return Ok(None) };
            node = Base { id, level: node.level - 1 };
        }
        Ok(Some(node))
    }

    fn children(&self, node: Base) -> Result<BTreeMap<u8, ChunkId>> {
        match &*self.store.cached(self.keys, Kind::Node, &node.id)? {
            Value::Node(Node::Inner { level, children }) if *level == node.level => {
                Ok(children.iter().copied().collect())
            }
            _ => Err(crate::BlocksError::Damaged { chunk: node.id }),
        }
    }

    fn build(
        &mut self,
        level: u8,
        at: u64,
        base: Option<Base>,
        changes: &[Change],
    ) -> Result<Option<ChunkId>> {
        if at >= self.limit {
            return Ok(None);
        }
        if level == self.floor
            && let Some(change) = changes.first()
        {
            return Ok(change.node);
        }
        let whole = level == 0 || at + span(level) <= self.limit;
        match base {
            None if changes.is_empty() => return Ok(None),
            Some(base) if changes.is_empty() && whole && base.level == level => {
                return Ok(Some(base.id));
            }
            _ => {}
        }
        debug_assert!(level > 0 && level <= TOP);
        let mut below: BTreeMap<u8, ChunkId> = BTreeMap::new();
        let mut below_level = level - 1;
        if let Some(base) = base {
            if base.level == level {
                below = self.children(base)?;
            } else {
                // A lower tree stands at the left edge of a higher one.
                below.insert(0, base.id);
                below_level = base.level;
            }
        }
        let mut slots: Vec<u8> = below.keys().copied().collect();
        slots.extend(changes.iter().map(|change| child_of(level, change.at)));
        slots.sort_unstable();
        slots.dedup();
        let mut children = Vec::with_capacity(slots.len());
        let mut rest = changes;
        for slot in slots {
            let mine = rest.partition_point(|change| child_of(level, change.at) <= slot);
            let (mine, others) = rest.split_at(mine);
            rest = others;
            let base = below.get(&slot).map(|&id| Base { id, level: below_level });
            let first = at + u64::from(slot) * span(level - 1);
            let child = self.build(level - 1, first, base, mine)?;
            children.extend(child.map(|id| (slot, id)));
        }
        if children.is_empty() {
            return Ok(None);
        }
        let (id, stored) = self.store.put_node(self.keys, &Node::Inner { level, children })?;
        self.stored += stored;
        Ok(Some(id))
    }
}
