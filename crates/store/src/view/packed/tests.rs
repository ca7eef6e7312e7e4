#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::prelude::*;

use super::{PackedView, Packing};
use crate::{
    layer::Writes,
    view::{MemoryView, View, walk},
};

/// So small that a few rows make many blocks and runs.
const PACKING: Packing = Packing { cache: 1 << 20, block: 40, batch: 100 };

#[derive(Debug, Clone)]
enum Step {
    Apply(Writes),
    Tidy,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..60));
    let writes =
        prop::collection::btree_map("[abc]{0,3}".prop_map(String::into_bytes), value, 0..12);
    prop_oneof![6 => writes.prop_map(Step::Apply), 2 => Just(Step::Tidy), 1 => Just(Step::Reopen)]
}

fn same(packed: &PackedView, memory: &MemoryView) {
    packed.verify().unwrap();
    assert_eq!(packed.seq(), memory.seq());
    let mut texts = vec![String::new()];
    for c in ["a", "b", "c"] {
        texts.extend(["", "a", "b", "c", "ab"].map(|d| format!("{c}{d}")));
    }
    for prefix in &texts {
        let prefix = prefix.as_bytes();
        assert_eq!(packed.get(prefix).unwrap(), memory.get(prefix).unwrap());
        assert_eq!(packed.last(prefix).unwrap(), memory.last(prefix).unwrap());
        for after in texts.iter().map(|after| Some(after.as_bytes())).chain([None]) {
            for limit in [1, 3, 100] {
                let rows = packed.range(prefix, after, limit).unwrap();
                assert_eq!(rows, memory.range(prefix, after, limit).unwrap());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_packed_view_is_a_map(steps in prop::collection::vec(step(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryView::default();
        let mut packed = PackedView::open(dir.path(), PACKING).unwrap();
        for (seq, step) in (1..).zip(steps) {
            match step {
                Step::Apply(writes) => {
                    packed.apply(&writes, seq).unwrap();
                    memory.apply(&writes, seq).unwrap();
                }
                Step::Tidy => while packed.tidy(2, &|_| true).unwrap() {},
                Step::Reopen => {
                    drop(packed);
                    packed = PackedView::open(dir.path(), PACKING).unwrap();
                }
            }
            same(&packed, &memory);
        }
    }
}

fn batch(n: u64) -> Writes {
    let rows = (0..50_u64).map(|at| (at * 7919 + n * 31) % 1000);
    rows.map(|key| (key.to_be_bytes().to_vec(), Some(n.to_be_bytes().repeat(10)))).collect()
}

#[test]
fn a_merge_that_finds_no_room_leaves_all_as_it_was_and_readers_keep_what_they_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let packing = Packing { block: 1 << 10, batch: 4 << 10, ..PACKING };
    let packed = PackedView::open(dir.path(), packing).unwrap();
    let memory = MemoryView::default();
    for n in 1..=20 {
        packed.apply(&batch(n), n).unwrap();
        memory.apply(&batch(n), n).unwrap();
    }
    let rows = |view: &dyn View| {
        let mut rows = Vec::new();
        walk(view, |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
        rows
    };
    assert!(!packed.tidy(4, &|_| false).unwrap());
    assert_eq!(packed.pile(), 20);
    let reader = packed.shown();
    assert!(packed.tidy(4, &|_| true).unwrap());
    while packed.tidy(4, &|_| true).unwrap() {}
    assert!(packed.pile() < 4);
    // Still readable for whoever has begun.
    for run in &reader.runs {
        for number in 0..run.blocks.len() {
            run.block(&packed.store, number).unwrap();
        }
    }
    drop(reader);
    packed.tidy(4, &|_| true).unwrap();
    assert_eq!(rows(&packed), rows(&memory));
    drop(packed);
    let packed = PackedView::open(dir.path(), packing).unwrap();
    assert_eq!((packed.seq(), rows(&packed)), (Some(20), rows(&memory)));
}
