//! What contents share, what damage costs them, and how it is healed.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod sample;

use std::{fs, path::Path, time::Duration};

use sample::{Random, content};
use vmint_blocks::{BlockStore, DataKey, Domain, Options, Sealed};

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
        assert!(!store.repair(domain, &wrong).unwrap());
        assert!(
            !store
                .repair(plain().sealed(DataKey::from_bytes([9; 32])), &bytes[range.clone()])
                .unwrap()
        );
        assert!(store.repair(domain, &bytes[range.clone()]).unwrap());
        assert!(!store.repair(domain, &bytes[range]).unwrap(), "it is there already");
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
fn a_check_finds_a_footer_that_lies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let root = ingest(&store, plain(), &noise(3 << 20, 1)).root;
    let report = store.check([(plain(), root)]).unwrap();
    assert!(report.damaged_packs.is_empty() && report.packs > 2 && report.roots == 1);
    assert_eq!((report.unlisted_chunks, report.lost_chunks), (0, 0));
    let path = dir.path().join("packs").join("00000002.pack");
    let mut pack = fs::read(&path).unwrap();
    let end = pack.len();
    pack[end - 100] ^= 1;
    fs::write(&path, pack).unwrap();
    assert_eq!(store.check([(plain(), root)]).unwrap().damaged_packs, [2]);
}
