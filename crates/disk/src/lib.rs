//! A volume as a disk: a copy-on-write map over `blocks`, exported to a VM.
//!
//! A [`Volume`] is a directory: a small manifest and one or more overlay layers over a
//! [`Base`] (an image's tree, or nothing). Reads fall through the layers to the base; writes go
//! to the newest layer. [`Volume::freeze`] puts a new layer on top and hands out what was
//! written so far; once that is a tree of its own, [`Volume::rebase`] drops what it holds.
//! A volume with a [`VolumeKey`] keeps what is written to it encrypted. [`Export`] serves a volume as NBD on a unix socket.
//!
//! What survives: everything a completed [`Volume::flush`] covers survives a power cut; every
//! completed write survives the death of this process (the kernel holds it).

mod base;
mod crypt;
mod error;
mod layer;
mod log;
mod manifest;
mod map;
mod nbd;
mod segments;
mod volume;

pub use base::{Base, Span};
pub use crypt::VolumeKey;
pub use error::DiskError;
pub use nbd::Export;
pub use volume::{Extent, Frozen, Volume, freeze_all};

/// The unit of copy-on-write, in bytes.
pub const BLOCK: u64 = 4096;
