//! The suites again with packs in a bucket, and what only a bucket has.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]
// The suites are modules here, each with the samples it has as a test of its own.
#![allow(clippy::duplicate_mod)]

#[path = "collect.rs"]
mod collect;
#[path = "content.rs"]
mod content;
mod sample;

use std::{fs, path::Path, time::Duration};

use sample::s3;
use vmint_blocks::{BlockStore, BlocksError, Domain, Options, Root, Sealed};

const MIB: usize = 1 << 20;

fn domain() -> Domain {
    Domain::derive(b"secret", "tests")
}

/// Without a cache in memory each read asks for its pack.
fn plain() -> Options {
    Options { pack_bytes: 4 << 20, cache_bytes: 0, threads: 2, ..Options::default() }
}

fn ingest(store: &BlockStore, bytes: &[u8]) -> Result<Sealed, BlocksError> {
    let mut ingest = store.ingest(domain(), bytes.len() as u64)?;
    ingest.write(0, bytes)?;
    ingest.finish()
}

fn read(store: &BlockStore, root: Root, size: usize) -> Vec<u8> {
    let mut out = vec![0xaa; size];
    store.tree(domain(), root, size as u64).read_at(0, &mut out).unwrap();
    out
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = sample::Random::new(seed);
    let mut bytes = vec![0; size];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
    bytes
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn what_was_answered_is_in_the_bucket() {
    let Some(server) = s3::server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = s3::options(&server.url, dir.path(), 64 << 20);
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    let bytes = noise(9 * MIB, 1);
    let root = ingest(&store, &bytes).unwrap().root;
    assert_eq!(files(&dir.path().join("spool")), 0);
    // What was just written is held: no part is fetched.
    assert!(read(&store, root, bytes.len()) == bytes);
    assert_eq!(store.stats().fetched_parts, 0);
    drop(store);

    // A session that a crash ended left a pack here; the next one brings it along.
    let second = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    let mut lost = second.ingest(domain(), 8 << 20).unwrap();
    lost.write(0, &noise(3 * MIB, 2)).unwrap();
    drop((lost, second));
    assert!(files(&dir.path().join("spool")) > 0);
    for name in ["cache", "footers"] {
        fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    assert!(read(&store, root, bytes.len()) == bytes);
    assert!(store.stats().fetched_parts > 0);
    ingest(&store, b"more").unwrap();
    assert_eq!(files(&dir.path().join("spool")), 0);
    drop(store);

    // Another directory is refused unless it is to take over, and finds everything then.
    let other = tempfile::tempdir().unwrap();
    let refused = BlockStore::open_objects(other.path(), plain(), &options);
    assert!(matches!(refused, Err(BlocksError::Io { .. })), "{refused:?}");
    let options = vmint_blocks::ObjectOptions { take_over: true, ..options };
    let store = BlockStore::open_objects(other.path(), plain(), &options).unwrap();
    assert!(read(&store, root, bytes.len()) == bytes);
    store.collect([], Some(Duration::ZERO)).unwrap();
    assert_eq!((store.stats().packs, store.stats().trash_packs), (0, 0));
}

#[test]
fn many_readers_fetch_each_part_once_and_hold_no_more_than_they_may() {
    let Some(server) = s3::server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bound = 6 << 20;
    let options = s3::options(&server.url, dir.path(), bound);
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    let (first, second) = (noise(4 * MIB, 1), noise(20 * MIB, 2));
    let root = ingest(&store, &first).unwrap().root;
    let other = ingest(&store, &second).unwrap().root;
    drop(store);
    fs::remove_dir_all(dir.path().join("cache")).unwrap();
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert!(read(&store, root, first.len()) == first));
        }
    });
    // Four MiB and their headers lie in five or six parts of one or two packs.
    let fetched = store.stats().fetched_parts;
    assert!((4..=7).contains(&fetched), "{fetched}");
    let here = |root, size: usize| store.tree(domain(), root, size as u64).here(1000).unwrap();
    assert_eq!(here(root, first.len()), (first.len() as u64, first.len() as u64));
    // Whether the parts that list its chunks came along or not, to ask fetches nothing.
    let (few, all) = here(other, second.len());
    assert!(few < all / 2 && all == second.len() as u64, "{few} of {all}");
    assert_eq!(store.stats().fetched_parts, fetched);
    assert!(read(&store, other, second.len()) == second);
    let stats = store.stats();
    assert!(stats.host_cache_bytes > 0 && stats.host_cache_bytes <= bound, "{stats:?}");
    drop(store);
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    assert_eq!(store.stats().host_cache_bytes, stats.host_cache_bytes);
}

#[test]
fn a_bucket_that_does_not_answer_loses_nothing() {
    let Some(server) = s3::Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = s3::options(&server.url, dir.path(), 64 << 20);
    options.deadline = Duration::from_secs(2);
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    let (before, during) = (noise(3 * MIB, 1), noise(3 * MIB, 2));
    let root = ingest(&store, &before).unwrap().root;
    server.signal("-STOP");
    let refused = ingest(&store, &during);
    assert!(matches!(refused, Err(BlocksError::Io { .. })), "{refused:?}");
    // What is held is still read.
    assert!(read(&store, root, before.len()) == before);
    server.signal("-CONT");
    let again = ingest(&store, &during).unwrap();
    assert_eq!(again.new_bytes, 0, "what could not be put is not written twice");
    drop(store);
    for name in ["cache", "footers"] {
        fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    assert!(read(&store, root, before.len()) == before);
    assert!(read(&store, again.root, during.len()) == during);
}

#[test]
fn a_part_that_went_bad_here_is_fetched_again() {
    let Some(server) = s3::server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = s3::options(&server.url, dir.path(), 64 << 20);
    let store = BlockStore::open_objects(dir.path(), plain(), &options).unwrap();
    let bytes = noise(3 * MIB, 1);
    let root = ingest(&store, &bytes).unwrap().root;
    for entry in fs::read_dir(dir.path().join("cache")).unwrap() {
        let path = entry.unwrap().path();
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(path, vec![7; length]).unwrap();
    }
    assert!(read(&store, root, bytes.len()) == bytes);
    let report = store.scrub(u64::MAX).unwrap();
    assert!(report.complete && report.damaged.is_empty() && report.damaged_packs == 0);
    assert_eq!(store.stats().damaged, 0);
}
