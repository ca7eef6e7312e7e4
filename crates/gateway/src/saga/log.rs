//! The log of sagas in the gateway's store.

use prost::Message;
use vmint_store::{Asked, Ledger, Reused, Store, StoreError, Table, Tx, TxError};

use super::{Failure, SagaId};

/// Ended sagas are kept longer than the ledger refers to them.
const KEEP_MS: u64 = 15 * 24 * 3600 * 1000;

static SAGAS: Table<[u8; 16], SagaRow> = Table::new("sagas.v1");
static REQUESTS: Table<[u8; 16], Body> = Table::new("saga_requests.v1");
static OPEN: Table<[u8; 16], Body> = Table::new("sagas_open.v1");
static NUMBERS: Table<String, Number> = Table::new("numbers.v1");
static LEDGER: Ledger = Ledger::new("requests.v1");

/// Where a saga stands, as logged.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SagaRow {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
    #[prost(enumeration = "State", tag = "3")]
    pub(crate) state: i32,
    /// Steps done while running; steps left to undo while unwinding.
    #[prost(uint32, tag = "4")]
    pub(crate) at: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) failure: Option<Failure>,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) memo: Vec<u8>,
    #[prost(string, tag = "7")]
    pub(crate) request_id: String,
    /// Ids of what it makes or changes.
    #[prost(string, repeated, tag = "8")]
    pub(crate) subjects: Vec<String>,
    #[prost(uint64, tag = "9")]
    pub(crate) started_ms: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) ended_ms: u64,
    /// Of the gateway that wrote it.
    #[prost(uint64, tag = "11")]
    pub(crate) epoch: u64,
    /// Attempts that failed, of the step it is at.
    #[prost(uint32, tag = "12")]
    pub(crate) attempts: u32,
}

/// What a saga does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum State {
    Running = 0,
    Unwinding = 1,
    Done = 2,
    Undone = 3,
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

/// Why a saga was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this request id was not used before")]
    Fresh,
}

#[derive(Debug, Clone)]
pub(super) struct Log {
    store: Store,
}

impl SagaRow {
    pub(crate) fn ended(&self) -> bool {
        matches!(self.state(), State::Done | State::Undone)
    }
}

impl Log {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Raises the persisted epoch and answers it.
    ///
    /// At least the clock's seconds, so that a gateway that lost its store is
    /// not taken for an older one by those who remember its epochs.
    pub(super) async fn next_epoch(&self) -> Result<u64, StoreError> {
        let done = self.store.commit(|tx| -> Result<u64, TxError<StoreError>> {
            let key = "epoch".to_owned();
            let next = NUMBERS.get(tx, &key)?.map_or(0, |n| n.value) + 1;
            let value = next.max(tx.now_ms() / 1000);
            NUMBERS.put(tx, &key, &Number { value })?;
            Ok(value)
        });
        done.await.map_err(TxError::flatten)
    }

    /// The saga that `asked` began before, if it did.
    pub(super) async fn replayed(&self, asked: Asked) -> Result<Option<SagaId>, BeginError> {
        if asked.request_id.is_empty() {
            return Ok(None);
        }
        let found = self
            .store
            .commit(move |tx| LEDGER.once(tx, &asked, |_| Err(TxError::refuse(BeginError::Fresh))))
            .await;
        match found.map_err(TxError::flatten) {
            Ok(body) => Ok(read_id(&body)),
            Err(BeginError::Fresh) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Logs a new saga, or finds the one that `asked` began before; says whether
    /// it is new.
    pub(super) async fn begin(
        &self,
        asked: Asked,
        id: SagaId,
        row: SagaRow,
        request: Vec<u8>,
    ) -> Result<(SagaId, bool), BeginError> {
        let body = self
            .store
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| -> Result<Body, TxError<BeginError>> {
                    SAGAS.put(tx, &id.to_key(), &row)?;
                    REQUESTS.put(tx, &id.to_key(), &Body { bytes: request })?;
                    OPEN.put(tx, &id.to_key(), &Body::default())?;
                    Ok(Body { bytes: id.to_key().to_vec() })
                })
            })
            .await
            .map_err(TxError::flatten)?;
        let found = read_id(&body).unwrap_or(id);
        Ok((found, found == id))
    }

    pub(super) async fn write(&self, id: SagaId, mut row: SagaRow) -> Result<(), StoreError> {
        let done = self.store.commit(move |tx| -> Result<(), TxError<StoreError>> {
            if row.ended() {
                row.ended_ms = tx.now_ms();
                OPEN.remove(tx, &id.to_key())?;
                REQUESTS.remove(tx, &id.to_key())?;
                forget_some(tx)?;
            }
            Ok(SAGAS.put(tx, &id.to_key(), &row)?)
        });
        done.await.map_err(TxError::flatten)
    }

    pub(super) fn get(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        SAGAS.get(&self.store, &id.to_key())
    }

    pub(super) fn request(&self, id: SagaId) -> Result<Vec<u8>, StoreError> {
        Ok(REQUESTS.get(&self.store, &id.to_key())?.map(|b| b.bytes).unwrap_or_default())
    }

    /// Those that have not ended, at most `limit`.
    pub(super) fn open(&self, limit: usize) -> Result<Vec<(SagaId, SagaRow)>, StoreError> {
        let mut found = Vec::new();
        OPEN.walk(&self.store, |key, _| -> Result<(), StoreError> {
            if found.len() < limit
                && let Some(row) = SAGAS.get(&self.store, &key)?
            {
                found.push((SagaId::from_key(key), row));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The newest ones, ended or not.
    pub(super) fn newest(&self, limit: usize) -> Result<Vec<(SagaId, SagaRow)>, StoreError> {
        let rows = SAGAS.scan(&self.store, &[], None, limit)?;
        Ok(rows.into_iter().map(|(key, row)| (SagaId::from_key(key), row)).collect())
    }
}

/// Removes a few sagas that ended long ago, more than one commit adds.
fn forget_some(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let Some(before) = tx.now_ms().checked_sub(KEEP_MS) else { return Ok(()) };
    // The bound of an id of that moment: what sorts behind it is older.
    let after = SagaId::bound(before);
    for (key, row) in SAGAS.scan(tx, &[], Some(&after.to_key()), 4)? {
        if row.ended() {
            SAGAS.remove(tx, &key)?;
        }
    }
    Ok(())
}

fn read_id(body: &Body) -> Option<SagaId> {
    Some(SagaId::from_key(body.bytes.as_slice().try_into().ok()?))
}
