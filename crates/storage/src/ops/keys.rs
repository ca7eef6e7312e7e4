//! Keys of an account: made, listed, disabled, given a date to go.

use vmint_ids::{AccountId, KmsKeyId};
use vmint_store::{Asked, TxError};

use super::list::Page;
use crate::{
    Result, Seal, Storage, StorageError,
    key::{Change, Key, KeyState, Wish},
    store::{LEDGER, keys},
};

/// What the ledger keeps: which key.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    key: String,
}

impl Storage {
    /// Makes a key.
    pub(crate) async fn create_key(
        &self,
        account: AccountId,
        description: String,
        asked: Asked,
    ) -> Result<Key> {
        if description.len() > 8192 {
            return Err(StorageError::Invalid {
                field: "description",
                what: "text",
                value: format!("{} bytes", description.len()),
                rule: "use at most 8192 bytes".to_owned(),
            });
        }
        let new = self.draw_key().await?;
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let created_ms = tx.now_ms();
                    let state = KeyState::Enabled;
                    keys::put(tx, &Key { id: new, account, description, state, created_ms })?;
                    Ok(Answer { key: new.to_string() })
                })
            })
            .await?;
        let id: KmsKeyId = answer.key.parse().map_err(|_| StorageError::Damaged)?;
        if id != new {
            self.undraw_key(new).await?;
        }
        tracing::info!(key = %id, %account, "made");
        self.key(id, account)
    }

    pub(crate) fn key(&self, id: KmsKeyId, account: AccountId) -> Result<Key> {
        keys::owned(self.records.store(), id, account)
    }

    pub(crate) fn list_keys(
        &self,
        account: AccountId,
        after: Option<KmsKeyId>,
        size: usize,
    ) -> Result<Page<Key>> {
        Ok(Page::cut(self.records.keys_of(account, after, size + 1)?, size))
    }

    /// Enables, disables or gives a date to go.
    pub(crate) async fn change_key(
        &self,
        id: KmsKeyId,
        account: AccountId,
        change: Change,
        asked: Asked,
    ) -> Result<Key> {
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let mut key = keys::owned(tx, id, account).map_err(TxError::Refused)?;
                    let now = tx.now_ms();
                    key.state = key
                        .state
                        .after(change, now)
                        .map_err(|why| TxError::Refused(StorageError::KeyState { id, why }))?;
                    keys::put(tx, &key)?;
                    Ok(Answer { key: id.to_string() })
                })
            })
            .await?;
        self.key(id, account)
    }

    /// The key used where none is named, if there ever was need of one.
    pub(crate) fn default_key(&self, account: AccountId) -> Result<Option<Key>> {
        let id = keys::default_of(self.records.store(), account)?;
        id.map(|id| self.key(id, account)).transpose()
    }

    pub(crate) async fn set_default_key(
        &self,
        id: KmsKeyId,
        account: AccountId,
        asked: Asked,
    ) -> Result<Key> {
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    keys::owned(tx, id, account).map_err(TxError::Refused)?;
                    keys::usable(tx, id).map_err(TxError::Refused)?;
                    keys::put_default(tx, account, id)?;
                    Ok(Answer { key: id.to_string() })
                })
            })
            .await?;
        self.key(id, account)
    }

    /// Goes back to the key that was made for the account; none if there is none
    /// yet.
    pub(crate) async fn reset_default_key(
        &self,
        account: AccountId,
        asked: Asked,
    ) -> Result<Option<Key>> {
        let reset = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                keys::reset_default(tx, account)?;
                Ok(Answer::default())
            })
        });
        reset.await?;
        self.default_key(account)
    }

    /// Whether all that is new of an account's is encrypted.
    pub(crate) fn always_encrypts(&self, account: AccountId) -> Result<bool> {
        keys::always(self.records.store(), account)
    }

    /// Says whether it is to be.
    pub(crate) async fn set_always_encrypts(
        &self,
        account: AccountId,
        always: bool,
        asked: Asked,
    ) -> Result<()> {
        let set = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                keys::put_always(tx, account, always)?;
                Ok(Answer::default())
            })
        });
        set.await?;
        tracing::info!(%account, always, "encryption by default");
        Ok(())
    }

    /// What an account wants of something new, with what it always wants.
    pub(crate) fn wished(&self, account: AccountId, wish: Wish) -> Result<Wish> {
        let always = self.always_encrypts(account)?;
        Ok(Wish { encrypted: wish.encrypted.or(always.then_some(true)), ..wish })
    }

    /// With what something new is to be encrypted that comes from nothing
    /// encrypted, if at all.
    pub(crate) async fn seal_of_new(&self, account: AccountId, wish: Wish) -> Result<Option<Seal>> {
        let wish = self.wished(account, wish)?;
        if wish.encrypted != Some(true) && wish.key.is_none() {
            return Ok(None);
        }
        let key = self.key_for(account, wish.key).await?;
        self.begin_lineage(account, key).await.map(Some)
    }

    /// The account's key that something new is to be encrypted under: the one
    /// named, or the default, which is made if there is none.
    pub(crate) async fn key_for(
        &self,
        account: AccountId,
        named: Option<KmsKeyId>,
    ) -> Result<KmsKeyId> {
        let id = match named {
            Some(id) => self.key(id, account)?.id,
            None => match keys::default_of(self.records.store(), account)? {
                Some(id) => id,
                None => self.make_default(account).await?,
            },
        };
        keys::usable(self.records.store(), id)?;
        Ok(id)
    }

    async fn make_default(&self, account: AccountId) -> Result<KmsKeyId> {
        let new = self.draw_key().await?;
        let id = self
            .records
            .commit(move |tx| {
                if let Some(id) = keys::default_of(tx, account).map_err(TxError::Refused)? {
                    return Ok(id);
                }
                let description = "Used where no key is named".to_owned();
                let (state, created_ms) = (KeyState::Enabled, tx.now_ms());
                keys::put(tx, &Key { id: new, account, description, state, created_ms })?;
                keys::put_made(tx, account, new)?;
                Ok(new)
            })
            .await?;
        if id != new {
            self.undraw_key(new).await?;
        }
        Ok(id)
    }

    /// Made before its record is, so that no record is without a key.
    async fn draw_key(&self) -> Result<KmsKeyId> {
        let (keys, id) = (self.keys.clone(), KmsKeyId::random());
        Self::blocking(move || keys.provider.create(id).map_err(StorageError::Provider)).await?;
        Ok(id)
    }

    async fn undraw_key(&self, id: KmsKeyId) -> Result<()> {
        let keys = self.keys.clone();
        Self::blocking(move || keys.provider.destroy(id).map_err(StorageError::Provider)).await
    }
}
