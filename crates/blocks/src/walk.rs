//! Walking one tree or two side by side: where data is, and where contents differ.

use std::{collections::VecDeque, ops::Range};

use crate::{
    BlockStore, BlocksError, ChunkId, Result, Tree,
    cache::Value,
    cut::{BLOCK, REGION},
    node::{Entry, MAX_SIZE, Node, TOP, span},
    tree::entries,
};

/// What a range of a content holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Chunks are stored; some of their bytes may still be zero.
    Data,
    /// Nothing is stored: zeros.
    Hole,
}

/// A node of either tree and its level; a lower tree stands at the left edge of a higher one.
type Ref = Option<(ChunkId, u8)>;

#[derive(Debug)]
struct Pair {
    level: u8,
    /// First region.
    at: u64,
    sides: [Ref; 2],
}

/// The ranges where two trees differ, ascending, neighbours joined. Equal subtrees are skipped
/// unread. A tree against none gives the ranges of its data.
#[derive(Debug)]
pub(crate) struct Walk {
    trees: [Option<Tree>; 2],
    begun: bool,
    stack: Vec<Pair>,
    found: VecDeque<Range<u64>>,
    within: Range<u64>,
    /// After an error nothing more comes.
    failed: bool,
}

impl Walk {
    pub(crate) fn new(a: Option<Tree>, b: Option<Tree>, within: Range<u64>) -> Self {
        let (stack, found) = (Vec::new(), VecDeque::new());
        Self { trees: [a, b], begun: false, stack, found, within, failed: false }
    }

    fn begin(&mut self) -> Result<()> {
        let mut sides = [None; 2];
        for (side, tree) in sides.iter_mut().zip(&self.trees) {
            if let Some(tree) = tree {
                *side = tree.base()?.map(|base| (base.id, base.level));
            }
        }
        let level = sides.iter().flatten().map(|(_, level)| *level).max().unwrap_or(0);
        debug_assert!(level <= TOP);
        self.stack.push(Pair { level, at: 0, sides });
        Ok(())
    }

    /// Takes the next pair apart.
    fn step(&mut self, pair: &Pair) -> Result<()> {
        let first = pair.at * REGION;
        let last = first.saturating_add(span(pair.level) * REGION);
        let [a, b] = pair.sides;
        if a == b || last <= self.within.start || first >= self.within.end {
            return Ok(());
        }
        let a = self.expand(0, pair.level, a)?;
        let b = self.expand(1, pair.level, b)?;
        match (a, b) {
            (Expanded::Chunks(a), Expanded::Chunks(b)) => {
                self.compare(first, &a, &b);
            }
            (Expanded::Nodes(a), Expanded::Nodes(b)) => {
                let level = pair.level - 1;
                let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
                let mut children = Vec::new();
                loop {
                    let slot = match (a.peek(), b.peek()) {
                        (None, None) => break,
                        (Some((a, _)), Some((b, _))) => *a.min(b),
                        (Some((slot, _)), None) | (None, Some((slot, _))) => *slot,
                    };
                    let left = a.next_if(|(at, _)| *at == slot).map(|(_, side)| side);
                    let right = b.next_if(|(at, _)| *at == slot).map(|(_, side)| side);
                    let at = pair.at + u64::from(slot) * span(level);
                    children.push(Pair { level, at, sides: [left, right] });
                }
                self.stack.extend(children.into_iter().rev());
            }
            _ => unreachable!("both are taken apart at one level"),
        }
        Ok(())
    }

    fn expand(&self, side: usize, level: u8, node: Ref) -> Result<Expanded> {
        let (Some((id, own)), Some(tree)) = (node, &self.trees[side]) else {
            return Ok(if level == 0 {
                Expanded::Chunks(Vec::new())
            } else {
                Expanded::Nodes(Vec::new())
            });
        };
        if own < level {
            return Ok(Expanded::Nodes(vec![(0, (id, own))]));
        }
        let value = tree.node(&id)?;
        match &*value {
            Value::Node(Node::Leaf(_)) if level == 0 => {
                Ok(Expanded::Chunks(entries(&value).to_vec()))
            }
            Value::Node(Node::Inner { level: own, children }) if *own == level => {
                let below = |&(slot, id): &(u8, ChunkId)| (slot, (id, level - 1));
                Ok(Expanded::Nodes(children.iter().map(below).collect()))
            }
            _ => Err(BlocksError::Damaged { chunk: id }),
        }
    }

    /// Emits the chunks of either leaf that the other does not have at the same place.
    fn compare(&mut self, first: u64, a: &[Entry], b: &[Entry]) {
        let (mut i, mut j) = (0, 0);
        loop {
            let entry = match (a.get(i), b.get(j)) {
                (None, None) => return,
                (Some(left), Some(right)) if left == right => {
                    (i, j) = (i + 1, j + 1);
                    continue;
                }
                (Some(left), right) if right.is_none_or(|right| left.start <= right.start) => {
                    i += 1;
                    left
                }
                (_, Some(right)) => {
                    j += 1;
                    right
                }
                (Some(left), None) => {
                    i += 1;
                    left
                }
            };
            let start = first + u64::from(entry.start) * BLOCK as u64;
            let end = first + u64::from(entry.end()) * BLOCK as u64;
            let (start, end) = (start.max(self.within.start), end.min(self.within.end));
            if start >= end {
                continue;
            }
            match self.found.back_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => self.found.push_back(start..end),
            }
        }
    }
}

enum Expanded {
    Chunks(Vec<Entry>),
    Nodes(Vec<(u8, (ChunkId, u8))>),
}

impl Iterator for Walk {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Err(error) = self.begin()
        {
            self.failed = true;
            return Some(Err(error));
        }
        // The last range found may still grow: it goes out when another follows or nothing does.
        while self.found.len() < 2 {
            let Some(pair) = self.stack.pop() else { break };
            if let Err(error) = self.step(&pair) {
                self.failed = true;
                return Some(Err(error));
            }
        }
        self.found.pop_front().map(Ok)
    }
}

/// The data and holes of a range; see [`Tree::extents`].
#[derive(Debug)]
pub struct Extents {
    walk: Walk,
    at: u64,
    end: u64,
    next: Option<Range<u64>>,
}

impl Extents {
    pub(crate) fn new(walk: Walk, range: Range<u64>) -> Self {
        Self { walk, at: range.start, end: range.end, next: None }
    }
}

impl Iterator for Extents {
    type Item = Result<(Range<u64>, ExtentKind)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(data) = self.next.take() {
            self.at = data.end;
            return Some(Ok((data, ExtentKind::Data)));
        }
        if self.at >= self.end {
            return None;
        }
        match self.walk.next() {
            Some(Err(error)) => {
                self.at = self.end;
                Some(Err(error))
            }
            Some(Ok(data)) if data.start > self.at => {
                let hole = self.at..data.start;
                self.at = data.start;
                self.next = Some(data);
                Some(Ok((hole, ExtentKind::Hole)))
            }
            Some(Ok(data)) => {
                self.at = data.end;
                Some(Ok((data, ExtentKind::Data)))
            }
            None => {
                let hole = self.at..self.end;
                self.at = self.end;
                Some(Ok((hole, ExtentKind::Hole)))
            }
        }
    }
}

/// The ranges where two contents differ; see [`BlockStore::changed`].
#[derive(Debug)]
pub struct Changed(Walk);

impl Iterator for Changed {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl BlockStore {
    /// The byte ranges where `b` differs from `a`, ascending, exact to the chunk: each byte that
    /// differs is inside one, and equal contents give none. Sizes are not compared; ranges reach
    /// to the end of the larger one. Cost is that of the difference, not of the contents.
    #[must_use]
    pub fn changed(&self, a: &Tree, b: &Tree) -> Changed {
        self.changed_in(a, b, 0..u64::MAX)
    }

    /// The same within `range`, whose ends may lie inside a chunk.
    #[must_use]
    pub fn changed_in(&self, a: &Tree, b: &Tree, range: Range<u64>) -> Changed {
        let end = a.size_bytes().max(b.size_bytes()).min(MAX_SIZE).min(range.end);
        Changed(Walk::new(Some(a.clone()), Some(b.clone()), range.start.min(end)..end))
    }
}
