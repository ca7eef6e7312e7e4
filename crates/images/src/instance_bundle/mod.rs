//! Instance-store bundles: a root disk as `PREFIX.manifest.xml` and `PREFIX.part.NN`.
//!
//! The disk is one gzip stream, cut into parts; each part is encrypted by itself, so it is the
//! ciphertext's digest that the manifest lists. The manifest ends in a signature over every byte
//! before it. What signs and encrypts is the caller's: this crate knows the forms, and it reads
//! nothing of a manifest before the caller has said that the signature holds.

mod manifest;
mod pack;
mod unpack;
mod xml;

pub use manifest::{Manifest, Mapping, Part};
pub use pack::{Packed, pack};
pub use unpack::Unpacker;
pub use xml::{read, signed};

use std::io;

/// What a manifest's name ends in, behind the prefix.
pub const SUFFIX: &str = ".manifest.xml";
/// Bytes of the stream in one part; the last has what is left.
pub const PART_BYTES: usize = 10 << 20;
/// What encryption adds to a part, bytes.
pub const TAG_BYTES: usize = 16;
/// The most parts of one bundle.
pub const MAX_PARTS: usize = 10_000;
/// The largest disk, bytes: an instance store's root is no database.
pub const MAX_DISK_BYTES: u64 = 64 << 30;
/// The largest manifest, bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The longest prefix, bytes, so that keys of parts fit wherever objects are kept.
pub const MAX_PREFIX_BYTES: usize = 200;

/// What is wrong with a bundle, or with what is to become one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the manifest is larger than 4 MiB")]
    TooLarge,
    #[error("this is no manifest of a bundle: name the object that ends in {SUFFIX}")]
    NotOne,
    #[error("the manifest's signature does not hold: it was changed, or signed elsewhere")]
    Signature,
    #[error("the manifest makes no sense: {0}")]
    Manifest(&'static str),
    #[error("the parts do not unfold to the disk that the manifest describes: {0}")]
    Stream(&'static str),
    #[error("the disk could not be written")]
    Io(#[from] io::Error),
}

/// The name of part `index` of a bundle with this prefix.
#[must_use]
pub fn part_name(prefix: &str, index: usize) -> String {
    format!("{prefix}.part.{index:02}")
}
