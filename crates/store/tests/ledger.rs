//! A repeated request is carried out once.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use kit::{NOTES, Note, both};
use vmint_store::{Asked, Ledger, Reused, Store, StoreError, TxError};

static LEDGER: Ledger = Ledger::new("requests");

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error("no")]
    No,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn asked(id: &str, digest: u8) -> Asked {
    Asked {
        account: "000000000001".into(),
        method: "vmint.test.v1/Add".into(),
        request_id: id.into(),
        digest: [digest; 32],
    }
}

/// Counts how often it was carried out; the answer is the count then.
async fn add(store: &Store, asked: Asked, refuse: bool) -> Result<Note, Refusal> {
    let done = store.commit(move |tx| {
        LEDGER.once(tx, &asked, |tx| {
            let old = NOTES.get(tx, &0)?.unwrap_or_default();
            let note = Note::of(&(old.text.len() + 1).to_string());
            NOTES.put(tx, &0, &Note::of(&format!("{}x", old.text)))?;
            if refuse { Err(TxError::Refused(Refusal::No)) } else { Ok(note) }
        })
    });
    done.await.map_err(TxError::flatten)
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_also_after_a_restart() {
    let (mut store, dir) = kit::on_disk();
    assert_eq!(add(&store, asked("r1", 1), false).await.unwrap(), Note::of("1"));
    assert_eq!(add(&store, asked("r2", 1), false).await.unwrap(), Note::of("2"));
    drop(store);
    store = kit::try_open(dir.path()).unwrap();
    assert_eq!(add(&store, asked("r1", 1), false).await.unwrap(), Note::of("1"));
    assert_eq!(NOTES.get(&store, &0).unwrap(), Some(Note::of("xx")));
}

#[tokio::test]
async fn another_request_under_the_same_id_is_refused() {
    for (store, _dir) in both() {
        add(&store, asked("r", 1), false).await.unwrap();
        let reused = add(&store, asked("r", 2), false).await;
        assert!(matches!(reused, Err(Refusal::Reused(Reused(id))) if id == "r"));
        let other = Asked { account: "000000000002".into(), ..asked("r", 2) };
        add(&store, other, false).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_is_not_kept_and_no_id_means_no_memory() {
    for (store, _dir) in both() {
        assert!(matches!(add(&store, asked("r", 1), true).await, Err(Refusal::No)));
        assert_eq!(add(&store, asked("r", 1), false).await.unwrap(), Note::of("1"));
        assert_eq!(add(&store, asked("", 1), false).await.unwrap(), Note::of("2"));
        assert_eq!(add(&store, asked("", 2), false).await.unwrap(), Note::of("3"));
    }
}
