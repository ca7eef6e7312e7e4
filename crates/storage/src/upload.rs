//! Uploads: files that come in pieces.

use vmint_ids::{AccountId, SnapshotId, UploadId};

use crate::{Content, ranges::Ranges};

/// Stretches one upload may be in: its record has bounds.
pub(crate) const MAX_STRETCHES: usize = 1000;
/// Uploads of one account at a time.
pub(crate) const MAX_UPLOADS: usize = 64;
/// The size of a block that a digest of the base is listed for.
pub(crate) const DIGEST_BLOCK: usize = 512 << 10;
/// The size of a digest.
pub(crate) const DIGEST: usize = 16;

/// A file on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub id: UploadId,
    pub account: AccountId,
    pub file_bytes: u64,
    /// What is there for good.
    pub(crate) durable: Ranges,
    pub(crate) base: Option<Base>,
    pub created_ms: u64,
    /// Goes then, unless something comes.
    pub expires_ms: u64,
}

/// What pieces of an upload may be taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) snapshot: SnapshotId,
    pub(crate) content: Content,
    /// Of the digests of this upload and no other.
    pub(crate) key: [u8; 32],
    /// What is the base's, of what is durable.
    pub(crate) taken: Ranges,
}

impl Upload {
    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.durable.cover(self.file_bytes)
    }
}

/// A block of the base as the two ends compare it.
pub(crate) fn digest(key: &[u8; 32], block: &[u8]) -> [u8; DIGEST] {
    let hash = blake3::keyed_hash(key, block);
    *hash.as_bytes().first_chunk().expect("16 of 32 bytes")
}
