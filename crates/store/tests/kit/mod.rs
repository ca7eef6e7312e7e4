//! Stores and a record to try them with.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

pub mod crash;

use std::path::Path;

use tempfile::TempDir;
use vmint_store::{Options, Store, StoreError, Table};

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub text: String,
}

impl Note {
    pub fn of(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

pub static NOTES: Table<u64, Note> = Table::new("notes");

/// Small files, so that a test turns over many of them.
pub fn small() -> Options {
    Options {
        cache_bytes: 8 << 20,
        batch_bytes: 24 << 10,
        first_segment_bytes: 32 << 10,
        segment_bytes: 64 << 10,
        checkpoint_every_bytes: 128 << 10,
        ballast_bytes: 0,
        keep_free_bytes: 0,
        ..Options::default()
    }
}

pub fn try_open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, small())
}

pub fn on_disk() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (try_open(dir.path()).unwrap(), dir)
}

/// One store of each kind.
pub fn both() -> [(Store, Option<TempDir>); 2] {
    let (store, dir) = on_disk();
    [(Store::in_memory(), None), (store, Some(dir))]
}
