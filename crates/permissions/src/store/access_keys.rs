//! Access keys, found by id, account and principal; secrets wrapped.

use vmint_ids::AccountId;
use vmint_store::{Asked, Key as _, Store, Table, Tx, TxError};

use super::{
    WrappingKey,
    accounts::{LEDGER, check_exist},
    record::AccessKeyRecord,
};
use crate::{AccessKey, AccessKeyId, PermissionsError as E, Result, Secret, Use, ops::Page};

static KEYS: Table<String, AccessKeyRecord> = Table::new("access_keys.v1")
    .with_index("account", |_, it| live(it, || it.account.clone()))
    .with_index("principal", |_, it| live(it, || of_principal(&it.account, &it.principal)));

/// A deleted key is found by its id alone.
fn live(it: &AccessKeyRecord, value: impl Fn() -> String) -> Vec<Vec<u8>> {
    if it.deleted { Vec::new() } else { vec![value().into_bytes()] }
}

fn of_principal(account: &str, principal: &str) -> String {
    format!("{account}/{principal}")
}

/// A key to be made.
pub(crate) type NewKey = (AccessKey, Secret);

/// Access keys, and the key that their secrets are wrapped with.
#[derive(Debug, Clone)]
pub(crate) struct AccessKeys {
    store: Store,
    wrapping: WrappingKey,
    /// How many one principal may have.
    at_most: usize,
}

impl AccessKeys {
    pub(crate) fn new(store: Store, wrapping: WrappingKey, at_most: usize) -> Self {
        Self { store, wrapping, at_most }
    }

    pub(crate) fn get(&self, id: &AccessKeyId) -> Result<Option<AccessKey>> {
        let found = KEYS.get(&self.store, &id.as_str().to_owned())?;
        found.filter(|it| !it.deleted).map(TryInto::try_into).transpose()
    }

    /// The key and its secret.
    pub(crate) fn open(&self, id: &AccessKeyId) -> Result<Option<NewKey>> {
        let Some(record) = KEYS.get(&self.store, &id.as_str().to_owned())? else { return Ok(None) };
        if record.deleted {
            return Ok(None);
        }
        let secret = self.wrapping.unwrap(id, &record.wrapped)?;
        Ok(Some((record.try_into()?, secret)))
    }

    pub(crate) fn page(
        &self,
        account: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<AccessKey>> {
        let account = account.to_string();
        let rows = KEYS.equal(&self.store, "account", account.as_bytes(), after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// Adds a key. Says whether it is new: asked again, it is not.
    pub(crate) async fn insert(&self, new: NewKey, asked: Asked) -> Result<AccessKey> {
        let ((new, secret), at_most) = (new, self.at_most);
        let record = AccessKeyRecord::new(&new, self.wrapping.wrap(&new.id, &secret));
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                check_exist(tx, [&new.account])?;
                let whose = of_principal(&record.account, &record.principal);
                let has = KEYS.equal(tx, "principal", whose.as_bytes(), None, at_most)?.len();
                if has >= at_most {
                    let principal = record.principal.clone();
                    return Err(TxError::refuse(E::TooManyAccessKeys { principal, at_most }));
                }
                if KEYS.get(tx, &record.id)?.is_some() {
                    return Err(TxError::refuse(E::AccessKeyTaken { id: record.id.clone() }));
                }
                KEYS.put(tx, &record.id, &record)?;
                // The answer kept for later has no use for the secret.
                Ok::<_, TxError<E>>(AccessKeyRecord { wrapped: Vec::new(), ..record.clone() })
            })
        };
        self.store.commit(work).await?.try_into()
    }

    /// Records of keys as the first start puts them.
    pub(crate) fn first(&self, keys: Vec<NewKey>) -> Vec<AccessKeyRecord> {
        let record = |(key, secret): NewKey| {
            let wrapped = self.wrapping.wrap(&key.id, &secret);
            AccessKeyRecord { first: true, ..AccessKeyRecord::new(&key, wrapped) }
        };
        keys.into_iter().map(record).collect()
    }

    pub(crate) async fn set_active(
        &self,
        id: AccessKeyId,
        of: Option<AccountId>,
        active: bool,
    ) -> Result<AccessKey> {
        let work = move |tx: &mut Tx<'_>| {
            let mut record = find(tx, &id, of)?;
            if record.active != active {
                record.active = active;
                KEYS.put(tx, &record.id, &record)?;
            }
            Ok(record)
        };
        self.store.commit(work).await.map_err(E::from)?.try_into()
    }

    /// Destroys the secret. A key of the first start leaves its id behind, so
    /// that the next start does not bring it back.
    pub(crate) async fn delete(&self, id: AccessKeyId, of: Option<AccountId>) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            let record = find(tx, &id, of)?;
            if !record.first {
                return Ok(KEYS.remove(tx, &record.id)?);
            }
            let gone = AccessKeyRecord {
                deleted: true,
                active: false,
                wrapped: Vec::new(),
                ..record.clone()
            };
            Ok(KEYS.put(tx, &record.id, &gone)?)
        };
        Ok(self.store.commit(work).await?)
    }

    /// Records a use, if the key is still there.
    pub(crate) async fn set_used(&self, id: AccessKeyId, used: Use) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            let Some(mut record) = KEYS.get(tx, &id.as_str().to_owned())? else { return Ok(()) };
            if record.deleted || record.last_used_ms.is_some_and(|ms| ms >= used.ms) {
                return Ok(());
            }
            record.last_used_ms = Some(used.ms);
            record.last_used_service.clone_from(&used.service);
            Ok::<_, TxError<E>>(KEYS.put(tx, &record.id, &record)?)
        };
        Ok(self.store.commit(work).await?)
    }
}

fn find(
    tx: &Tx<'_>,
    id: &AccessKeyId,
    of: Option<AccountId>,
) -> Result<AccessKeyRecord, TxError<E>> {
    let found = KEYS.get(tx, &id.as_str().to_owned())?;
    let theirs = |it: &AccessKeyRecord| of.is_none_or(|of| of.to_string() == it.account);
    let found = found.filter(|it| !it.deleted && theirs(it));
    found.ok_or_else(|| TxError::refuse(E::AccessKeyNotFound { id: id.to_string() }))
}

/// Adds a key of the first start, unless it is or was there.
pub(super) fn put_if_new(tx: &mut Tx<'_>, record: &AccessKeyRecord) -> Result<(), TxError<E>> {
    match KEYS.get(tx, &record.id)? {
        None => Ok(KEYS.put(tx, &record.id, record)?),
        Some(there) if there.account == record.account => Ok(()),
        Some(_) => Err(TxError::refuse(E::AccessKeyTaken { id: record.id.clone() })),
    }
}
