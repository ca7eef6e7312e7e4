//! A part of the cache, behind one lock: what is kept by use, and what waits to be asked for.

use std::sync::Arc;

use super::{Key, lease::Lease};
use crate::{index::PlainMap, node::Node};

#[derive(Debug)]
pub(crate) enum Value {
    Data(Vec<u8>),
    Node(Node),
}

impl Value {
    fn weight(&self) -> usize {
        Self::weight_of(match self {
            Self::Data(bytes) => bytes.capacity(),
            Self::Node(Node::Leaf(entries)) => entries.capacity() * 36,
            Self::Node(Node::Inner { children, .. }) => children.capacity() * 33,
        })
    }

    /// What `bytes` of a value take with what belongs to them.
    pub(crate) fn weight_of(bytes: usize) -> usize {
        96 + bytes
    }
}

#[derive(Debug)]
struct Slot {
    key: Key,
    value: Arc<Value>,
    used: bool,
}

/// What was read ahead, for whom, and as which of all that was.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) value: Arc<Value>,
    pub(super) lease: Arc<Lease>,
    pub(super) order: u64,
}

/// Clock: what was used since the hand last passed stays, so one long read displaces only itself.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: Vec<Slot>,
    at: PlainMap<Key, usize>,
    hand: usize,
    /// Of the slots and of what waits.
    pub(super) bytes: usize,
    waiting: PlainMap<Key, Waiting>,
}

impl Shard {
    /// A value, and the bytes that no longer wait for having been asked for.
    pub(super) fn get(&mut self, key: &Key) -> Option<(Arc<Value>, usize)> {
        if let Some(place) = self.at.get(key) {
            let slot = &mut self.slots[*place];
            slot.used = true;
            return Some((slot.value.clone(), 0));
        }
        let Waiting { value, lease, order } = self.waiting.remove(key)?;
        lease.asked(order);
        self.push(*key, value.clone(), true);
        let weight = value.weight();
        Some((value, weight))
    }

    /// A value as it is, to wait on; one that does not stays for another turn.
    pub(super) fn look(&mut self, key: &Key) -> Option<Arc<Value>> {
        if let Some(place) = self.at.get(key) {
            let slot = &mut self.slots[*place];
            slot.used = true;
            return Some(slot.value.clone());
        }
        self.waiting.get(key).map(|one| one.value.clone())
    }

    pub(super) fn insert(&mut self, key: Key, value: Arc<Value>, room: usize) {
        if !self.at.contains_key(&key) && self.make_room(value.weight(), room) {
            self.push(key, value, false);
        }
    }

    /// Keeps a value until somebody asks for it; the bytes it takes, none if there is no room.
    pub(super) fn hold(&mut self, key: Key, waiting: Waiting, room: usize) -> usize {
        let weight = waiting.value.weight();
        if self.at.contains_key(&key) || !self.make_room(weight, room) {
            return 0;
        }
        self.waiting.insert(key, waiting);
        weight
    }

    /// Has a value that was read ahead for `lease` wait no longer; the bytes that did.
    pub(super) fn let_go(&mut self, key: &Key, lease: &Arc<Lease>) -> usize {
        let ours = |one: &Waiting| Arc::ptr_eq(&one.lease, lease);
        if !self.waiting.get(key).is_some_and(ours) {
            return 0;
        }
        let Some(Waiting { value, .. }) = self.waiting.remove(key) else { return 0 };
        let weight = value.weight();
        self.push(*key, value, false);
        weight
    }

    /// Takes `weight` bytes of the room, which others give up; false if they can't.
    fn make_room(&mut self, weight: usize, room: usize) -> bool {
        while self.bytes + weight > room && !self.slots.is_empty() {
            self.evict();
        }
        let fits = self.bytes + weight <= room;
        if fits {
            self.bytes += weight;
        }
        fits
    }

    /// Its bytes are counted.
    fn push(&mut self, key: Key, value: Arc<Value>, used: bool) {
        self.at.insert(key, self.slots.len());
        self.slots.push(Slot { key, value, used });
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.used) {
                break;
            }
            self.hand += 1;
        }
        let slot = self.slots.swap_remove(self.hand);
        self.bytes -= slot.value.weight();
        self.at.remove(&slot.key);
        if let Some(moved) = self.slots.get(self.hand) {
            self.at.insert(moved.key, self.hand);
        }
    }
}
