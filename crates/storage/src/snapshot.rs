//! Snapshots: the frozen content of a disk.

use std::collections::BTreeSet;

use vmint_blocks::Root;
use vmint_ids::{AccountId, ImageId, KmsKeyId, LineageId, ProductCode, SnapshotId, VolumeId};

use crate::{sharing::Sharing, tag::Tags};

/// What a disk holds: a tree of blocks and how much of it is disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// Whose deduplication domain the blocks are in: the account that brought
    /// the first ancestor in. Descendants stay there, whoever owns them.
    pub domain: AccountId,
    /// Whose data key the blocks are encrypted with; none if they are not.
    pub lineage: Option<LineageId>,
    pub root: Root,
    pub size_bytes: u64,
}

/// How something is encrypted: with the data key of its lineage, which lies
/// under a key of an account's. Descendants have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub lineage: LineageId,
    pub key: KmsKeyId,
}

/// How still the disk was when the snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Taken in from outside.
    Imported,
    /// Of a volume that nothing ran on.
    Stopped,
    /// Of a running machine, as if its power had failed at that moment.
    Crash,
}

impl Consistency {
    /// As it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Stopped => "stopped",
            Self::Crash => "crash-consistent",
        }
    }
}

/// Where a snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotState {
    Pending,
    Completed(Content),
    /// Never to be completed, and why.
    Error(String),
}

impl SnapshotState {
    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed(_) => "completed",
            Self::Error(_) => "error",
        }
    }
}

/// What a pending snapshot is made of, so that a restart can go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Making {
    /// What its volume's layers up to this one hold.
    Freeze { layer: u64 },
    /// Blocks that somebody sends.
    Blocks(Blocks),
    /// A snapshot of another region.
    Remote(Remote),
    /// A content of this one, to be encrypted anew.
    Cover(Content),
}

/// A snapshot of another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// As the settings call it.
    pub region: String,
    /// The image it is copied as a disk of, whose owner may have it; if none, it is whoever may
    /// read the snapshot.
    pub image: Option<ImageId>,
    pub snapshot: SnapshotId,
}

/// How far a pending snapshot is; known only to the process that makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Far {
    pub percent: u8,
    /// Bytes of the disk that are looked through or here; 0 where that can't be told.
    pub done_bytes: u64,
    /// At the pace so far; 0 while that can't be told.
    pub seconds_left: u64,
}

/// A snapshot that is made of blocks as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// What they are put over.
    pub base: Option<Content>,
    /// It is given up when no block has come for so long.
    pub timeout_ms: u64,
    /// All have come.
    pub complete: bool,
}

/// What a copy is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// What the source does.
    Same { content: Content, seal: Option<Seal> },
    /// The same, encrypted with another data key; that takes its time.
    Anew { source: Content, seal: Seal },
}

/// The frozen content of a disk, and who needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub account: AccountId,
    pub description: String,
    pub state: SnapshotState,
    /// Exact, of the disk.
    pub size_bytes: u64,
    pub volume: Option<VolumeId>,
    pub product_codes: BTreeSet<ProductCode>,
    /// Images that need it; while there is one it can't be deleted.
    pub images: BTreeSet<ImageId>,
    pub new_bytes: u64,
    pub stored_bytes: u64,
    pub created_ms: u64,
    pub consistency: Consistency,
    pub pause_micros: u64,
    /// None: its data are not encrypted.
    pub seal: Option<Seal>,
    pub tags: Tags,
    pub sharing: Sharing,
    /// What it was begun over, block by block.
    pub parent: Option<SnapshotId>,
    /// Only while it is pending.
    pub making: Option<Making>,
    /// How far it is, while it is pending; not recorded.
    pub far: Far,
}

impl Snapshot {
    /// A snapshot that is still to be made.
    #[must_use]
    pub fn pending(id: SnapshotId, account: AccountId, size_bytes: u64, how: Consistency) -> Self {
        Self {
            id,
            account,
            description: String::new(),
            state: SnapshotState::Pending,
            size_bytes,
            volume: None,
            product_codes: BTreeSet::new(),
            images: BTreeSet::new(),
            new_bytes: 0,
            stored_bytes: 0,
            created_ms: 0,
            consistency: how,
            pause_micros: 0,
            seal: None,
            tags: Tags::new(),
            sharing: Sharing::default(),
            parent: None,
            making: None,
            far: Far::default(),
        }
    }

    /// Another one for `account`, of `content` under `seal`, with nothing else
    /// taken over but what sells with the data.
    #[must_use]
    pub fn copied(&self, id: SnapshotId, account: AccountId, holds: Copied) -> Self {
        let mut copy = Self::pending(id, account, self.size_bytes, self.consistency);
        match holds {
            Copied::Same { content, seal } => {
                copy.state = SnapshotState::Completed(content);
                copy.seal = seal;
            }
            Copied::Anew { source, seal } => {
                copy.making = Some(Making::Cover(source));
                copy.seal = Some(seal);
            }
        }
        copy.product_codes.clone_from(&self.product_codes);
        copy.pause_micros = self.pause_micros;
        copy
    }

    /// Whether `account` may make volumes and copies of it, and read it.
    #[must_use]
    pub fn readable_by(&self, account: AccountId) -> bool {
        self.account == account || self.sharing.admits(account)
    }

    /// What `account` gets to see of it: labels, images and the volume are the
    /// owner's own affair.
    #[must_use]
    pub fn shown_to(mut self, account: AccountId) -> Self {
        if self.account != account {
            self.tags.clear();
            self.images.clear();
            self.volume = None;
            self.parent = None;
        }
        self
    }

    /// How far it is, in percent.
    #[must_use]
    pub fn progress(&self) -> u8 {
        match self.state {
            SnapshotState::Pending => self.far.percent.min(99),
            SnapshotState::Completed(_) => 100,
            SnapshotState::Error(_) => 0,
        }
    }

    /// Everything that must stay in the block store for it.
    pub(crate) fn needed(&self) -> Option<Content> {
        match &self.making {
            _ if self.state != SnapshotState::Pending => self.content(),
            Some(Making::Blocks(blocks)) => blocks.base,
            Some(Making::Cover(source)) => Some(*source),
            _ => None,
        }
    }

    /// Whose data keys it needs: that of what it holds, and that of what it is made of.
    pub(crate) fn lineages(&self) -> BTreeSet<LineageId> {
        let of = match &self.making {
            Some(Making::Cover(source)) => source.lineage,
            _ => None,
        };
        of.into_iter().chain(self.seal.map(|seal| seal.lineage)).collect()
    }

    /// The content, once there is one.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        match self.state {
            SnapshotState::Completed(content) => Some(content),
            SnapshotState::Pending | SnapshotState::Error(_) => None,
        }
    }
}

/// Bytes as GiB, rounded up; at least 1.
#[must_use]
pub(crate) fn gib(bytes: u64) -> i32 {
    i32::try_from(bytes.div_ceil(1 << 30).max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::gib;

    #[test]
    fn sizes_round_up_to_gib() {
        assert_eq!([0, 1, 1 << 30, (1 << 30) + 1].map(gib), [1, 1, 1, 2]);
    }
}
