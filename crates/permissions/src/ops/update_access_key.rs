use vmint_ids::AccountId;

use crate::{AccessKey, AccessKeyId, Permissions, Result};

impl Permissions {
    /// Lets an access key's signatures count, or not any more.
    ///
    /// `of`: whose key it must be; none for the operator.
    pub async fn update_access_key(
        &self,
        id: AccessKeyId,
        of: Option<AccountId>,
        active: bool,
    ) -> Result<AccessKey> {
        let key = self.access_keys.set_active(id, of, active).await?;
        tracing::info!(key = %key.id, active, "access key changed");
        Ok(key)
    }
}
