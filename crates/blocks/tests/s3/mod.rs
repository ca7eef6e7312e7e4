//! Block stores in a bucket of the S3 server of this process.
#![allow(dead_code, unused_imports, clippy::unwrap_used, reason = "not all suites need all")]

mod server;

use std::{path::Path, time::Duration};

use vmint_blocks::{BlockStore, ObjectOptions, Options};

pub(crate) use server::{Server, server};

pub(crate) fn options(url: &str, dir: &Path, cache_bytes: u64) -> ObjectOptions {
    ObjectOptions {
        bucket: "packs".to_owned(),
        prefix: format!("tests/{}", dir.file_name().unwrap().to_str().unwrap()),
        endpoint: Some(url.to_owned()),
        region: "us-east-1".to_owned(),
        access_key: Some(("k".to_owned(), "s".to_owned())),
        cache_bytes,
        deadline: Duration::from_secs(20),
        take_over: false,
    }
}

pub(crate) fn open(dir: &Path, store: Options) -> BlockStore {
    // That it runs on a directory for want of a server is in the log of skipped tests.
    let Some(server) = server() else { return BlockStore::open(dir, store).unwrap() };
    BlockStore::open_objects(dir, store, &options(&server.url, dir, 8 << 20)).unwrap()
}
