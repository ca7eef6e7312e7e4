//! Encryption at rest: nothing readable on disk, and nothing accepted where it does not belong.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, clippy::single_range_in_vec_init)]

mod sample;

use std::{
    collections::HashMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use sample::{Random, content};
use vmint_blocks::{BlockStore, BlocksError, DataKey, Domain, Options, Sealed};

const HEADER: usize = 64;

fn lineage(n: u8) -> Domain {
    Domain::derive(b"secret", "lineage").sealed(DataKey::from_bytes([n; 32]))
}

fn open(dir: &Path) -> BlockStore {
    // Without a cache each read goes to the disk.
    let options = Options { pack_bytes: 64 << 20, cache_bytes: 0, ..Options::default() };
    sample::open(dir, options)
}

fn ingest(store: &BlockStore, domain: Domain, bytes: &[u8]) -> Sealed {
    let mut ingest = store.ingest(domain, bytes.len() as u64).unwrap();
    ingest.write(0, bytes).unwrap();
    ingest.finish().unwrap()
}

/// Bytes that do not compress and never repeat.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = vec![0; size];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
    bytes
}

fn packs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("packs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().unwrap())
}

/// The first 32-byte window of `haystack` that also occurs in `secret`, at whatever offset.
fn leaked(secret: &[u8], haystack: &[u8]) -> Option<usize> {
    const BITS: u64 = 1 << 31;
    let place = |word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BITS;
    // Every eight bytes of the secret: a window is suspect if all four parts of it are there.
    let mut seen = vec![0u64; (BITS / 64) as usize];
    for part in secret.windows(8) {
        let place = place(word(part));
        seen[(place / 64) as usize] |= 1 << (place % 64);
    }
    let known = |bytes: &[u8]| {
        let place = place(word(bytes));
        seen[(place / 64) as usize] & 1 << (place % 64) != 0
    };
    let suspect = |window: &[u8]| window.chunks_exact(8).all(known);
    let mut suspects = HashMap::<&[u8], usize>::new();
    for (at, window) in haystack.windows(32).enumerate() {
        if suspect(window) {
            suspects.insert(window, at);
        }
    }
    secret.windows(32).find_map(|window| suspects.get(window).copied())
}

#[test]
fn no_window_of_the_content_lies_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut bytes = noise(56 << 20, 1);
    // And some that compresses.
    let mut random = Random::new(2);
    while bytes.len() < 64 << 20 {
        let line = format!("{:08x} the same words, but for a number {:08x}\n", random.next(), 7);
        bytes.extend(line.as_bytes());
    }
    bytes.truncate(64 << 20);
    let sealed = ingest(&store, lineage(1), &bytes);
    let mut all = Vec::new();
    for pack in packs(dir.path()) {
        all.extend(fs::read(pack).unwrap());
    }
    assert!(all.len() > 56 << 20);
    assert_eq!(leaked(&bytes, &all), None);
    // The search itself works.
    all.extend(&bytes[12_345_679..12_345_679 + 32]);
    assert_eq!(leaked(&bytes, &all), Some(all.len() - 32));
    let mut out = vec![0; bytes.len()];
    store.tree(lineage(1), sealed.root, bytes.len() as u64).read_at(0, &mut out).unwrap();
    assert!(out == bytes);
}

#[test]
fn lineages_share_nothing_and_open_only_with_their_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(3 << 20, 4);
    let first = ingest(&store, lineage(1), &bytes);
    let second = ingest(&store, lineage(2), &bytes);
    assert_eq!(first.new_bytes, second.new_bytes);
    assert_ne!(first.root, second.root);
    assert_eq!(ingest(&store, lineage(1), &bytes).new_bytes, 0);
    let data = (0..bytes.len()).find(|at| bytes[*at] != 0).unwrap() as u64;
    let read = |domain| {
        let tree = store.tree(domain, first.root, bytes.len() as u64);
        tree.read_at(data, &mut [0; 8])
    };
    read(lineage(1)).unwrap();
    let other = read(lineage(2));
    assert!(matches!(other, Err(BlocksError::Forged { .. })), "{other:?}");
    let without = read(Domain::derive(b"secret", "lineage"));
    assert!(matches!(without, Err(BlocksError::Locked { .. })), "{without:?}");
    assert_eq!(store.stats().damaged, 0);
}

#[test]
fn collecting_needs_no_data_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(3 << 20, 4);
    let sealed = ingest(&store, lineage(1), &bytes);
    let plain = Domain::derive(b"secret", "lineage");
    let roots = [(plain, sealed.root, sealed.size_bytes)];
    drop(sealed.pin);
    ingest(&store, lineage(1), &noise(1 << 20, 9));
    // Once everything is only in the trash, and comes back as it was.
    store.collect([], None).unwrap();
    let report = store.collect(roots, Some(Duration::ZERO)).unwrap();
    assert!(report.rescued_chunks > 0 && report.lost_chunks == 0, "{report:?}");
    let mut out = vec![0; bytes.len()];
    let tree = store.tree(lineage(1), roots[0].1, bytes.len() as u64);
    tree.read_at(0, &mut out).unwrap();
    assert!(out == bytes);
    let next = content(3 << 20, 5);
    let edited = store.edit(&tree, tree.size_bytes(), &[0..1 << 20], &mut |range, out| {
        out.copy_from_slice(&next[range.start as usize..range.end as usize]);
        Ok(())
    });
    let edited = edited.unwrap();
    let tree = store.tree(lineage(1), edited.root, edited.size_bytes);
    tree.read_at(0, &mut out).unwrap();
    assert!(out[..1 << 20] == next[..1 << 20] && out[1 << 20..] == bytes[1 << 20..]);
}

/// The records of a pack that hold chunks, as ranges of the file.
fn records(pack: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut found) = (16, Vec::new());
    while pack.get(at..at + 4) == Some(b"vmr1") {
        let stored = u32::from_le_bytes(*pack[at + 12..].first_chunk().unwrap()) as usize;
        let end = at + HEADER + stored;
        if pack[at + 4] & 2 != 0 {
            found.push(at..end);
        }
        at = end;
    }
    found
}

/// Puts the payload of one record under the header of another, with a right checksum.
fn forge(pack: &mut [u8], header: &Range<usize>, payload: &Range<usize>) {
    let bytes = pack[payload.start + HEADER..payload.end].to_vec();
    pack[header.start + HEADER..header.end].copy_from_slice(&bytes);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&pack[header.start..header.start + 48]).update(&bytes);
    let checksum = hasher.finalize();
    pack[header.start + 48..header.start + 64].copy_from_slice(&checksum.as_bytes()[..16]);
}

#[test]
fn moved_exchanged_and_older_chunks_never_authenticate() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut second) = (noise(8 << 20, 1), noise(8 << 20, 1));
    let store = open(dir.path());
    let old = ingest(&store, lineage(1), &first);
    // The next version differs in each chunk, in a byte that moves no cut.
    let base = store.tree(lineage(1), old.root, first.len() as u64);
    let mut dirty = Vec::new();
    for at in (0..second.len()).step_by(16 << 10) {
        second[at] ^= 1;
        dirty.push(at as u64..at as u64 + 1);
    }
    let edited = store.edit(&base, first.len() as u64, &dirty, &mut |range, out| {
        out.copy_from_slice(&second[range.start as usize..range.end as usize]);
        Ok(())
    });
    let new = edited.unwrap();
    drop((base, store));
    let [path] = &packs(dir.path())[..] else { panic!("one pack holds all") };
    let good = fs::read(path).unwrap();
    let all = records(&good);
    assert!(all.len() > 100, "{}", all.len());
    let mut tried = 0;
    for (n, to) in all.iter().enumerate() {
        // One of the same length from elsewhere: of this version, and of the other.
        let others = all.iter().enumerate().filter(|(m, from)| *m != n && from.len() == to.len());
        for (_, from) in others.step_by(7).take(3) {
            let mut bad = good.clone();
            forge(&mut bad, to, from);
            fs::write(path, &bad).unwrap();
            let store = open(dir.path());
            let (mut wrong, mut forged) = (0, 0);
            for (root, right) in [(old.root, &first), (new.root, &second)] {
                let tree = store.tree(lineage(1), root, right.len() as u64);
                for at in (0..right.len()).step_by(16 << 10) {
                    let mut out = [0; 16 << 10];
                    match tree.read_at(at as u64, &mut out) {
                        Ok(()) => wrong += u32::from(out != right[at..at + out.len()]),
                        Err(BlocksError::Forged { .. }) => forged += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            assert_eq!(wrong, 0);
            assert!(forged > 0, "the forged record was read and passed");
            tried += 1;
        }
        if tried >= 60 {
            break;
        }
    }
    assert!(tried >= 60, "{tried}");
}
