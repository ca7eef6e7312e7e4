//! Key pairs, by account and name.

use vmint_ids::KeyPairId;
use vmint_store::{Asked, Key as _, SCAN_LIMIT, Tx, TxError, prefix};

use super::{
    Body, KEY_PAIRS, LEDGER, Records, key_pair_record::KeyPairRecord, now, record::DeletedRecord,
};
use crate::{KeyName, KeyPair, LauncherError, Result};

/// Which key pair of an account.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    Named(KeyName),
    Numbered(KeyPairId),
}

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
        which: Which,
        asked: Asked,
    ) -> Result<Option<KeyPairId>> {
        let answer = self.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let name = match which {
                    Which::Named(name) => Some(name.as_str().to_owned()),
                    Which::Numbered(id) => {
                        by_id(tx, &account, id)?.map(|pair| pair.name.as_str().to_owned())
                    }
                };
                let Some(name) = name else { return Ok(DeletedRecord::default()) };
                let key = (account, name);
                let Some(record) = KEY_PAIRS.get(tx, &key)? else {
                    return Ok(DeletedRecord::default());
                };
                KEY_PAIRS.remove(tx, &key)?;
                let pair = KeyPair::try_from(record).map_err(TxError::Refused)?;
                Ok::<_, TxError<LauncherError>>(DeletedRecord { id: pair.id.to_string() })
            })
        });
        let answer = answer.await?;
        Ok(answer.id.parse().ok())
    }
}

/// The account's key pair of this id. Looks at all of them, of which there are few.
pub(super) fn by_id(tx: &Tx<'_>, account: &str, id: KeyPairId) -> Body<Option<KeyPair>> {
    let (text, mut after) = (id.to_string(), None::<Vec<u8>>);
    loop {
        let rows = KEY_PAIRS.scan(tx, &prefix(&[&account]), after.as_deref(), SCAN_LIMIT)?;
        let Some((last, _)) = rows.last() else { return Ok(None) };
        after = Some(last.encode());
        if let Some((_, record)) = rows.into_iter().find(|(_, record)| record.is(&text)) {
            return Ok(Some(record.try_into().map_err(TxError::Refused)?));
        }
    }
}
