//! Contents against a plain vector: ingest, read, extents, edit and changed.

// Test contents are small, so their offsets fit any integer; a test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, clippy::single_range_in_vec_init)]

mod sample;

use std::{io::ErrorKind, ops::Range, sync::Arc};

use proptest::prelude::*;
use sample::{content, fill};
use vmint_blocks::{
    BlockStore, BlocksError, Domain, ExtentKind, Options, REGION_BYTES, Root, Sealed, Tree,
};

const REGION: usize = REGION_BYTES as usize;

fn domain() -> Domain {
    Domain::derive(b"secret", "tests")
}

fn store() -> (tempfile::TempDir, BlockStore) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { pack_bytes: 1 << 20, threads: 2, ..Options::default() };
    let store = sample::open(dir.path(), options);
    (dir, store)
}

fn ingest(store: &BlockStore, bytes: &[u8]) -> Sealed {
    let mut ingest = store.ingest(domain(), bytes.len() as u64).unwrap();
    ingest.write(0, bytes).unwrap();
    ingest.finish().unwrap()
}

fn ingest_from(
    store: &BlockStore,
    bytes: &[u8],
    extents: Vec<Range<u64>>,
) -> Result<Sealed, BlocksError> {
    let (size, bytes) = (bytes.len() as u64, bytes.to_vec());
    let read = move |at: u64, out: &mut [u8]| {
        let at = at as usize;
        out.copy_from_slice(bytes.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let extents = extents.into_iter().map(Ok);
    store.ingest_from(domain(), size, extents, Arc::new(read), &mut |_| true)
}

#[test]
fn what_cannot_be_read_or_is_out_of_order_is_refused_and_leaves_the_store_in_order() {
    let (_dir, store) = store();
    let bytes = content(2 * REGION, 5);
    let size = bytes.len() as u64;
    let at = 5 << 20;
    let backwards = vec![size - 4096..size, 0..4096];
    assert!(matches!(
        ingest_from(&store, &bytes, backwards),
        Err(BlocksError::OutOfOrder { offset: 0, .. })
    ));
    let beyond = vec![0..size + 1];
    assert!(matches!(ingest_from(&store, &bytes, beyond), Err(BlocksError::OutOfRange { .. })));
    let fails = move |from: u64, out: &mut [u8]| {
        out.fill(1);
        if (from..from + out.len() as u64).contains(&at) {
            Err(ErrorKind::PermissionDenied.into())
        } else {
            Ok(())
        }
    };
    let all = [Ok(0..size)];
    let failed = store.ingest_from(domain(), size, all, Arc::new(fails), &mut |_| true);
    assert!(matches!(failed, Err(BlocksError::Source(error))
        if error.kind() == ErrorKind::PermissionDenied));
    let ones = |_: u64, out: &mut [u8]| {
        out.fill(1);
        Ok(())
    };
    let stopped = store.ingest_from(domain(), size, [Ok(0..size)], Arc::new(ones), &mut |_| false);
    assert!(matches!(stopped, Err(BlocksError::Source(error))
        if error.kind() == ErrorKind::Interrupted));
    let whole = ingest_from(&store, &bytes, vec![0..size]).unwrap();
    assert_eq!(whole.root, ingest(&store, &bytes).root);
}

fn tree(store: &BlockStore, sealed: &Sealed) -> Tree {
    store.tree(domain(), sealed.root, sealed.size_bytes)
}

fn all(tree: &Tree) -> Vec<u8> {
    let mut bytes = vec![0xaa; usize::try_from(tree.size_bytes()).unwrap()];
    tree.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Sizes and places near the edges that matter.
fn place(size: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        0..=size,
        (0..=size / 4096).prop_map(|block| block * 4096),
        (0..=size / REGION).prop_map(|region| region * REGION),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if sample::is_remote() { 3 } else { 24 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_content_reads_back_and_its_root_does_not_depend_on_how_it_was_written(
        size in place(2 * REGION + 12_345),
        seed: u64,
        mut cuts in prop::collection::vec(place(2 * REGION), 0..6),
        reads in prop::collection::vec((place(2 * REGION), 0usize..300_000), 8),
    ) {
        let (_dir, store) = store();
        let bytes = content(size, seed);
        let whole = ingest(&store, &bytes);
        // In pieces, the zero ones left out.
        cuts.extend([0, size]);
        cuts.retain(|cut| *cut <= size);
        cuts.sort_unstable();
        let mut parts = store.ingest(domain(), size as u64).unwrap();
        let mut extents: Vec<Range<u64>> = Vec::new();
        for part in cuts.windows(2) {
            for at in (part[0]..part[1]).step_by(10_000) {
                let piece = &bytes[at..(at + 10_000).min(part[1])];
                if piece.iter().any(|&byte| byte != 0) {
                    parts.write(at as u64, piece).unwrap();
                    extents.push(at as u64..(at + piece.len()) as u64);
                }
            }
        }
        let parts = parts.finish().unwrap();
        prop_assert_eq!(parts.root, whole.root);
        prop_assert_eq!(parts.new_bytes, 0);
        prop_assert_eq!(parts.zero_bytes, whole.zero_bytes);
        // Read by the workers, in another store.
        let (_other_dir, other) = self::store();
        let read = ingest_from(&other, &bytes, extents.clone()).unwrap();
        prop_assert_eq!(read.root, whole.root);
        prop_assert_eq!((read.new_bytes + read.known_bytes, read.zero_bytes),
            (whole.new_bytes + whole.known_bytes, whole.zero_bytes));
        prop_assert!(all(&self::tree(&other, &read)) == bytes);
        let tree = tree(&store, &whole);
        prop_assert!(all(&tree) == bytes);
        for (at, length) in reads {
            let at = at.min(size);
            let length = length.min(size - at);
            let mut out = vec![0xaa; length];
            tree.read_at(at as u64, &mut out).unwrap();
            prop_assert!(out == bytes[at..at + length]);
        }
        // Extents tile the content; holes are zero.
        let mut at = 0;
        let mut last = None;
        for extent in tree.extents(0..size as u64) {
            let (range, kind) = extent.unwrap();
            prop_assert_eq!(range.start, at);
            prop_assert!(range.end > at && last != Some(kind));
            let part = &bytes[range.start as usize..range.end as usize];
            prop_assert!(kind == ExtentKind::Data || part.iter().all(|&byte| byte == 0));
            (at, last) = (range.end, Some(kind));
        }
        prop_assert_eq!(at, size as u64);
    }

    #[test]
    fn an_edit_equals_an_ingest_of_the_result(
        old_size in place(2 * REGION + 12_345),
        new_size in place(2 * REGION + 12_345),
        seed: u64,
        writes in prop::collection::vec(
            (place(2 * REGION), 0usize..100_000, prop_oneof![Just(0u64), any::<u64>()]), 0..12),
    ) {
        let (_dir, store) = store();
        let mut bytes = vec![0; old_size];
        fill(&mut bytes, seed);
        let base = tree(&store, &ingest(&store, &bytes));
        let old = bytes.clone();
        bytes.resize(new_size, 0);
        let mut dirty: Vec<Range<u64>> = Vec::new();
        for (at, length, seed) in writes {
            let at = at.min(new_size);
            let part = at..(at + length).min(new_size);
            if seed == 0 { bytes[part.clone()].fill(0) } else { fill(&mut bytes[part.clone()], seed) }
            dirty.push(part.start as u64..part.end as u64);
        }
        let edited = store.edit(&base, new_size as u64, &dirty, &mut |range, out| {
            assert!(dirty.iter().any(|dirty| dirty.start <= range.start && range.start < dirty.end));
            out.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
            Ok(())
        }).unwrap();
        let whole = ingest(&store, &bytes);
        prop_assert_eq!(edited.root, whole.root);
        prop_assert_eq!(whole.new_bytes, 0);
        let new = tree(&store, &edited);
        prop_assert!(all(&new) == bytes);
        // Everything that differs is reported, equal contents report nothing.
        let changed: Vec<_> = store.changed(&base, &new).map(Result::unwrap).collect();
        prop_assert!(changed.windows(2).all(|pair| pair[0].end < pair[1].start));
        for at in 0..old_size.max(new_size).div_ceil(4096) {
            let block = |bytes: &[u8]| {
                let mut block = [0; 4096];
                let from = (at * 4096).min(bytes.len());
                let part = &bytes[from..(from + 4096).min(bytes.len())];
                block[..part.len()].copy_from_slice(part);
                block
            };
            let reported = changed.iter().any(|range| range.contains(&(at as u64 * 4096)));
            prop_assert!(reported || block(&old) == block(&bytes));
        }
        prop_assert_eq!(changed.is_empty(), base.root() == new.root());
        // Dirty everywhere is the same as an ingest.
        let everything = store.edit(&base, new_size as u64, &[0..new_size as u64], &mut |range, out| {
            out.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
            Ok(())
        }).unwrap();
        prop_assert_eq!(everything.root, whole.root);
    }
}

#[test]
fn an_empty_content_has_the_empty_root() {
    let (_dir, store) = store();
    for size in [0, 1, REGION_BYTES, 64 << 40] {
        let sealed = store.ingest(domain(), size).unwrap().finish().unwrap();
        assert_eq!((sealed.root, sealed.zero_bytes), (Root::EMPTY, size));
    }
}

#[test]
fn what_is_read_ahead_is_there_when_it_is_asked_for() {
    let (_dir, store) = store();
    let bytes = content(2 * REGION, 9);
    let sealed = ingest(&store, &bytes);
    let tree = tree(&store, &sealed);
    let ahead = tree.ahead();
    let (first, second) = (5 << 20..6 << 20, 20 << 20..21 << 20);
    for part in [first.clone(), second.clone(), first.clone()] {
        assert!(ahead.fetch(part, &|| true).unwrap());
    }
    let loads = store.stats().loads;
    assert!(loads > 2);
    for part in [first, second] {
        let mut seen = vec![0; (part.end - part.start) as usize];
        tree.read_at(part.start, &mut seen).unwrap();
        assert!(seen == bytes[part.start as usize..part.end as usize]);
    }
    assert_eq!(store.stats().loads, loads, "it was loaded again");
    let outside = ahead.fetch(0..sealed.size_bytes + 1, &|| true);
    assert!(matches!(outside, Err(BlocksError::OutOfRange { .. })));
}

#[test]
fn changes_are_found_within_a_range_too() {
    let (_dir, store) = store();
    let mut bytes = content(2 * REGION, 11);
    let before = ingest(&store, &bytes);
    fill(&mut bytes[3 << 20..(3 << 20) + 8192], 12);
    fill(&mut bytes[20 << 20..(20 << 20) + 8192], 13);
    let after = ingest(&store, &bytes);
    let (before, after) = (tree(&store, &before), tree(&store, &after));
    let within = |range: Range<u64>| {
        let found = store.changed_in(&before, &after, range);
        found.collect::<Result<Vec<_>, _>>().unwrap()
    };
    assert_eq!(within(4 << 20..16 << 20), [], "nothing changed there");
    let [found] = &within(3 << 20..(3 << 20) + 4096)[..] else { panic!("one range") };
    assert_eq!(*found, 3 << 20..(3 << 20) + 4096, "it is cut to what was asked for");
    assert_eq!(within(0..u64::MAX).len(), 2);
    assert_eq!(within(u64::MAX - 1..u64::MAX), []);
}
