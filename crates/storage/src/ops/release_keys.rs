//! All the encryption keys that an account had.

use vmint_ids::{AccountId, KmsKeyId};

use super::{Step, lineage::let_go};
use crate::{
    Result, Storage, StorageError,
    store::{fence, keys},
};

/// Keys that one call destroys.
const AT_ONCE: usize = 20;

impl Storage {
    /// Destroys and forgets some of an account's keys, and what it uses by
    /// default; says whether there may be more. A key that something still
    /// needs, such as another account's volume, stays.
    pub(crate) async fn release_keys(&self, step: Step, account: AccountId) -> Result<bool> {
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                keys::forget_default(tx, account)
            })
            .await?;
        let (mut after, mut gone) = (None, 0);
        loop {
            let page = self.records.keys_of(account, after, 100)?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(last.id);
            for key in page {
                if self.release_key(key.id).await? {
                    gone += 1;
                }
                if gone == AT_ONCE {
                    return Ok(true);
                }
            }
        }
    }

    /// Whether nothing needed it any more.
    async fn release_key(&self, id: KmsKeyId) -> Result<bool> {
        loop {
            let under = self.records.lineages_under(id)?;
            if under.is_empty() {
                break;
            }
            for lineage in &under {
                let lineage = *lineage;
                self.records.commit(move |tx| let_go(tx, [lineage])).await?;
            }
            self.finish_doomed().await?;
            if self.records.lineages_under(id)?.len() == under.len() {
                tracing::warn!(key = %id, lineages = under.len(), "in use; not destroyed");
                return Ok(false);
            }
        }
        let data_keys = self.keys.clone();
        Self::blocking(move || data_keys.provider.destroy(id).map_err(StorageError::Provider))
            .await?;
        self.records.commit(move |tx| keys::remove(tx, id)).await?;
        tracing::info!(key = %id, "destroyed and forgotten");
        Ok(true)
    }
}
