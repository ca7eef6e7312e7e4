//! Tags of instances and key pairs.

use vmint_ids::{InstanceId, KeyPairId};
use vmint_store::{Asked, Tx, TxError};

use super::{
    Body, INSTANCES, KEY_PAIRS, LEDGER, Records, get, key_pair_record::KeyPairRecord,
    record::Nothing,
};
use crate::{Instance, KeyPair, LauncherError, Result, tag};

/// What can bear tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taggable {
    Instance(InstanceId),
    KeyPair(KeyPairId),
}

impl Records {
    /// Changes the tags of all the account's resources, or of none.
    pub(crate) async fn tag(
        &self,
        account: String,
        resources: Vec<Taggable>,
        change: tag::Change,
        asked: Asked,
    ) -> Result<()> {
        self.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                for resource in resources {
                    match resource {
                        Taggable::Instance(id) => {
                            let mut instance = owned(tx, id, &account)?;
                            change.apply(&mut instance.tags).map_err(TxError::Refused)?;
                            INSTANCES.put(tx, &id, &(&instance).into())?;
                        }
                        Taggable::KeyPair(id) => {
                            let mut pair = key_pair(tx, id, &account)?;
                            change.apply(&mut pair.tags).map_err(TxError::Refused)?;
                            let key = (account.clone(), pair.name.as_str().to_owned());
                            KEY_PAIRS.put(tx, &key, &KeyPairRecord::from(&pair))?;
                        }
                    }
                }
                Ok::<_, TxError<LauncherError>>(Nothing {})
            })?;
            Ok(())
        })
        .await
    }
}

fn owned(tx: &Tx<'_>, id: InstanceId, account: &str) -> Body<Instance> {
    let found = get(tx, id)?.filter(|i| i.account == account);
    found.ok_or_else(|| TxError::Refused(LauncherError::NoSuchInstance { id: id.to_string() }))
}

fn key_pair(tx: &Tx<'_>, id: KeyPairId, account: &str) -> Body<KeyPair> {
    let found = super::key_pairs::by_id(tx, account, id)?;
    found.ok_or_else(|| TxError::Refused(LauncherError::NoSuchKeyPair { name: id.to_string() }))
}
