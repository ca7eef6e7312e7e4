//! What a commit promises, on both kinds of store.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use kit::{NOTES, Note, both};
use vmint_store::{StoreError, TxError};

type Done = Result<(), TxError<String>>;

#[tokio::test]
async fn a_commit_is_seen_at_once_and_a_refusal_leaves_nothing() {
    for (store, _dir) in both() {
        let done: Done = store.commit(|tx| Ok(NOTES.put(tx, &1, &Note::of("a"))?)).await;
        done.unwrap();
        let refused: Done = store
            .commit(|tx| {
                NOTES.put(tx, &2, &Note::of("b"))?;
                assert!(NOTES.get(tx, &2)?.is_some(), "a body sees its own writes");
                tx.emit("notes", &Note::of("b"))?;
                Err(TxError::refuse("no"))
            })
            .await;
        assert!(matches!(refused, Err(TxError::Refused(why)) if why == "no"));
        assert_eq!(NOTES.get(&store, &1).unwrap(), Some(Note::of("a")));
        assert_eq!(NOTES.get(&store, &2).unwrap(), None);
        assert_eq!(store.events("notes", 0, 10).unwrap(), []);
        assert_eq!(store.sequence(), 1);
    }
}

#[tokio::test]
async fn a_panicking_body_is_answered_and_the_store_goes_on() {
    for (store, _dir) in both() {
        let done: Done = store.commit(|_| panic!("on purpose")).await;
        assert!(matches!(done, Err(TxError::Store(StoreError::Panicked))));
        let done: Done = store.commit(|tx| Ok(NOTES.put(tx, &1, &Note::of("a"))?)).await;
        done.unwrap();
    }
}

#[tokio::test]
async fn what_is_too_big_is_refused_with_its_size() {
    for (store, _dir) in both() {
        let big = Note::of(&"x".repeat(70_000));
        let done: Done = store.commit(move |tx| Ok(NOTES.put(tx, &1, &big)?)).await;
        let Err(TxError::Store(error)) = done else { panic!("{done:?}") };
        assert!(matches!(error, StoreError::TooBig { limit: 65_536, .. }), "{error}");
        let done: Done = store
            .commit(|tx| {
                (0..101).try_for_each(|n| NOTES.put(tx, &n, &Note::of("a")))?;
                Ok(())
            })
            .await;
        assert!(matches!(done, Err(TxError::Store(StoreError::TooManyWrites { limit: 100 }))));
        assert_eq!(store.sequence(), 0);
    }
}

#[tokio::test]
async fn commits_from_many_tasks_all_count_and_the_watch_follows() {
    for (store, _dir) in both() {
        let mut watch = store.watch();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let add: Done = store
                        .commit(|tx| {
                            let old = NOTES.get(tx, &0)?.unwrap_or_default();
                            let n = old.text.parse().unwrap_or(0) + 1;
                            Ok(NOTES.put(tx, &0, &Note::of(&i32::to_string(&n)))?)
                        })
                        .await;
                    add.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(NOTES.get(&store, &0).unwrap(), Some(Note::of("64")));
        assert_eq!(store.sequence(), 64);
        assert_eq!(*watch.wait_for(|seq| *seq == 64).await.unwrap(), 64);
    }
}

#[tokio::test]
async fn a_closed_store_commits_no_more_and_a_second_one_is_kept_out() {
    let (store, dir) = kit::on_disk();
    let again = kit::try_open(dir.path());
    assert!(matches!(again, Err(StoreError::Locked { .. })), "{again:?}");
    store.close().await;
    let done: Done = store.commit(|tx| Ok(NOTES.put(tx, &1, &Note::of("a"))?)).await;
    assert!(matches!(done, Err(TxError::Store(StoreError::Closed))));
    drop(store);
    kit::try_open(dir.path()).unwrap();
}
