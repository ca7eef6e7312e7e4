//! Unique indexes.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use kit::{Note, both};
use vmint_store::{StoreError, Table, TxError};

static NAMED: Table<u64, Note> =
    Table::new("named").with_unique("text", |_, note| vec![note.text.clone().into_bytes()]);

type Done = Result<(), TxError<String>>;

#[tokio::test]
async fn a_unique_value_belongs_to_one_record_at_a_time() {
    for (store, _dir) in both() {
        let put = |key: u64, text: &'static str| {
            let store = store.clone();
            async move {
                let done: Done =
                    store.commit(move |tx| Ok(NAMED.put(tx, &key, &Note::of(text))?)).await;
                done
            }
        };
        put(1, "a").await.unwrap();
        put(1, "a").await.unwrap();
        let Err(TxError::Store(error)) = put(2, "a").await else { panic!("two hold `a`") };
        assert!(matches!(
            &error,
            StoreError::NotUnique { table: "named", index: "text", key } if key == b"a"
        ));
        put(1, "b").await.unwrap();
        put(2, "a").await.unwrap();
        assert_eq!(NAMED.find(&store, "text", b"a").unwrap(), Some((2, Note::of("a"))));
        assert_eq!(NAMED.find(&store, "text", b"b").unwrap(), Some((1, Note::of("b"))));
        let gone: Done = store.commit(|tx| Ok(NAMED.remove(tx, &2)?)).await;
        gone.unwrap();
        assert_eq!(NAMED.find(&store, "text", b"a").unwrap(), None);
        let unknown = NAMED.find(&store, "colour", b"a");
        assert!(matches!(unknown, Err(StoreError::NoSuchIndex { .. })));
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_kind_of_record() {
    static OTHER: Table<String, Note> = Table::new("named");
    for (store, _dir) in both() {
        let done: Done = store
            .commit(|tx| {
                NAMED.put(tx, &1, &Note::of("a"))?;
                Ok(OTHER.put(tx, &"1".to_owned(), &Note::of("a"))?)
            })
            .await;
        assert!(matches!(done, Err(TxError::Store(StoreError::TableReused { table: "named" }))));
    }
}
