//! The names of contents and the keys that separate dedup domains.

use std::{fmt, str::FromStr};

use crate::seal::{DataKey, Sealer};

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
/// It is a secret: who knows it can test whether a domain holds a guessed content. One with a
/// data key is a lineage: its chunks are encrypted, and their names depend on that key too. The
/// nodes of its trees are not (they list names only), so that collecting and comparing need no
/// data key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Domain {
    key: [u8; 32],
    seal: Option<DataKey>,
}

impl Domain {
    /// The key for `label` under a deployment's `secret`.
    #[must_use]
    pub fn derive(secret: &[u8], label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vmint blocks 1 dedup domain");
        hasher.update(&(secret.len() as u64).to_le_bytes()).update(secret);
        Self::from_bytes(*hasher.update(label.as_bytes()).finalize().as_bytes())
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { key: bytes, seal: None }
    }

    /// The same domain with its chunks encrypted.
    #[must_use]
    pub const fn sealed(self, key: DataKey) -> Self {
        Self { seal: Some(key), ..self }
    }

    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// All that it is made of: its own key and the data key, or zeros for none.
    fn secret(&self) -> [u8; 64] {
        let mut secret = [0; 64];
        secret[..32].copy_from_slice(&self.key);
        if let Some(seal) = self.seal {
            secret[32..].copy_from_slice(&seal.to_bytes());
        }
        secret
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Domain(secret)")
    }
}

/// What a domain names by: enough to tell what something would be called there, not to open or
/// seal anything. As secret as the domain: who knows it can test whether a guess is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Names {
    data: [u8; 32],
    node: [u8; 32],
}

impl Names {
    #[must_use]
    pub fn of(domain: Domain) -> Self {
        let data = match domain.seal {
            None => blake3::derive_key("vmint blocks 1 data", &domain.key),
            Some(_) => blake3::derive_key("vmint blocks 1 encrypted data", &domain.secret()),
        };
        Self { data, node: blake3::derive_key("vmint blocks 1 node", &domain.key) }
    }

    /// The names that everybody can work out: what contents are called outside of any store.
    #[must_use]
    pub fn open() -> Self {
        let key = blake3::derive_key("vmint blocks 1 contents outside of stores", &[]);
        Self::of(Domain::from_bytes(key))
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut data, mut node) = ([0; 32], [0; 32]);
        data.copy_from_slice(&bytes[..32]);
        node.copy_from_slice(&bytes[32..]);
        Self { data, node }
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.data);
        bytes[32..].copy_from_slice(&self.node);
        bytes
    }

    pub(crate) fn id(&self, kind: Kind, bytes: &[u8]) -> ChunkId {
        let key = match kind {
            Kind::Data => &self.data,
            Kind::Node => &self.node,
        };
        ChunkId(*blake3::keyed_hash(key, bytes).as_bytes())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(secret)")
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
#[derive(Clone)]
pub(crate) struct Keys {
    names: Names,
    /// Separates domains in the cache.
    pub(crate) tag: u64,
    pub(crate) domain: Domain,
    /// Encrypts chunks; none if they are kept as they are.
    pub(crate) sealer: Option<Sealer>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

impl Keys {
    pub(crate) fn new(domain: Domain) -> Self {
        let tag = blake3::derive_key("vmint blocks 1 cache tag", &domain.secret());
        let mut first = [0; 8];
        first.copy_from_slice(&tag[..8]);
        let (names, sealer) = (Names::of(domain), domain.seal.map(Sealer::new));
        Self { names, tag: u64::from_le_bytes(first), domain, sealer }
    }

    pub(crate) fn id(&self, kind: Kind, bytes: &[u8]) -> ChunkId {
        self.names.id(kind, bytes)
    }
}
