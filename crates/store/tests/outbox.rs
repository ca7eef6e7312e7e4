//! Events are pulled by cursor, in order, without gaps.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use kit::{Note, both, small};
use vmint_store::{Options, Store, TxError};

async fn emit(store: &Store, topic: &'static str, count: usize) {
    let done: Result<(), TxError<()>> = store
        .commit(move |tx| {
            (0..count).try_for_each(|_| tx.emit(topic, &Note::of(topic)))?;
            Ok(())
        })
        .await;
    done.unwrap();
}

#[tokio::test]
async fn a_cursor_sees_each_event_of_its_topic_once() {
    for (store, _dir) in both() {
        for _ in 0..5 {
            emit(&store, "a", 3).await;
            emit(&store, "ab", 2).await;
        }
        let (mut seen, mut cursor) = (Vec::new(), 0);
        loop {
            let page = store.events("a", cursor, 4).unwrap();
            let Some(last) = page.last() else { break };
            cursor = last.seq;
            seen.extend(page.iter().map(|event| event.seq));
            assert!(page.iter().all(|event| event.topic == "a" && event.at_ms > 0));
        }
        assert_eq!(seen, (1..=15).collect::<Vec<_>>());
        assert_eq!(store.events("ab", 9, 10).unwrap().len(), 1);
        assert_eq!(store.events("b", 0, 10).unwrap(), []);
    }
}

#[tokio::test]
async fn numbers_go_on_after_a_restart_and_old_events_go() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let options = Options { events_kept: 10, ..small() };
        let store = Store::open(dir.path(), options).unwrap();
        emit(&store, "a", 6).await;
        let seen: Vec<_> = store.events("a", 0, 100).unwrap().iter().map(|e| e.seq).collect();
        let last = (round + 1) * 6;
        assert_eq!(seen, (u64::saturating_sub(last, 10) + 1..=last).collect::<Vec<_>>());
    }
}
