use vmint_ids::{InstanceId, KeyPairId};
use vmint_store::Asked;

use super::Launcher;
use crate::{
    Instance, LauncherError, Result,
    instance::{MAX_USER_DATA, MAX_VOLUMES, check_groups},
    store::{Change, Taggable},
    tag,
};

/// Resources in one call; each is a write.
const MOST: usize = 20;

impl Launcher {
    /// Changes what an instance was launched with; all of it or nothing.
    pub async fn modify(
        &self,
        account: &str,
        text: &str,
        change: Change,
        asked: Asked,
    ) -> Result<Instance> {
        if change.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA) {
            return Err(LauncherError::field("user_data", "is longer than 16 KiB"));
        }
        if change.devices.len() > MAX_VOLUMES {
            return Err(LauncherError::field("devices", "give at most 26"));
        }
        check_groups(&change.security_groups)?;
        let id = self.records.owned(account, text)?.id;
        self.records.modify(id, change, asked).await
    }

    /// What was handed to the guest; empty if nothing was.
    pub fn user_data(&self, account: &str, text: &str) -> Result<Vec<u8>> {
        let id = self.records.owned(account, text)?.id;
        Ok(self.records.user_data(id)?.unwrap_or_default())
    }

    /// Changes the tags of instances and key pairs of the account's, or of none of them.
    pub async fn tag(
        &self,
        account: &str,
        resources: &[String],
        change: tag::Change,
        asked: Asked,
    ) -> Result<()> {
        change.check()?;
        if !(1..=MOST).contains(&resources.len()) {
            return Err(LauncherError::field("resource_ids", "give 1 to 20"));
        }
        let read = |text: &String| match (text.parse(), text.parse::<KeyPairId>()) {
            (Ok(id), _) => Ok(Taggable::Instance(id)),
            (_, Ok(id)) => Ok(Taggable::KeyPair(id)),
            _ => {
                let problem = format!("`{text:.64}` is neither an instance's id nor a key pair's");
                Err(LauncherError::field("resource_ids", problem))
            }
        };
        let mut resources = resources.iter().map(read).collect::<Result<Vec<_>>>()?;
        let key = |taggable: &Taggable| match taggable {
            Taggable::Instance(id) => InstanceId::to_string(id),
            Taggable::KeyPair(id) => id.to_string(),
        };
        resources.sort_by_cached_key(key);
        resources.dedup();
        self.records.tag(account.to_owned(), resources, change, asked).await
    }
}
