//! Keys and lineages as records.

use vmint_ids::{AccountId, KmsKeyId, LineageId};
use vmint_store::{Read, Table, Tx, TxError};

use super::{Records, listed};
use crate::{
    Result, StorageError,
    key::{Key, KeyState},
};

static KEYS: Table<KmsKeyId, KeyRecord> = Table::new("keys.v1")
    .with_index("account", |_, record: &KeyRecord| vec![record.account.clone().into_bytes()])
    .with_index(
        "pending",
        |_, record: &KeyRecord| {
            if record.state == PENDING { vec![Vec::new()] } else { Vec::new() }
        },
    );

static DEFAULTS: Table<String, DefaultRecord> = Table::new("default-keys.v1");

static LINEAGES: Table<LineageId, LineageRecord> = Table::new("lineages.v1")
    .with_index("key", |_, record: &LineageRecord| {
        if record.destroyed { Vec::new() } else { vec![record.key.clone().into_bytes()] }
    })
    .with_index("doomed", |_, record: &LineageRecord| {
        if record.destroyed && !record.wiped { vec![Vec::new()] } else { Vec::new() }
    });

const PENDING: u32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
struct KeyRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(string, tag = "3")]
    description: String,
    /// 1 enabled, 2 disabled, 3 pending deletion, 4 destroyed.
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(uint64, tag = "5")]
    due_ms: u64,
    #[prost(uint64, tag = "6")]
    created_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DefaultRecord {
    /// Empty: none yet.
    #[prost(string, tag = "1")]
    key: String,
    /// What is new is encrypted whether that is asked for or not.
    #[prost(bool, tag = "2")]
    always: bool,
    /// The key that was made when the account first needed one.
    #[prost(string, tag = "3")]
    made: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LineageRecord {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(uint64, tag = "3")]
    created_ms: u64,
    /// Its data key is to go, or gone.
    #[prost(bool, tag = "4")]
    destroyed: bool,
    /// It is gone.
    #[prost(bool, tag = "5")]
    wiped: bool,
}

impl From<&Key> for KeyRecord {
    fn from(key: &Key) -> Self {
        let (state, due_ms) = match key.state {
            KeyState::Enabled => (1, 0),
            KeyState::Disabled => (2, 0),
            KeyState::PendingDeletion { due_ms } => (PENDING, due_ms),
            KeyState::Destroyed => (4, 0),
        };
        Self {
            id: key.id.to_string(),
            account: key.account.to_string(),
            description: key.description.clone(),
            state,
            due_ms,
            created_ms: key.created_ms,
        }
    }
}

impl TryFrom<&KeyRecord> for Key {
    type Error = StorageError;

    fn try_from(record: &KeyRecord) -> Result<Self> {
        Ok(Self {
            id: record.id.parse().map_err(|_| StorageError::Damaged)?,
            account: record.account.parse().map_err(|_| StorageError::Damaged)?,
            description: record.description.clone(),
            state: match record.state {
                1 => KeyState::Enabled,
                2 => KeyState::Disabled,
                PENDING => KeyState::PendingDeletion { due_ms: record.due_ms },
                4 => KeyState::Destroyed,
                _ => return Err(StorageError::Damaged),
            },
            created_ms: record.created_ms,
        })
    }
}

/// The key `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: KmsKeyId, account: AccountId) -> Result<Key> {
    let found = KEYS.get(read, &id)?.as_ref().map(Key::try_from).transpose()?;
    found.filter(|key| key.account == account).ok_or(StorageError::NoSuchKey { id })
}

/// Refuses a key that may begin nothing new, whosever it is.
pub(crate) fn usable(read: &impl Read, id: KmsKeyId) -> Result<()> {
    let found = KEYS.get(read, &id)?.as_ref().map(Key::try_from).transpose()?;
    match found.map(|key| key.state) {
        Some(KeyState::Enabled) => Ok(()),
        _ => Err(StorageError::KeyNotUsable { id }),
    }
}

pub(crate) fn put(tx: &mut Tx<'_>, key: &Key) -> Result<(), TxError<StorageError>> {
    Ok(KEYS.put(tx, &key.id, &key.into())?)
}

/// The key an account uses where it names none.
pub(crate) fn default_of(read: &impl Read, account: AccountId) -> Result<Option<KmsKeyId>> {
    let record = DEFAULTS.get(read, &account.to_string())?;
    let named = record.filter(|record| !record.key.is_empty());
    named.map(|record| record.key.parse().map_err(|_| StorageError::Damaged)).transpose()
}

/// Whether all that is new of an account's is encrypted.
pub(crate) fn always(read: &impl Read, account: AccountId) -> Result<bool> {
    Ok(DEFAULTS.get(read, &account.to_string())?.is_some_and(|record| record.always))
}

pub(crate) fn put_always(
    tx: &mut Tx<'_>,
    account: AccountId,
    always: bool,
) -> Result<(), TxError<StorageError>> {
    let before = DEFAULTS.get(tx, &account.to_string())?.unwrap_or_default();
    Ok(DEFAULTS.put(tx, &account.to_string(), &DefaultRecord { always, ..before })?)
}

pub(crate) fn put_default(
    tx: &mut Tx<'_>,
    account: AccountId,
    key: KmsKeyId,
) -> Result<(), TxError<StorageError>> {
    let before = DEFAULTS.get(tx, &account.to_string())?.unwrap_or_default();
    let record = DefaultRecord { key: key.to_string(), ..before };
    Ok(DEFAULTS.put(tx, &account.to_string(), &record)?)
}

/// The key that was made for an account, which it uses from now on.
pub(crate) fn put_made(
    tx: &mut Tx<'_>,
    account: AccountId,
    key: KmsKeyId,
) -> Result<(), TxError<StorageError>> {
    let before = DEFAULTS.get(tx, &account.to_string())?.unwrap_or_default();
    let record = DefaultRecord { key: key.to_string(), made: key.to_string(), ..before };
    Ok(DEFAULTS.put(tx, &account.to_string(), &record)?)
}

/// Has an account use the key that was made for it again; one is made anew when
/// it is needed, if that can't be used.
pub(crate) fn reset_default(
    tx: &mut Tx<'_>,
    account: AccountId,
) -> Result<(), TxError<StorageError>> {
    let Some(before) = DEFAULTS.get(tx, &account.to_string())? else { return Ok(()) };
    let made = before.made.parse().ok().filter(|key| usable(tx, *key).is_ok());
    let key = made.map_or_else(String::new, |key| key.to_string());
    Ok(DEFAULTS.put(tx, &account.to_string(), &DefaultRecord { key, ..before })?)
}

/// Forgets what an account uses and wants by default.
pub(crate) fn forget_default(
    tx: &mut Tx<'_>,
    account: AccountId,
) -> Result<(), TxError<StorageError>> {
    Ok(DEFAULTS.remove(tx, &account.to_string())?)
}

/// Forgets a key, which is destroyed.
pub(crate) fn remove(tx: &mut Tx<'_>, id: KmsKeyId) -> Result<(), TxError<StorageError>> {
    Ok(KEYS.remove(tx, &id)?)
}

/// Records a lineage whose data key there is.
pub(crate) fn put_lineage(
    tx: &mut Tx<'_>,
    lineage: LineageId,
    key: KmsKeyId,
    account: AccountId,
) -> Result<(), TxError<StorageError>> {
    let record = LineageRecord {
        key: key.to_string(),
        account: account.to_string(),
        created_ms: tx.now_ms(),
        ..LineageRecord::default()
    };
    Ok(LINEAGES.put(tx, &lineage, &record)?)
}

/// The key a lineage's data key lies under; none if that is destroyed.
pub(crate) fn key_of(read: &impl Read, lineage: LineageId) -> Result<Option<KmsKeyId>> {
    let record = LINEAGES.get(read, &lineage)?.filter(|record| !record.destroyed);
    record.map(|record| record.key.parse().map_err(|_| StorageError::Damaged)).transpose()
}

/// Records that a lineage's data key is to go (`wiped`: that it is gone).
pub(crate) fn doom(
    tx: &mut Tx<'_>,
    lineage: LineageId,
    wiped: bool,
) -> Result<(), TxError<StorageError>> {
    let Some(record) = LINEAGES.get(tx, &lineage)? else { return Ok(()) };
    let record = LineageRecord { destroyed: true, wiped, ..record };
    Ok(LINEAGES.put(tx, &lineage, &record)?)
}

impl Records {
    /// Up to `limit` of an account's keys after `after`, by id.
    pub(crate) fn keys_of(
        &self,
        account: AccountId,
        after: Option<KmsKeyId>,
        limit: usize,
    ) -> Result<Vec<Key>> {
        listed(&KEYS, &self.store, "account", &account.to_string(), after.as_ref(), limit)
    }

    /// Keys whose time has come.
    pub(crate) fn keys_due(&self, now_ms: u64) -> Result<Vec<Key>> {
        let pending: Vec<Key> = listed(&KEYS, &self.store, "pending", "", None, 1000)?;
        let due = |key: &Key| matches!(key.state, KeyState::PendingDeletion { due_ms } if due_ms <= now_ms);
        Ok(pending.into_iter().filter(due).collect())
    }

    /// Up to a thousand lineages whose data keys lie under `key`.
    pub(crate) fn lineages_under(&self, key: KmsKeyId) -> Result<Vec<LineageId>> {
        let found = LINEAGES.equal(&self.store, "key", key.to_string().as_bytes(), None, 1000)?;
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }

    /// Up to a thousand lineages whose data keys are still to be wiped.
    pub(crate) fn doomed(&self) -> Result<Vec<LineageId>> {
        let found = LINEAGES.equal(&self.store, "doomed", &[], None, 1000)?;
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }
}
