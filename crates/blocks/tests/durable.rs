//! What was answered stays: dropped sessions, kills, full disks, flipped bits, wrong keys.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, clippy::single_range_in_vec_init)]

mod sample;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sample::{Random, content};
use vmint_blocks::{BlockStore, BlocksError, Domain, Options, Root, Sealed};

fn domain() -> Domain {
    Domain::derive(b"secret", "tests")
}

fn open(dir: &Path) -> BlockStore {
    // Without a cache each read goes to the disk.
    let options = Options { pack_bytes: 1 << 20, cache_bytes: 0, threads: 2, ..Options::default() };
    BlockStore::open(dir, options).unwrap()
}

fn ingest(store: &BlockStore, bytes: &[u8]) -> Result<Sealed, BlocksError> {
    let mut ingest = store.ingest(domain(), bytes.len() as u64)?;
    ingest.write(0, bytes)?;
    ingest.finish()
}

fn read(store: &BlockStore, root: Root, size: usize) -> Result<Vec<u8>, BlocksError> {
    let mut out = vec![0xaa; size];
    store.tree(domain(), root, size as u64).read_at(0, &mut out).map(|()| out)
}

#[test]
fn a_session_dropped_without_finish_leaves_the_rest_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(3 << 20, 1);
    let root = ingest(&store, &bytes).unwrap().root;
    let mut lost = store.ingest(domain(), 8 << 20).unwrap();
    lost.write(0, &content(4 << 20, 2)).unwrap();
    drop((lost, store));
    let store = open(dir.path());
    assert_eq!(read(&store, root, bytes.len()).unwrap(), bytes);
    assert_eq!(ingest(&store, &bytes).unwrap().new_bytes, 0);
}

#[test]
fn one_process_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let second = BlockStore::open(dir.path(), Options::default());
    assert!(matches!(second, Err(BlocksError::InUse { .. })));
    drop(store);
    open(dir.path());
}

#[test]
fn bad_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let too_large = store.ingest(domain(), u64::MAX);
    assert!(matches!(too_large, Err(BlocksError::TooLarge { .. })));
    let mut ingest = store.ingest(domain(), 10_000).unwrap();
    ingest.write(100, &[1; 100]).unwrap();
    assert!(matches!(ingest.write(199, &[1]), Err(BlocksError::OutOfOrder { .. })));
    assert!(matches!(ingest.write(9_999, &[1; 2]), Err(BlocksError::OutOfRange { .. })));
    assert!(matches!(ingest.write(u64::MAX, &[1; 2]), Err(BlocksError::OutOfRange { .. })));
    let sealed = ingest.finish().unwrap();
    let tree = store.tree(domain(), sealed.root, 10_000);
    assert!(matches!(tree.read_at(9_999, &mut [0; 2]), Err(BlocksError::OutOfRange { .. })));
    let unknown = store.tree(domain(), Root::from_bytes([9; 32]), 10_000);
    assert!(matches!(unknown.read_at(0, &mut [0]), Err(BlocksError::Missing { .. })));
    let other = Domain::derive(b"secret", "another");
    let foreign = store.tree(other, sealed.root, 10_000).read_at(0, &mut [0]);
    assert!(matches!(foreign, Err(BlocksError::Foreign { .. })), "{foreign:?}");
    assert_eq!(store.stats().damaged, 0);
    read(&store, sealed.root, 10_000).unwrap();
}

#[test]
fn domains_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1 << 20, 1);
    let first = ingest(&store, &bytes).unwrap();
    let mut second = store.ingest(Domain::derive(b"secret", "another"), 1 << 20).unwrap();
    second.write(0, &bytes).unwrap();
    let second = second.finish().unwrap();
    // Chunks that repeat within the content are known the second time.
    assert_eq!((first.new_bytes, first.known_bytes), (second.new_bytes, second.known_bytes));
    assert_ne!(first.root, second.root);
}

/// Not a test of its own: the writer that `kill_nine_loses_nothing_that_was_answered` kills.
#[test]
fn writer_to_be_killed() {
    let Some(dir) = std::env::var_os("BLOCKS_WRITER_DIR") else { return };
    let seed: u64 = std::env::var("BLOCKS_WRITER_SEED").unwrap().parse().unwrap();
    let store = open(Path::new(&dir));
    for number in 0.. {
        let seed = seed * 1_000 + number;
        let root = ingest(&store, &content(600_000, seed)).unwrap().root;
        println!("\nstored {seed} {root}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn kill_nine_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored: Vec<(u64, Root)> = Vec::new();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_to_be_killed", "--exact", "--nocapture"])
            .env("BLOCKS_WRITER_DIR", dir.path())
            .env("BLOCKS_WRITER_SEED", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (begun, before) = (Instant::now(), stored.len());
        for line in lines {
            if let Some(line) = line.unwrap().strip_prefix("stored ") {
                let (seed, root) = line.split_once(' ').unwrap();
                stored.push((seed.parse().unwrap(), root.parse().unwrap()));
                if begun.elapsed() > Duration::from_millis(40 * round) {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stored.len() > before, "the writer stored nothing");
        let store = open(dir.path());
        for (seed, root) in &stored {
            assert_eq!(read(&store, *root, 600_000).unwrap(), content(600_000, *seed));
        }
    }
}

#[test]
fn flipped_bits_are_found_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(2_500_000, 5);
    let root = ingest(&open(dir.path()), &bytes).unwrap().root;
    drop(open(dir.path()));
    let packs: Vec<PathBuf> = fs::read_dir(dir.path().join("packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(packs.len() > 1);
    let mut random = Random::new(9);
    let (mut refused, mut repaired) = (0, 0);
    for round in 0..180 {
        let path = &packs[random.below(packs.len())];
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        // Every third in the last bytes, where the footer is.
        let span = if round % 3 == 0 { bad.len().min(1_500) } else { bad.len() };
        let at = bad.len() - 1 - random.below(span);
        bad[at] ^= 1 << random.below(8);
        // Flipped under an open store, or before it opens.
        let early = (round % 2 == 0).then(|| open(dir.path()));
        fs::write(path, &bad).unwrap();
        let store = early.unwrap_or_else(|| open(dir.path()));
        match read(&store, root, bytes.len()) {
            Ok(read) => assert!(read == bytes, "wrong bytes after a flip at {at}"),
            Err(BlocksError::Damaged { .. } | BlocksError::Missing { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        let mut found = store.stats().damaged > 0;
        let scrub = store.scrub(u64::MAX).unwrap();
        found |= !scrub.damaged.is_empty() || scrub.damaged_packs > 0;
        let healed = fs::read(path).unwrap() == good;
        assert!(found || healed, "a flip of byte {at} of {} was not found", bad.len());
        repaired += u32::from(healed);
        // Its content heals it, also for those who come later.
        ingest(&store, &bytes).unwrap();
        assert!(read(&store, root, bytes.len()).unwrap() == bytes);
        drop(store);
        assert!(read(&open(dir.path()), root, bytes.len()).unwrap() == bytes);
        for entry in fs::read_dir(dir.path().join("packs")).unwrap() {
            let path = entry.unwrap().path();
            if !packs.contains(&path) {
                fs::remove_file(path).unwrap();
            }
        }
        fs::write(path, &good).unwrap();
        let _ = fs::remove_file(dir.path().join("quarantine"));
    }
    assert!(refused > 60 && repaired > 10, "{refused} refused, {repaired} repaired");
}

#[test]
fn a_torn_pack_is_recovered_up_to_the_tear() {
    let dir = tempfile::tempdir().unwrap();
    let first = content(300_000, 1);
    let store = open(dir.path());
    let root = ingest(&store, &first).unwrap().root;
    drop(store);
    let pack = dir.path().join("packs/00000001.pack");
    let whole = fs::read(&pack).unwrap();
    // As if later writes had reached the disk in part and in any order.
    for (keep, junk) in [(whole.len(), 70_000), (whole.len(), 3)] {
        let mut torn = whole[..keep].to_vec();
        torn.extend((0..junk).map(|at: u32| (at * 31 % 251) as u8));
        fs::write(&pack, torn).unwrap();
        assert_eq!(read(&open(dir.path()), root, first.len()).unwrap(), first);
    }
}

/// A small file system in memory; `None` where one cannot be mounted.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        let done = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        done.then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_store_goes_on() {
    let Some(disk) = Small::mount("8m") else {
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let dir = disk.0.path();
    let mut store = open(dir);
    let bytes = content(3 << 20, 1);
    let root = ingest(&store, &bytes).unwrap().root;
    for round in 0..3 {
        let full = ingest(&store, &content(24 << 20, 2 + round));
        assert!(matches!(full, Err(BlocksError::Full)), "{full:?}");
        assert_eq!(read(&store, root, bytes.len()).unwrap(), bytes);
        // Full as it is, it opens and can be collected.
        drop(store);
        store = open(dir);
        assert_eq!(read(&store, root, bytes.len()).unwrap(), bytes);
        let roots = [(domain(), root, bytes.len() as u64)];
        store.collect(roots, Some(Duration::ZERO)).unwrap();
        let again = content(1 << 20, 20 + round);
        let second = ingest(&store, &again).unwrap().root;
        assert_eq!(read(&store, second, again.len()).unwrap(), again);
    }
}

#[test]
fn sixty_four_tebibytes_cost_what_they_hold() {
    const TIB: u64 = 1 << 40;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let places = [0, 5, TIB - 2, 31 * TIB + 12_345, 64 * TIB - 9];
    let mut ingest = store.ingest(domain(), 64 * TIB).unwrap();
    for (place, byte) in places.iter().zip(1..) {
        ingest.write(*place, &[byte; 4]).unwrap();
    }
    let sealed = ingest.finish().unwrap();
    let tree = store.tree(domain(), sealed.root, 64 * TIB);
    let data = || {
        tree.extents(0..64 * TIB)
            .filter(|extent| matches!(extent, Ok((_, vmint_blocks::ExtentKind::Data))))
    };
    assert_eq!(data().count(), 4);
    // Five chunks at most, and the nodes above them.
    let chunks = store.stats().chunks;
    assert!(chunks <= 5 * 6, "{chunks} chunks");
    let at = 30 * TIB;
    let edited = store
        .edit(&tree, 64 * TIB, &[at..at + 4], &mut |_, out| {
            out.fill(7);
            Ok(())
        })
        .unwrap();
    assert!(store.stats().chunks <= chunks + 6, "an edit costs the depth of the tree");
    let tree = store.tree(domain(), edited.root, 64 * TIB);
    let mut out = [0; 6];
    tree.read_at(at - 1, &mut out).unwrap();
    assert_eq!(out, [0, 7, 7, 7, 7, 0]);
    for (place, byte) in places.iter().zip(1..) {
        tree.read_at(*place, &mut out[..4]).unwrap();
        assert_eq!(out[..4], [byte; 4]);
    }
    let base = store.tree(domain(), sealed.root, 64 * TIB);
    let changed: Vec<_> = store.changed(&base, &tree).map(Result::unwrap).collect();
    assert_eq!(changed, [at..at + 4096]);
    // Cut off to nothing but the first region, it is the tree of that region.
    let cut = store.edit(&tree, 4096, &[], &mut |_, _| unreachable!()).unwrap();
    let mut small = store.ingest(domain(), 4096).unwrap();
    small.write(0, &[1, 1, 1, 1, 0, 2, 2, 2, 2]).unwrap();
    assert_eq!(cut.root, small.finish().unwrap().root);
}
