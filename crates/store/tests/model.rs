//! Both kinds of store against a map, with the one on disk opened anew between.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use std::collections::BTreeMap;

use kit::Note;
use proptest::prelude::*;
use vmint_store::{Store, Table, TxError};

static WORDS: Table<(String, u64), Note> =
    Table::new("words").with_index("text", |_, note| vec![note.text.clone().into_bytes()]);

type Key = (String, u64);
type Model = BTreeMap<Key, Note>;

#[derive(Debug, Clone)]
enum Step {
    /// One transaction: puts and removals, kept or refused at its end.
    Commit(Vec<(Key, Option<Note>)>, bool),
    Reopen,
}

fn key() -> impl Strategy<Value = Key> {
    ("[ab\0]{0,2}", 0..4_u64)
}

fn step() -> impl Strategy<Value = Step> {
    let note = "[xy\0]{0,3}".prop_map(|text| Note { text });
    let writes = prop::collection::vec((key(), prop::option::weighted(0.7, note)), 0..8);
    prop_oneof![
        9 => (writes, any::<bool>()).prop_map(|(writes, keep)| Step::Commit(writes, keep)),
        1 => Just(Step::Reopen),
    ]
}

async fn commit(store: &Store, writes: Vec<(Key, Option<Note>)>, keep: bool, expected: Model) {
    let done = store
        .commit(move |tx| {
            for (key, note) in &writes {
                match note {
                    Some(note) => WORDS.put(tx, key, note)?,
                    None => WORDS.remove(tx, key)?,
                }
            }
            // What the transaction sees is what will be, if it is kept.
            let seen = WORDS.scan(tx, &[], None, 1000)?;
            assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
            if keep { Ok(()) } else { Err(TxError::Refused(())) }
        })
        .await;
    match done {
        Ok(()) => assert!(keep),
        Err(error) => assert!(matches!(error, TxError::Refused(())) && !keep, "{error:?}"),
    }
}

fn check(store: &Store, model: &Model) {
    let rows = |prefix: &dyn Fn(&Key, &Note) -> bool| -> Vec<(Key, Note)> {
        let fits = model.iter().filter(|(key, note)| prefix(key, note));
        fits.map(|(key, note)| (key.clone(), note.clone())).collect()
    };
    let all = rows(&|_, _| true);
    assert_eq!(WORDS.scan(store, &[], None, 1000).unwrap(), all);
    // In pages of two, behind each key in turn.
    for (at, (key, note)) in all.iter().enumerate() {
        assert_eq!(WORDS.get(store, key).unwrap().as_ref(), Some(note));
        let after = vmint_store::Key::encode(key);
        let page = WORDS.scan(store, &[], Some(&after), 2).unwrap();
        assert_eq!(page, all[at + 1..].iter().take(2).cloned().collect::<Vec<_>>());
    }
    for word in ["", "a", "\0"] {
        let prefix = vmint_store::prefix(&[&word]);
        assert_eq!(WORDS.scan(store, &prefix, None, 1000).unwrap(), rows(&|key, _| key.0 == word));
        let found = WORDS.equal(store, "text", word.as_bytes(), None, 1000).unwrap();
        assert_eq!(found, rows(&|_, note| note.text == word));
        let mut by_text = rows(&|_, note| note.text.starts_with(word));
        by_text.sort_by(|a, b| (&a.1.text, &a.0).cmp(&(&b.1.text, &b.0)));
        let found = WORDS.by_index(store, "text", word.as_bytes(), None, 1000).unwrap();
        assert_eq!(found, by_text);
        if let Some((key, note)) = by_text.first() {
            let cursor = WORDS.cursor(note.text.as_bytes(), key);
            let rest = WORDS.by_index(store, "text", word.as_bytes(), Some(&cursor), 1000);
            assert_eq!(rest.unwrap(), by_text[1..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let memory = Store::in_memory();
        let (mut disk, dir) = kit::on_disk();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Commit(writes, keep) => {
                    let mut after = model.clone();
                    for (key, note) in writes.clone() {
                        match note {
                            Some(note) => after.insert(key, note),
                            None => after.remove(&key),
                        };
                    }
                    for store in [&memory, &disk] {
                        runtime.block_on(commit(store, writes.clone(), keep, after.clone()));
                    }
                    if keep {
                        model = after;
                    }
                }
                Step::Reopen => {
                    drop(disk);
                    disk = kit::try_open(dir.path()).unwrap();
                }
            }
            check(&memory, &model);
            check(&disk, &model);
        }
        // The journal alone says the same.
        for store in [&memory, &disk] {
            let mut export = Vec::new();
            store.export(&mut export).unwrap();
            let dir = tempfile::tempdir().unwrap();
            Store::import(dir.path(), &mut export.as_slice()).unwrap();
            check(&kit::try_open(dir.path()).unwrap(), &model);
        }
    }
}
