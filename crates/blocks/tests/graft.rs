//! A content of one store is taken over by another: only what is missing moves.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod sample;

use tempfile::TempDir;
use vmint_blocks::{BlockStore, BlocksError, DataKey, Domain, Names, Options, Root, Sealed, Tree};

const REGION: usize = 16 << 20;

fn store() -> (TempDir, BlockStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::open(dir.path(), Options::default()).unwrap();
    (dir, store)
}

fn ingest(store: &BlockStore, domain: Domain, bytes: &[u8]) -> Sealed {
    let mut ingest = store.ingest(domain, bytes.len() as u64).unwrap();
    ingest.write(0, bytes).unwrap();
    ingest.finish().unwrap()
}

/// Takes `from` over into `to`; how many bytes of chunks moved.
fn take_over(from: &Tree, to: &BlockStore, domain: Domain) -> (Sealed, usize) {
    let (mut graft, mut moved, mut first) = (to.graft(domain), 0, 0);
    loop {
        let regions = from.regions(first, 2).unwrap();
        let Some(last) = regions.last() else { break };
        first = last + 1;
        for region in regions {
            let leaf = from.recast(region, &Names::of(domain)).unwrap().unwrap();
            graft.region(region).unwrap();
            if graft.keep_leaf(leaf.id).unwrap() {
                continue;
            }
            for place in &leaf.places {
                if graft.keep(place) {
                    continue;
                }
                let mut bytes = vec![0; place.bytes()];
                let (at, end) = (place.offset(region), from.size_bytes());
                let there = bytes.len().min((end - at) as usize);
                from.read_at(at, &mut bytes[..there]).unwrap();
                moved += bytes.len();
                graft.put(place, &bytes).unwrap();
            }
        }
    }
    (graft.finish(from.size_bytes()).unwrap(), moved)
}

fn read(tree: &Tree) -> Vec<u8> {
    let mut bytes = vec![0; tree.size_bytes() as usize];
    tree.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn only_what_is_missing_moves_and_the_root_is_that_of_an_ingest() {
    let (_a, source) = store();
    let (_b, destination) = store();
    let (ours, theirs) = (Domain::derive(b"a", "x"), Domain::derive(b"b", "x"));
    let mut bytes = sample::content(2 * REGION + 12_345, 1);
    bytes.extend(vec![0; 2 * REGION]);
    bytes.extend(sample::content(300_000, 2));
    let sealed = ingest(&source, ours, &bytes);
    let tree = source.tree(ours, sealed.root, bytes.len() as u64);
    let (first, moved) = take_over(&tree, &destination, theirs);
    assert!(moved > REGION);
    let copy = destination.tree(theirs, first.root, bytes.len() as u64);
    assert!(read(&copy) == bytes);

    // A second version: what changed, and no more.
    bytes[REGION + 100..REGION + 200].fill(0xee);
    let sealed = ingest(&source, ours, &bytes);
    let tree = source.tree(ours, sealed.root, bytes.len() as u64);
    let (second, moved) = take_over(&tree, &destination, theirs);
    assert!(moved <= 2 * (256 << 10), "{moved} bytes moved for a hundred changed");
    let wanted = ingest(&destination, theirs, &bytes);
    assert_eq!(wanted.new_bytes, 0);
    assert_eq!(second.root, wanted.root);
    // Within one domain names are names.
    assert_eq!(
        tree.recast(0, &Names::of(ours)).unwrap(),
        tree.recast(0, &Names::of(ours)).unwrap()
    );
    assert_eq!(take_over(&tree, &source, ours).0.root, sealed.root);
    assert_eq!(take_over(&tree, &source, ours).1, 0);
    // What is empty is empty there too.
    let empty = ingest(&source, ours, &[0; 8192]);
    assert_eq!(empty.root, Root::EMPTY);
    let tree = source.tree(ours, empty.root, 8192);
    assert_eq!(take_over(&tree, &destination, theirs).0.root, Root::EMPTY);
}

#[test]
fn what_is_encrypted_is_named_without_its_key_and_kept_under_another() {
    let (_a, source) = store();
    let (dir, destination) = store();
    let sealed = |label: &[u8], key| Domain::derive(label, "x").sealed(DataKey::from_bytes(key));
    let (ours, theirs) = (sealed(b"a", [1; 32]), sealed(b"b", [2; 32]));
    let bytes = sample::content(REGION + 12_345, 4);
    let made = ingest(&source, ours, &bytes);
    let tree = source.tree(ours, made.root, bytes.len() as u64);
    // Names alone go over the wire.
    let names = Names::from_bytes(&Names::of(theirs).to_bytes());
    assert_eq!(names, Names::of(theirs));
    assert_ne!(names, Names::of(Domain::derive(b"b", "x")));
    let (copied, moved) = take_over(&tree, &destination, theirs);
    assert!(moved > REGION / 2);
    assert!(read(&destination.tree(theirs, copied.root, bytes.len() as u64)) == bytes);
    assert_eq!(ingest(&destination, theirs, &bytes).root, copied.root);
    // And nothing of it lies there in the clear, as it would without a key.
    let noisy = |seen: &&[u8]| seen.iter().collect::<std::collections::HashSet<_>>().len() > 28;
    let needle = bytes.chunks(32).find(noisy).unwrap();
    let (open, plain) = store();
    ingest(&plain, Domain::derive(b"b", "x"), &bytes);
    assert!(holds(open.path(), needle) && !holds(dir.path(), needle));
}

/// Whether a file in `dir` has these bytes in it.
fn holds(dir: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        if entry.file_type().unwrap().is_dir() {
            return holds(&entry.path(), needle);
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        bytes.windows(needle.len()).any(|seen| seen == needle)
    })
}

#[test]
fn what_is_not_what_it_is_called_is_refused() {
    let (_a, source) = store();
    let (_b, destination) = store();
    let domain = Domain::derive(b"a", "x");
    let bytes = sample::content(200_000, 3);
    let sealed = ingest(&source, domain, &bytes);
    let tree = source.tree(domain, sealed.root, bytes.len() as u64);
    let leaf = tree.recast(0, &Names::of(domain)).unwrap().unwrap();
    let place = leaf.places[0];
    let mut chunk = vec![0; place.bytes()];
    tree.read_at(place.offset(0), &mut chunk).unwrap();
    chunk[0] ^= 1;
    let mut graft = destination.graft(domain);
    graft.region(0).unwrap();
    assert!(matches!(graft.put(&place, &chunk), Err(BlocksError::Foreign { .. })));
    assert!(matches!(graft.put(&place, &chunk[1..]), Err(BlocksError::Foreign { .. })));
    assert!(matches!(graft.region(0), Err(BlocksError::OutOfOrder { .. })));
    // Chunks that overlap are no leaf.
    let mut twice = leaf.places.clone();
    twice.insert(0, place);
    assert_eq!(vmint_blocks::Leaf::of(&Names::of(domain), twice), None);
}

#[test]
fn a_content_has_one_name_outside_of_all_stores() {
    let (_a, source) = store();
    let (_b, destination) = store();
    let (ours, theirs) = (Domain::derive(b"a", "x"), Domain::derive(b"b", "y"));
    let data = sample::content(REGION + 12_345, 1);
    // One leaf; two; a node of leaves and one more; a single leaf far out; nothing.
    let far = |region: u64| (data.clone(), region * REGION as u64);
    let cases: [Vec<(Vec<u8>, u64)>; 6] = [
        vec![(data[..500_000].to_vec(), 0)],
        vec![far(0)],
        vec![far(0), far(254), far(300)],
        vec![far(70_000)],
        vec![far(3), far(65_536), far(65_792)],
        vec![],
    ];
    for (n, parts) in cases.into_iter().enumerate() {
        let size = 80_000 * REGION as u64;
        let [here, there] = [(&source, ours), (&destination, theirs)].map(|(store, domain)| {
            let mut ingest = store.ingest(domain, size).unwrap();
            for (bytes, at) in &parts {
                ingest.write(*at, bytes).unwrap();
            }
            let tree = store.tree(domain, ingest.finish().unwrap().root, size);
            let own = tree.root_in(&Names::of(domain), &mut |_| Ok(())).unwrap();
            assert_eq!(own, tree.root(), "case {n}: worked out without a store");
            tree.root_in(&Names::open(), &mut |_| Ok(())).unwrap()
        });
        assert_eq!(here, there, "case {n}");
        assert_eq!(here.is_empty(), parts.is_empty());
    }
}

#[test]
fn an_outline_takes_leaves_in_order_only() {
    let place = vmint_blocks::Place { start: 0, blocks: 1, id: [7; 32] };
    let leaf = vmint_blocks::Leaf::of(&Names::open(), vec![place]).unwrap();
    let mut outline = vmint_blocks::Outline::new(Names::open());
    outline.leaf(5, &leaf).unwrap();
    for region in [5, 0, u64::MAX] {
        let refused = outline.leaf(region, &leaf).unwrap_err();
        assert!(matches!(refused, BlocksError::OutOfOrder { .. }));
    }
    outline.leaf(6, &leaf).unwrap();
    assert!(!outline.finish().is_empty());
}
