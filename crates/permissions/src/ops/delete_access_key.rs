use vmint_ids::AccountId;

use crate::{AccessKeyId, Permissions, Result};

impl Permissions {
    /// Destroys an access key and its secret.
    ///
    /// `of`: whose key it must be; none for the operator.
    pub async fn delete_access_key(&self, id: AccessKeyId, of: Option<AccountId>) -> Result<()> {
        tracing::info!(key = %id, "access key is to go");
        self.access_keys.delete(id, of).await
    }
}
