//! Content-addressed chunks on disk or in an object store: put, get, refer, scrub, collect.
//!
//! A content (the bytes of a disk) is cut into chunks where its own bytes say so, on the 4 KiB
//! grid; each chunk is stored once a dedup domain, compressed, in append-only packs. A Merkle
//! radix tree lists the chunks; the hash of its root is the content's name. So opening, cloning
//! and comparing do not depend on a content's size, and what is read is verified.
//!
//! Everything here blocks: call it from a thread that may.
//!
//! Invariants:
//! 1. What `finish` or `edit` returned is durable.
//! 2. Equal content in one domain has an equal root, however it was written.
//! 3. No byte is returned that does not hash to its name.
//! 4. What a listed root, an open tree, a session or a [`Pin`] needs is never collected.
//!
//! Files in the store's directory: `lock`, `quarantine`, `scrub`; of a local store `packs/*.pack`
//! and `trash/*.pack`; of one in a bucket `spool`, `footers`, `cache` and `store-id`.

mod ahead;
mod behind;
mod cache;
mod collect;
mod cut;
mod edit;
mod error;
mod fold;
mod graft;
mod here;
mod id;
mod index;
mod ingest;
mod intake;
mod memory;
mod node;
mod outline;
mod pack;
mod packs;
mod pin;
mod pool;
mod quarantine;
mod reach;
mod scrub;
mod seal;
mod session;
mod store;
mod trash;
mod tree;
mod walk;
mod work;
mod writer;

pub use ahead::Ahead;
pub use collect::{CollectReport, Collection};
pub use edit::Source;
pub use error::{BlocksError, Result};
pub use graft::{Graft, Leaf, Place};
pub use id::{BadRoot, ChunkId, Domain, Names, Root};
pub use ingest::Ingest;
pub use intake::Reader;
pub use outline::Outline;
pub use packs::ObjectOptions;
pub use pin::Pin;
pub use reach::{CheckReport, Lost, Share};
pub use scrub::{Damage, ScrubReport};
pub use seal::DataKey;
pub use session::Sealed;
pub use store::{BlockStore, Options, Stats};
pub use tree::Tree;
pub use walk::{Changed, ExtentKind, Extents};

/// The grid contents are cut on, bytes. Writes and reads need not keep to it.
pub const BLOCK_BYTES: usize = cut::BLOCK;
/// The span of a leaf, bytes: cutting restarts here.
pub const REGION_BYTES: u64 = cut::REGION;
/// The largest content, bytes.
pub const MAX_CONTENT_BYTES: u64 = node::MAX_SIZE;
