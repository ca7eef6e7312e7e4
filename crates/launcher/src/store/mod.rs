//! What the launcher keeps: all its transactions.

mod instances;
mod key_pair_record;
mod key_pairs;
mod launches;
mod modify;
mod record;
mod tags;
mod volumes;

use tokio::sync::watch;
use vmint_ids::InstanceId;
use vmint_store::{Asked, Fence, Ledger, Store, Table, Tx, TxError};

use crate::{Instance, LauncherError, Result, State, instance::Happening};
use key_pair_record::KeyPairRecord;
use record::{
    EventRecord, InstanceRecord, ReleasedRecord, SlotRecord, UserDataRecord, state_number, state_of,
};

pub(crate) use instances::{MachineEvent, Seen};
pub(crate) use key_pairs::Which;
pub(crate) use launches::{Limits, Network, NewInstances};
pub use modify::Change;
pub(crate) use tags::Taggable;

const ACCOUNT: &str = "account";
const NAME: &str = "name";
const HOLDING: &str = "holding";
const ENDED: &str = "ended";
/// The one value of an index that only tells members from others.
const MEMBER: &[u8] = b"1";
/// The outbox topic that others follow.
const TOPIC: &str = "machine";

static INSTANCES: Table<InstanceId, InstanceRecord> = Table::new("instances.v1")
    .with_index(ACCOUNT, |_, i: &InstanceRecord| vec![i.account.clone().into_bytes()])
    .with_index(NAME, |_, i: &InstanceRecord| {
        let named = !i.name.is_empty() && i.state != state_number(State::Terminated);
        named.then(|| name_key(&i.account, &i.name)).into_iter().collect()
    })
    .with_index(HOLDING, |_, i: &InstanceRecord| {
        let holds = state_of(i.state).is_some_and(State::holds_capacity);
        holds.then(|| MEMBER.to_vec()).into_iter().collect()
    })
    .with_index(ENDED, |_, i: &InstanceRecord| {
        let ended = i.state == state_number(State::Terminated);
        ended.then(|| MEMBER.to_vec()).into_iter().collect()
    });
static USER_DATA: Table<InstanceId, UserDataRecord> = Table::new("user_data.v1");
static SLOTS: Table<u32, SlotRecord> = Table::new("slots.v1");
static RELEASED: Table<InstanceId, ReleasedRecord> = Table::new("released.v1");
static FENCE: Fence = Fence::new("fence.v1", &[0]);
static KEY_PAIRS: Table<(String, String), KeyPairRecord> = Table::new("key_pairs.v1");
static LEDGER: Ledger = Ledger::new("ledger.v1");

type Body<T> = Result<T, TxError<LauncherError>>;

/// Who asks for a change, and how it is kept from being made twice.
#[derive(Debug, Clone)]
pub(crate) enum By {
    /// The launcher itself, about something that happened.
    Itself,
    /// A saga, of the gateway's epoch.
    Saga(u64),
    /// A user, under a request id.
    User(Asked),
}

/// The launcher's records. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    store: Store,
}

impl Records {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Moves with each commit.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }

    async fn commit<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Body<T> + Send + 'static,
    ) -> Result<T> {
        self.store.commit(body).await.map_err(TxError::flatten)
    }
}

fn name_key(account: &str, name: &str) -> Vec<u8> {
    [account, name].join("\0").into_bytes()
}

/// The transaction's time, as records have it.
fn now(tx: &Tx<'_>) -> i64 {
    i64::try_from(tx.now_ms()).unwrap_or(i64::MAX)
}

/// Refuses an epoch that is older than one seen before.
fn fence(tx: &mut Tx<'_>, epoch: u64) -> Body<()> {
    FENCE.admit(tx, epoch)
}

/// Puts an instance and tells what happened to it, in one.
fn put(tx: &mut Tx<'_>, instance: &Instance, happened: &[Happening]) -> Body<()> {
    INSTANCES.put(tx, &instance.id, &instance.into())?;
    for happening in happened {
        let (kind, at) = match happening {
            Happening::Started => (1, instance.started_at.unwrap_or(instance.changed_at)),
            Happening::Stopped => (2, instance.changed_at),
            Happening::Terminated => (3, instance.changed_at),
        };
        tx.emit(
            TOPIC,
            &EventRecord {
                instance: instance.id.to_string(),
                account: instance.account.clone(),
                image: instance.image.clone(),
                product_codes: instance.product_codes.clone(),
                kind,
                run: instance.run,
                at,
            },
        )?;
    }
    Ok(())
}

fn get(tx: &Tx<'_>, id: InstanceId) -> Body<Option<Instance>> {
    let record = INSTANCES.get(tx, &id)?;
    record.map(Instance::try_from).transpose().map_err(TxError::Refused)
}

fn must_get(tx: &Tx<'_>, id: InstanceId) -> Body<Instance> {
    get(tx, id)?
        .ok_or_else(|| TxError::Refused(LauncherError::NoSuchInstance { id: id.to_string() }))
}
