//! One flipped bit, anywhere: found, and never served.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kit::{NOTES, Note};
use vmint_store::{Store, StoreError, TxError};

type Model = BTreeMap<u64, Note>;

/// A store with checkpoints and several segments, closed; and what it holds.
async fn full(dir: &Path) -> Model {
    let store = kit::try_open(dir).unwrap();
    let mut model = Model::new();
    for n in 0..600_u64 {
        let (key, note) = (n % 400, Note::of(&format!("{n} {}", "abcdefgh".repeat(100))));
        model.insert(key, note.clone());
        let done: Result<(), TxError<()>> = store
            .commit(move |tx| {
                NOTES.put(tx, &key, &note)?;
                Ok(tx.emit("notes", &Note::of("put"))?)
            })
            .await;
        done.unwrap();
    }
    store.close().await;
    model
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, &mut all);
    for path in all {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// What became of a store with one bit flipped.
#[derive(Debug, PartialEq)]
enum Fate {
    Refused,
    /// All there, and the scrub had something to say.
    Reported,
    /// A read refused it and the store ended; opened again, all was there.
    Rebuilt,
    /// All there: rebuilt without the damaged part, or nothing was lost.
    Whole,
}

fn open(dir: &Path, model: &Model) -> Fate {
    let store = match kit::try_open(dir) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, StoreError::Rotten { .. }), "{error}");
            return Fate::Refused;
        }
    };
    let mut seen = Model::new();
    let walked = NOTES.walk(&store, |key, note| {
        seen.insert(key, note);
        Ok::<_, StoreError>(())
    });
    let events = store.events("notes", 590, 100);
    let (Ok(()), Ok(events)) = (&walked, &events) else {
        for error in [walked.err(), events.err()].into_iter().flatten() {
            assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::View(_)), "{error}");
        }
        assert!(poisoned(&store), "it must not go on with such a view");
        drop(store);
        assert_eq!(open(dir, model), Fate::Whole, "it is rebuilt");
        return Fate::Rebuilt;
    };
    assert!(seen == *model, "another state was served");
    assert_eq!(events.len(), 10);
    if store.scrub().problems.is_empty() { Fate::Whole } else { Fate::Reported }
}

fn poisoned(store: &Store) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let within = Duration::from_secs(10);
    runtime.block_on(async { tokio::time::timeout(within, store.poisoned()).await.is_ok() })
}

/// Flips one bit in each of `trials` places of the files that `pick` names.
fn flip(kind: &str, trials: usize, allowed: &[Fate]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let good = tempfile::tempdir().unwrap();
    let model = runtime.block_on(full(good.path()));
    let mut targets = Vec::new();
    files(&good.path().join(kind), &mut targets);
    targets.retain(|path| !path.ends_with("spare"));
    assert!(!targets.is_empty());
    let mut fates = BTreeMap::new();
    for trial in 0..trials {
        let bad = tempfile::tempdir().unwrap();
        copy(good.path(), bad.path());
        let target = &targets[trial % targets.len()];
        let path = bad.path().join(target.strip_prefix(good.path()).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        // Of the bytes that are not zero, spread evenly: damage where data is.
        let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if used.is_empty() {
            continue;
        }
        let at = used[(trial * 7919 + 13) * 104_729 % used.len()];
        bytes[at] ^= 1 << (trial % 8);
        fs::write(&path, bytes).unwrap();
        let fate = open(bad.path(), &model);
        assert!(allowed.contains(&fate), "byte {at} of {}: {fate:?}", path.display());
        *fates.entry(format!("{fate:?}")).or_insert(0) += 1;
    }
    eprintln!("{kind}: {fates:?}");
}

#[test]
fn in_the_journal() {
    // Whole: in the padding behind a record.
    flip("journal", 60, &[Fate::Refused, Fate::Reported, Fate::Whole]);
}

#[test]
fn in_a_checkpoint() {
    flip("checkpoint", 20, &[Fate::Reported]);
}

#[test]
fn in_the_view() {
    // Whole: in what sled had no use for any more, or when it was opened.
    flip("sled", 60, &[Fate::Whole, Fate::Rebuilt]);
}

#[test]
fn in_every_file_of_the_history_at_once_it_refuses() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(full(dir.path()));
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let mut checkpoints = Vec::new();
    files(&dir.path().join("checkpoint"), &mut checkpoints);
    for path in checkpoints {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    kit::try_open(dir.path()).expect_err("there is nothing left to build on");
}
