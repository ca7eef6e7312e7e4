//! The names of contents and the keys that separate dedup domains.

use std::{fmt, str::FromStr};

/// The name of one chunk: its keyed BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub(crate) [u8; 32]);

impl ChunkId {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a whole content: the hash of its Merkle tree.
///
/// Equal content in one domain has an equal root, however it was written. Trailing zeros do not
/// count: the size is kept beside the root by whoever keeps the root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root([u8; 32]);

impl Root {
    /// The root of a content without a single byte that is not zero.
    pub const EMPTY: Self = Self([0; 32]);

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    pub(crate) fn node(self) -> Option<ChunkId> {
        (!self.is_empty()).then_some(ChunkId(self.0))
    }

    pub(crate) fn of(node: Option<ChunkId>) -> Self {
        node.map_or(Self::EMPTY, |id| Self(id.0))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a root is written as 64 hexadecimal digits")]
pub struct BadRoot;

impl FromStr for Root {
    type Err = BadRoot;

    fn from_str(text: &str) -> Result<Self, BadRoot> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadRoot);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| BadRoot)?;
        }
        Ok(Self(bytes))
    }
}

/// The key of a dedup domain. Contents of different domains never share a chunk.
///
/// It is a secret: who knows it can test whether a domain holds a guessed content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Domain([u8; 32]);

impl Domain {
    /// The key for `label` under a deployment's `secret`.
    #[must_use]
    pub fn derive(secret: &[u8], label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vmint blocks 1 dedup domain");
        hasher.update(&(secret.len() as u64).to_le_bytes()).update(secret);
        Self(*hasher.update(label.as_bytes()).finalize().as_bytes())
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Domain(secret)")
    }
}

/// What a chunk holds. The two are hashed with different keys, so that no guest can write data
/// that would pass for a node of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Node,
}

/// A domain's keys, ready for use.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    data: [u8; 32],
    node: [u8; 32],
    /// Separates domains in the cache.
    pub(crate) tag: u64,
    pub(crate) domain: Domain,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

impl Keys {
    pub(crate) fn new(domain: Domain) -> Self {
        let data = blake3::derive_key("vmint blocks 1 data", &domain.0);
        let node = blake3::derive_key("vmint blocks 1 node", &domain.0);
        let tag = blake3::derive_key("vmint blocks 1 cache tag", &domain.0);
        let mut first = [0; 8];
        first.copy_from_slice(&tag[..8]);
        Self { data, node, tag: u64::from_le_bytes(first), domain }
    }

    pub(crate) fn id(&self, kind: Kind, bytes: &[u8]) -> ChunkId {
        let key = match kind {
            Kind::Data => &self.data,
            Kind::Node => &self.node,
        };
        ChunkId(*blake3::keyed_hash(key, bytes).as_bytes())
    }
}
