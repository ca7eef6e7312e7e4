//! What contents share, what damage costs them, and how it is healed.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod sample;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sample::{Random, content};
use vmint_blocks::{BlockStore, DataKey, Domain, Lost, Options, Sealed};

fn open(dir: &Path) -> BlockStore {
    let options = Options { pack_bytes: 1 << 20, cache_bytes: 0, threads: 2, ..Options::default() };
    BlockStore::open(dir, options).unwrap()
}

fn plain() -> Domain {
    Domain::derive(b"secret", "tests")
}

fn ingest(store: &BlockStore, domain: Domain, bytes: &[u8]) -> Sealed {
    let mut ingest = store.ingest(domain, bytes.len() as u64).unwrap();
    ingest.write(0, bytes).unwrap();
    ingest.finish().unwrap()
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = vec![0; size];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
    bytes
}

#[test]
fn what_comes_free_is_said_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut random = Random::new(3);
    let mut live: Vec<(Domain, Sealed)> = Vec::new();
    for seed in 0..12 {
        // Contents that share parts with one another.
        let mut bytes = content(900_000, seed % 4);
        let at = random.below(800_000);
        bytes[at..at + 90_000].copy_from_slice(&content(90_000, 100 + seed));
        live.push((plain(), ingest(&store, plain(), &bytes)));
    }
    let roots = |live: &[(Domain, Sealed)]| -> Vec<_> {
        live.iter().map(|(domain, sealed)| (*domain, sealed.root)).collect()
    };
    let listed = |live: &[(Domain, Sealed)]| -> Vec<_> {
        live.iter().map(|(domain, sealed)| (*domain, sealed.root, sealed.size_bytes)).collect()
    };
    // Nodes that only served on the way to a root go first.
    store.collect(listed(&live), Some(Duration::ZERO)).unwrap();
    while !live.is_empty() {
        let gone = live.split_off(live.len() - live.len().min(1 + random.below(3)));
        let said = store.share(&roots(&gone), roots(&live)).unwrap();
        assert!(said.unique_bytes <= said.stored_bytes && said.chunks > 0);
        let before = store.stats().stored_bytes;
        let all = roots(&live).into_iter().chain(roots(&gone)).collect::<Vec<_>>();
        let all = store.share(&all, []).unwrap().stored_bytes;
        drop(gone);
        store.collect(listed(&live), Some(Duration::ZERO)).unwrap();
        // What was dead before may go along; nothing else does.
        let freed = before - store.stats().stored_bytes;
        assert!(
            freed >= said.unique_bytes && freed <= said.unique_bytes + 4096,
            "{freed} {said:?}"
        );
        let left = store.share(&roots(&live), []).unwrap().stored_bytes;
        assert_eq!(all - left, said.unique_bytes);
    }
    assert_eq!(store.stats().stored_bytes, 0);
}

#[test]
fn damage_names_the_bytes_it_hits_and_the_right_ones_heal_it() {
    for domain in [plain(), plain().sealed(DataKey::from_bytes([1; 32]))] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (bytes, other) = (noise(3 << 20, 1), noise(1 << 20, 2));
        let root = ingest(&store, domain, &bytes).root;
        let untouched = ingest(&store, domain, &other).root;
        assert_eq!(store.check([(domain, root)]).unwrap().lost_chunks, 0);
        // A bit of a chunk in the first pack turns over.
        let path = dir.path().join("packs").join("00000001.pack");
        let mut pack = fs::read(&path).unwrap();
        pack[200_000] ^= 4;
        fs::write(&path, pack).unwrap();
        let report = store.scrub(u64::MAX).unwrap();
        assert_eq!(report.damaged.len(), 1, "{report:?}");
        assert_eq!(store.lost(domain, untouched).unwrap(), []);
        let lost = store.lost(domain, root).unwrap();
        let [only] = lost[..] else { panic!("{lost:?}") };
        assert!(!only.node);
        assert_eq!(store.check([(domain, root)]).unwrap().lost_chunks, 1);
        let range = only.offset as usize..(only.offset + only.length) as usize;
        let tree = store.tree(domain, root, bytes.len() as u64);
        assert!(tree.read_at(only.offset, &mut [0; 8]).is_err());

        let mut wrong = bytes[range.clone()].to_vec();
        wrong[5] ^= 1;
        assert!(!store.repair(domain, &only, &wrong).unwrap());
        assert!(
            !store
                .repair(plain().sealed(DataKey::from_bytes([9; 32])), &only, &bytes[range.clone()])
                .unwrap()
        );
        assert!(store.repair(domain, &only, &bytes[range.clone()]).unwrap());
        assert!(!store.repair(domain, &only, &bytes[range]).unwrap(), "it is there already");
        let mut out = vec![0; bytes.len()];
        tree.read_at(0, &mut out).unwrap();
        assert!(out == bytes);
        assert_eq!((store.stats().damaged, store.lost(domain, root).unwrap().len()), (0, 0));
        drop((tree, store));
        let store = open(dir.path());
        store.tree(domain, root, bytes.len() as u64).read_at(0, &mut out).unwrap();
        assert!(out == bytes && store.scrub(u64::MAX).unwrap().damaged.is_empty());
    }
}

/// Walks the records of a pack: where each begins and ends.
fn records(pack: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (16, Vec::new());
    while pack.len() > at + 64 {
        let word = |place: usize| {
            u32::from_le_bytes(*pack[at + place..].first_chunk::<4>().unwrap()) as usize
        };
        let length = match &pack[at..at + 4] {
            b"vmr1" => 64 + word(12),
            b"vmm1" => 32 + 44 * word(8),
            _ => break,
        };
        if &pack[at..at + 4] == b"vmr1" {
            found.push((at, at + length));
        }
        at += length;
    }
    found
}

/// Gives a content back what it lost.
fn heal(store: &BlockStore, lost: &Lost, content: &[u8]) {
    if lost.node {
        ingest(store, plain(), content);
        return;
    }
    let range = lost.offset as usize..(lost.offset + lost.length) as usize;
    let mut bytes = content[range.start..range.end.min(content.len())].to_vec();
    bytes.resize(range.len(), 0);
    assert!(store.repair(plain(), lost, &bytes).unwrap());
}

#[test]
fn rot_in_a_pack_that_was_never_sealed_is_reported_and_a_torn_tail_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, threads: 2, ..Options::default() };
    let open = || BlockStore::open(dir.path(), options.clone()).unwrap();
    let store = open();
    let contents: Vec<_> = (0..3).map(|seed| noise(300_000, seed)).collect();
    let roots: Vec<_> = contents.iter().map(|bytes| ingest(&store, plain(), bytes).root).collect();
    drop(store);
    let path = dir.path().join("packs").join("00000001.pack");
    let good = fs::read(&path).unwrap();
    let promised = records(&good);
    assert!(promised.len() > 9, "{promised:?}");
    // Appended after the last answer, and torn by a crash.
    let torn = [&good[..], &good[promised[0].0..promised[0].1 - 5]].concat();
    let mut unneeded = 0;
    for (from, to) in promised {
        // In its header, in its bytes, or all of it gone.
        for span in [from + 2..from + 3, to - 9..to - 8, from..to] {
            let mut bad = torn.clone();
            bad[span].iter_mut().for_each(|byte| *byte ^= 0x40);
            fs::write(&path, &bad).unwrap();
            let store = open();
            assert_eq!(store.stats().damaged, 1, "record {from}..{to}");
            let lost: Vec<_> =
                roots.iter().map(|root| store.lost(plain(), *root).unwrap()).collect();
            if let Some(hit) = lost.iter().position(|lost| !lost.is_empty()) {
                assert_eq!(lost.iter().filter(|lost| !lost.is_empty()).count(), 1, "{lost:?}");
                heal(&store, &lost[hit][0], &contents[hit]);
                assert_eq!(store.stats().damaged, 0);
            } else {
                unneeded += 1;
            }
            // What was found is not forgotten, and what healed it stays.
            drop(store);
            let store = open();
            assert!(roots.iter().all(|root| store.lost(plain(), *root).unwrap().is_empty()));
            for (root, bytes) in roots.iter().zip(&contents) {
                let mut out = vec![0; bytes.len()];
                store.tree(plain(), *root, bytes.len() as u64).read_at(0, &mut out).unwrap();
                assert!(out == *bytes);
            }
            drop(store);
            for entry in fs::read_dir(dir.path().join("packs")).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            fs::remove_file(dir.path().join("quarantine")).unwrap();
        }
    }
    // Nodes that only served on the way to a root.
    assert!(unneeded <= 3 * contents.len(), "{unneeded}");
    fs::write(&path, &torn).unwrap();
    let store = open();
    assert_eq!(store.stats().damaged, 0);
    assert!(store.scrub(u64::MAX).unwrap().damaged.is_empty());
    let all = roots.iter().map(|root| (plain(), *root));
    assert_eq!(store.check(all).unwrap().lost_chunks, 0);
}

#[test]
fn a_scrub_goes_on_where_an_earlier_process_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    ingest(&store, plain(), &noise(5 << 20, 1));
    drop(store);
    let (mut bytes, mut runs) = (0, 0);
    loop {
        let store = open(dir.path());
        let report = store.scrub(700_000).unwrap();
        bytes += report.bytes;
        runs += 1;
        let all = store.stats().stored_bytes;
        if report.complete {
            assert_eq!(bytes, all, "each record is read once");
            break;
        }
    }
    assert!(runs > 5, "{runs}");
}

#[test]
fn a_scrub_in_steps_sees_what_happens_to_packs_it_has_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let doomed = ingest(&store, plain(), &noise(3 << 20, 1));
    let kept = ingest(&store, plain(), &noise(5 << 20, 2));
    let size = kept.size_bytes;
    assert!(!store.scrub(100_000).unwrap().complete);
    // One of the listed packs rots, others are collected, and a new one grows.
    let packs: Vec<_> = fs::read_dir(dir.path().join("packs")).unwrap().collect();
    assert!(packs.len() > 6, "{}", packs.len());
    let mut all: Vec<_> = packs.into_iter().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let path = &all[all.len() - 3];
    let mut pack = fs::read(path).unwrap();
    pack[200_000] ^= 4;
    fs::write(path, pack).unwrap();
    drop(doomed);
    let report = store.collect([(plain(), kept.root, size)], Some(Duration::ZERO)).unwrap();
    assert!(report.deleted_packs >= 2, "{report:?}");
    let late = ingest(&store, plain(), &noise(1 << 20, 3));
    let (mut damaged, mut steps) = (0, 0);
    loop {
        let report = store.scrub(100_000).unwrap();
        assert_eq!(report.damaged_packs, 0);
        (damaged, steps) = (damaged + report.damaged.len(), steps + 1);
        if report.complete {
            break;
        }
    }
    assert!(damaged == 1 && steps > 20, "{damaged} in {steps} steps");
    assert_eq!(store.lost(plain(), kept.root).unwrap().len(), 1);
    assert_eq!(store.lost(plain(), late.root).unwrap(), []);
    // And the next pass reads it all once more, what is new too.
    let again = store.scrub(u64::MAX).unwrap();
    assert!(again.complete && again.damaged.is_empty());
    assert_eq!(again.bytes, store.stats().stored_bytes);
}

#[test]
fn a_check_finds_a_footer_that_lies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let root = ingest(&store, plain(), &noise(3 << 20, 1)).root;
    let report = store.check([(plain(), root)]).unwrap();
    assert!(report.damaged_packs.is_empty() && report.packs > 2 && report.roots == 1);
    assert_eq!((report.unlisted_chunks, report.lost_chunks), (0, 0));
    // A node that only served on the way to the root.
    assert!(report.orphan_chunks <= 1 && report.orphan_bytes < 4096, "{report:?}");
    assert_eq!(report.live_bytes, store.share(&[(plain(), root)], []).unwrap().stored_bytes);
    let all = (report.chunks, store.stats().stored_bytes);
    assert_eq!(
        (report.live_chunks + report.orphan_chunks, report.live_bytes + report.orphan_bytes),
        all
    );
    let none = store.check([]).unwrap();
    assert_eq!((none.orphan_chunks, none.orphan_bytes), all);
    let path = dir.path().join("packs").join("00000002.pack");
    let mut pack = fs::read(&path).unwrap();
    let end = pack.len();
    pack[end - 100] ^= 1;
    fs::write(&path, pack).unwrap();
    assert_eq!(store.check([(plain(), root)]).unwrap().damaged_packs, [2]);
}

#[test]
fn a_scrub_beside_imports_finds_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let scrubbing = threads.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Acquire) {
                let report = store.scrub(u64::MAX).unwrap();
                assert!(report.damaged.is_empty() && report.damaged_packs == 0, "{report:?}");
                rounds += 1;
            }
            rounds
        });
        for seed in 0..400 {
            ingest(&store, plain(), &noise(64 << 10, seed));
        }
        done.store(true, Ordering::Release);
        assert!(scrubbing.join().unwrap() > 10);
    });
    assert_eq!(store.stats().damaged, 0);
}
