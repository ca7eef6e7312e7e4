//! Collection against a model: what is reachable stays readable, what is not goes.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod sample;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::ScopedJoinHandle,
    time::Duration,
};

use sample::{Random, content, fill};
use vmint_blocks::{BlockStore, BlocksError, Domain, Options, Root, Sealed};

const NOW: Option<Duration> = Some(Duration::ZERO);

fn domain() -> Domain {
    Domain::derive(b"secret", "tests")
}

fn open(dir: &std::path::Path) -> BlockStore {
    let options =
        Options { pack_bytes: 1 << 20, cache_bytes: 1 << 20, threads: 2, ..Options::default() };
    sample::open(dir, options)
}

fn ingest(store: &BlockStore, bytes: &[u8]) -> Sealed {
    let mut ingest = store.ingest(domain(), bytes.len() as u64).unwrap();
    ingest.write(0, bytes).unwrap();
    ingest.finish().unwrap()
}

/// The same read by the workers; before their read number `n`, `meanwhile` happens.
fn read_in(
    store: &BlockStore,
    bytes: &[u8],
    n: usize,
    meanwhile: impl Fn(&BlockStore) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Sealed, BlocksError> {
    let (size, bytes, beside) = (bytes.len() as u64, bytes.to_vec(), store.clone());
    let reads = AtomicUsize::new(0);
    let read = move |at: u64, out: &mut [u8]| {
        if reads.fetch_add(1, Ordering::Relaxed) == n {
            meanwhile(&beside)?;
        }
        let at = at as usize;
        out.copy_from_slice(&bytes[at..at + out.len()]);
        Ok(())
    };
    store.ingest_from(domain(), size, [Ok(0..size)], Arc::new(read), &mut |_| true)
}

fn check(store: &BlockStore, root: Root, bytes: &[u8]) {
    let mut out = vec![0xaa; bytes.len()];
    store.tree(domain(), root, bytes.len() as u64).read_at(0, &mut out).unwrap();
    assert!(out == bytes, "{root} reads back as something else");
}

fn check_all(store: &BlockStore, live: &[(Root, Vec<u8>)]) {
    for (root, bytes) in live {
        check(store, *root, bytes);
    }
}

fn listed(live: &[(Root, Vec<u8>)]) -> impl Iterator<Item = (Domain, Root, u64)> + '_ {
    live.iter().map(|(root, bytes)| (domain(), *root, bytes.len() as u64))
}

/// Changes a few places of `bytes` through an edit of `root`.
fn edit(store: &BlockStore, root: Root, bytes: &mut [u8], random: &mut Random) -> Sealed {
    let base = store.tree(domain(), root, bytes.len() as u64);
    let mut dirty = Vec::new();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let part = at..(at + random.below(60_000)).min(bytes.len());
        fill(&mut bytes[part.clone()], random.next());
        dirty.push(part.start as u64..part.end as u64);
    }
    let read = &mut |range: std::ops::Range<u64>, out: &mut [u8]| {
        out.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
        Ok(())
    };
    store.edit(&base, base.size_bytes(), &dirty, read).unwrap()
}

/// A copy of the store's files, with what a writer was about to append torn.
fn killed(dir: &Path, random: &mut Random) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for folder in ["", "packs", "trash"] {
        let Ok(entries) = fs::read_dir(dir.join(folder)) else { continue };
        fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).unwrap();
        }
    }
    let packs = fs::read_dir(copy.path().join("packs")).unwrap();
    let last = packs.map(|entry| entry.unwrap().path()).max();
    if let Some(last) = last.filter(|_| random.below(2) == 0) {
        let torn = content(random.below(50_000), random.next());
        fs::File::options().append(true).open(last).unwrap().write_all(&torn).unwrap();
    }
    copy
}

/// Ten thousand operations, in four parts that may run side by side.
#[test]
fn random_interleavings_lose_nothing_live_and_keep_nothing_dead() {
    model(42);
}

#[test]
fn random_interleavings_of_another_seed() {
    model(1_000_003);
}

#[test]
fn random_interleavings_of_a_third_seed() {
    model(77);
}

#[test]
fn random_interleavings_of_a_fourth_seed() {
    model(123_456_789);
}

fn model(seed: u64) {
    let mut dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut random = Random::new(seed);
    let mut live: Vec<(Root, Vec<u8>)> = Vec::new();
    for _ in 0..if sample::is_remote() { 40 } else { 2_500 } {
        match random.below(100) {
            0..30 => {
                // Few seeds, so that contents and parts of them come again.
                let bytes = content(random.below(300_000) + 1, random.next() % 64);
                let sealed = match random.below(2) {
                    0 => ingest(&store, &bytes),
                    _ => read_in(&store, &bytes, usize::MAX, |_| Ok(())).unwrap(),
                };
                live.push((sealed.root, bytes));
            }
            30..55 if !live.is_empty() => {
                let (root, mut bytes) = live[random.below(live.len())].clone();
                live.push((edit(&store, root, &mut bytes, &mut random).root, bytes));
            }
            55..80 if live.len() > 12 => {
                drop(live.swap_remove(random.below(live.len())));
                live.truncate(40);
            }
            80..83 => {
                let bytes = content(1_200_000, random.next());
                let lost = read_in(&store, &bytes, 2, |_| Err(io::ErrorKind::BrokenPipe.into()));
                assert!(matches!(lost, Err(BlocksError::Source(_))));
            }
            83..85 => {
                let mut lost = store.ingest(domain(), 1 << 20).unwrap();
                lost.write(0, &content(300_000, random.next())).unwrap();
            }
            85..93 => drop(store.collect(listed(&live), NOW).unwrap()),
            93 => {
                // What the workers stored before a collection stays, and so does what comes after.
                let bytes = content(2_400_000, random.next());
                let roots: Vec<_> = listed(&live).collect();
                let collect = move |store: &BlockStore| {
                    store.collect(roots.clone(), NOW).map(drop).map_err(io::Error::other)
                };
                live.push((read_in(&store, &bytes, 2, collect).unwrap().root, bytes));
            }
            94 => {
                // A session, a result not yet recorded and an open tree live through a collection.
                // Its first batch is appended before the collection, its last one after.
                let bytes = content(2_400_000, random.next());
                let mut under_way = store.ingest(domain(), bytes.len() as u64).unwrap();
                under_way.write(0, &bytes[..2_200_000]).unwrap();
                let unrecorded = ingest(&store, &content(200_000, random.next()));
                let tree = store.tree(domain(), unrecorded.root, unrecorded.size_bytes);
                drop(unrecorded.pin);
                store.collect(listed(&live), NOW).unwrap();
                tree.read_at(0, &mut vec![0; 200_000]).unwrap();
                under_way.write(2_200_000, &bytes[2_200_000..]).unwrap();
                live.push((under_way.finish().unwrap().root, bytes));
            }
            95 => {
                drop(store);
                store = open(dir.path());
            }
            // The files as they are at this moment are what a kill leaves.
            96 if !sample::is_remote() => {
                let copied = killed(dir.path(), &mut random);
                drop(store);
                dir = copied;
                store = open(dir.path());
            }
            97.. => assert!(store.scrub(2 << 20).unwrap().damaged.is_empty()),
            _ => {}
        }
        if let Some((root, bytes)) = live.get(random.below(live.len().max(1))) {
            check(&store, *root, bytes);
        }
    }
    check_all(&store, &live);
    assert_eq!(store.stats().trash_reads, 0);

    // All garbage of before is gone; of what becomes garbage now 95 % goes.
    store.collect(listed(&live), NOW).unwrap();
    let before = store.stats();
    live.truncate(live.len() / 2);
    let report = store.collect(listed(&live), NOW).unwrap();
    let after = store.stats();
    assert!(report.dead_bytes > 0, "{report:?}");
    let alive = after.stored_bytes + after.chunks * 44;
    let dead_left = after.pack_bytes.saturating_sub(alive);
    let dead = before.pack_bytes - alive;
    assert!(dead_left * 20 <= dead, "{dead_left} of {dead} left; {report:?} {after:?}");
    assert_eq!((after.trash_packs, report.lost_chunks), (0, 0));
    check_all(&store, &live);
    drop(store);
    let store = open(dir.path());
    check_all(&store, &live);

    store.collect([], NOW).unwrap();
    assert_eq!((store.stats().chunks, store.stats().packs), (0, 0));
}

#[test]
fn collecting_beside_writers_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let live = Mutex::new(Vec::<(Root, Vec<u8>)>::new());
    let stop = AtomicBool::new(false);
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for seed in 0..2 {
            let (store, live, stop, written) = (&store, &live, &stop, &written);
            writers.push(scope.spawn(move || {
                let mut random = Random::new(seed + 7);
                while !stop.load(Ordering::Relaxed) {
                    let base = {
                        let mut live = live.lock().unwrap();
                        if live.len() > 8 {
                            let gone = random.below(live.len());
                            live.swap_remove(gone);
                        }
                        // Opened while its root is listed.
                        let pick = random.below(live.len() + 1);
                        live.get(pick).map(|(root, bytes)| {
                            let size = bytes.len() as u64;
                            (store.tree(domain(), *root, size), bytes.clone())
                        })
                    };
                    let (sealed, bytes) = if let Some((tree, mut bytes)) = base {
                        (edit(store, tree.root(), &mut bytes, &mut random), bytes)
                    } else {
                        let bytes = content(500_000, random.next() % 16);
                        (ingest(store, &bytes), bytes)
                    };
                    check(store, sealed.root, &bytes);
                    live.lock().unwrap().push((sealed.root, bytes));
                    written.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let mut collections = 0;
        let (least, stored) = if sample::is_remote() { (10, 30) } else { (60, 200) };
        while collections < least || written.load(Ordering::Relaxed) < stored {
            collections += 1;
            if writers.iter().any(ScopedJoinHandle::is_finished) {
                break;
            }
            let collection = store.begin_collect();
            let roots: Vec<_> = listed(&live.lock().unwrap()).collect();
            collection.sweep(roots, NOW).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.stats().trash_reads, 0);
    for (root, bytes) in &*live.lock().unwrap() {
        check(&store, *root, bytes);
    }
}

#[test]
fn a_root_that_was_not_listed_is_served_from_the_trash_and_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(500_000, 3);
    let root = ingest(&store, &bytes).root;
    let report = store.collect([], None).unwrap();
    assert!(report.retired_packs > 0 && report.deleted_packs == 0, "{report:?}");
    check(&store, root, &bytes);
    assert!(store.stats().trash_reads > 0);
    drop(store);
    let options = Options { cache_bytes: 0, ..Options::default() };
    let store = sample::open(dir.path(), options);
    let report = store.collect([(domain(), root, 500_000)], NOW).unwrap();
    assert!(report.rescued_chunks > 0 && report.deleted_packs > 0, "{report:?}");
    check(&store, root, &bytes);
    assert_eq!((store.stats().trash_reads > 0, store.stats().trash_packs), (true, 0));
    store.collect([], NOW).unwrap();
    let mut out = [0; 4096];
    let gone = store.tree(domain(), root, 500_000).read_at(0, &mut out);
    assert!(matches!(gone, Err(BlocksError::Missing { .. })), "{gone:?}");
}

#[test]
fn what_is_built_while_a_collection_marks_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut bytes = content(3 << 20, 11);
    let base = ingest(&store, &bytes).root;
    let collection = store.begin_collect();
    // The roots are listed now, without the base: somebody deleted it. But its tree was open, and
    // the result of an edit is recorded too late for the list.
    let tree = store.tree(domain(), base, bytes.len() as u64);
    let edited = edit(&store, tree.root(), &mut bytes, &mut Random::new(5)).root;
    drop(tree);
    collection.sweep([], NOW).unwrap();
    drop(store);
    let store = open(dir.path());
    check(&store, edited, &bytes);
    assert_eq!(store.stats().trash_reads, 0);
}

#[test]
fn a_tree_that_never_was_does_not_stop_a_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let root = ingest(&store, &content(100_000, 1)).root;
    let _unknown = store.tree(domain(), Root::from_bytes([3; 32]), 10);
    let _foreign = store.tree(Domain::derive(b"another", ""), root, 100_000);
    store.collect([(domain(), root, 100_000)], NOW).unwrap();
    check(&store, root, &content(100_000, 1));
    let missing = store.collect([(domain(), Root::from_bytes([3; 32]), 10)], NOW);
    assert!(matches!(missing, Err(BlocksError::Missing { .. })), "{missing:?}");
}
