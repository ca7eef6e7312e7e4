//! Key pairs, by account and name.

use vmint_store::{Asked, TxError, prefix};

use super::{KEY_PAIRS, LEDGER, Records, now, record::KeyPairRecord};
use crate::{KeyName, KeyPair, LauncherError, Result};

impl Records {
    /// Records a key pair under a name that is free. The flag tells whether it was
    /// recorded now, and not when the same was asked before.
    pub(crate) async fn add_key_pair(
        &self,
        mut pair: KeyPair,
        asked: Asked,
    ) -> Result<(KeyPair, bool)> {
        self.commit(move |tx| {
            let mut fresh = false;
            let record = LEDGER.once(tx, &asked, |tx| {
                let key = (pair.account.clone(), pair.name.as_str().to_owned());
                if KEY_PAIRS.get(tx, &key)?.is_some() {
                    let name = key.1;
                    return Err(TxError::Refused(LauncherError::KeyPairNameTaken { name }));
                }
                pair.created_at = now(tx);
                let record = KeyPairRecord::from(&pair);
                KEY_PAIRS.put(tx, &key, &record)?;
                fresh = true;
                Ok(record)
            })?;
            Ok((record.try_into().map_err(TxError::Refused)?, fresh))
        })
        .await
    }

    /// Up to `limit` of the account's key pairs, by name, behind the key `after`.
    pub(crate) fn key_pairs(
        &self,
        account: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyPair>> {
        let rows = KEY_PAIRS.scan(&self.store, &prefix(&[&account]), after, limit)?;
        rows.into_iter().map(|(_, record)| record.try_into()).collect()
    }

    /// Removes a key pair; one that is not there is removed already.
    pub(crate) async fn delete_key_pair(
        &self,
        account: String,
        name: KeyName,
        asked: Asked,
    ) -> Result<()> {
        self.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let key = (account, name.as_str().to_owned());
                if KEY_PAIRS.get(tx, &key)?.is_some() {
                    KEY_PAIRS.remove(tx, &key)?;
                }
                Ok::<_, TxError<LauncherError>>(super::record::Nothing {})
            })?;
            Ok(())
        })
        .await
    }
}
