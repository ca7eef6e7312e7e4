//! The nodes of a tree and how they are written.
//!
//! A leaf covers one region and lists its chunks; an inner node of level `n` covers `256^n`
//! regions and lists its children. What is not listed is a hole. A tree is never higher than its
//! last region needs, so a content has one tree only.

use crate::{
    ChunkId,
    cut::{MAX_BLOCKS, REGION_BLOCKS},
};

/// The highest level: 256 TiB.
pub(crate) const TOP: u8 = 3;
/// The largest content, bytes.
pub(crate) const MAX_SIZE: u64 = crate::cut::REGION << (8 * TOP as u64);
const LEAF: u8 = 1;
const INNER: u8 = 2;
/// How the leaves were cut; other parameters get another number.
const CUTTING: u8 = 1;

/// One chunk of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First block, counted from the region's start.
    pub(crate) start: u16,
    pub(crate) blocks: u8,
    pub(crate) id: ChunkId,
}

impl Entry {
    pub(crate) fn end(&self) -> u16 {
        self.start + u16::from(self.blocks)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Leaf(Vec<Entry>),
    Inner { level: u8, children: Vec<(u8, ChunkId)> },
}

impl Node {
    pub(crate) fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf(entries) => {
                let mut bytes = Vec::with_capacity(4 + entries.len() * 36);
                bytes.extend([LEAF, CUTTING, 0, 0]);
                for entry in entries {
                    bytes.extend(entry.start.to_le_bytes());
                    bytes.extend([entry.blocks, 0]);
                    bytes.extend(entry.id.0);
                }
                bytes
            }
            Self::Inner { level, children } => {
                let mut bytes = Vec::with_capacity(4 + children.len() * 33);
                bytes.extend([INNER, CUTTING, *level, 0]);
                for (index, id) in children {
                    bytes.push(*index);
                    bytes.extend(id.0);
                }
                bytes
            }
        }
    }

    /// Reads a node; `None` if it breaks a rule, whoever wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_at_checked(4)? {
            ([LEAF, CUTTING, 0, 0], rest) if rest.len() % 36 == 0 && !rest.is_empty() => {
                let mut entries = Vec::with_capacity(rest.len() / 36);
                let mut free = 0;
                for record in rest.chunks_exact(36) {
                    let start = u16::from_le_bytes([record[0], record[1]]);
                    let blocks = record[2];
                    let sound = start >= free
                        && start < REGION_BLOCKS
                        && (1..=MAX_BLOCKS).contains(&blocks)
                        && start + u16::from(blocks) <= REGION_BLOCKS
                        && record[3] == 0;
                    if !sound {
                        return None;
                    }
                    free = start + u16::from(blocks);
                    let id = ChunkId(record[4..].try_into().ok()?);
                    entries.push(Entry { start, blocks, id });
                }
                Some(Self::Leaf(entries))
            }
            ([INNER, CUTTING, level @ 1..=TOP, 0], rest)
                if rest.len() % 33 == 0 && !rest.is_empty() =>
            {
                let mut children: Vec<(u8, ChunkId)> = Vec::with_capacity(rest.len() / 33);
                for record in rest.chunks_exact(33) {
                    if children.last().is_some_and(|(last, _)| *last >= record[0]) {
                        return None;
                    }
                    children.push((record[0], ChunkId(record[1..].try_into().ok()?)));
                }
                Some(Self::Inner { level: *level, children })
            }
            _ => None,
        }
    }
}

/// Regions a node of this level covers.
pub(crate) fn span(level: u8) -> u64 {
    1 << (8 * u32::from(level))
}

/// The child of a node of `level` that covers `region`.
pub(crate) fn child_of(level: u8, region: u64) -> u8 {
    ((region >> (8 * u32::from(level - 1))) & 255) as u8
}

/// The lowest level whose node at the left edge covers `region`.
pub(crate) fn level_for(region: u64) -> u8 {
    (0..=TOP).find(|&level| region < span(level)).unwrap_or(TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_read_back_and_broken_ones_do_not() {
        let id = ChunkId([7; 32]);
        let leaf =
            Node::Leaf(vec![Entry { start: 0, blocks: 4, id }, Entry { start: 9, blocks: 64, id }]);
        let inner = Node::Inner { level: 2, children: vec![(0, id), (255, id)] };
        for node in [&leaf, &inner] {
            assert_eq!(Node::decode(&node.encode()).as_ref(), Some(node));
            let bytes = node.encode();
            assert_eq!(Node::decode(&bytes[..bytes.len() - 1]), None);
        }
        let overlap =
            Node::Leaf(vec![Entry { start: 0, blocks: 4, id }, Entry { start: 3, blocks: 1, id }]);
        assert_eq!(Node::decode(&overlap.encode()), None);
        let outside = Node::Leaf(vec![Entry { start: 4090, blocks: 7, id }]);
        assert_eq!(Node::decode(&outside.encode()), None);
        assert_eq!(Node::decode(&Node::Leaf(vec![]).encode()), None);
        assert_eq!(Node::decode(&Node::Inner { level: 9, children: vec![(0, id)] }.encode()), None);
    }

    #[test]
    fn levels_cover_what_they_should() {
        assert_eq!([0, 1, 255, 256, 65_535, 65_536].map(level_for), [0, 1, 1, 2, 2, 3]);
        assert_eq!(child_of(2, 0x1234), 0x12);
        assert_eq!(child_of(1, 0x1234), 0x34);
    }
}
