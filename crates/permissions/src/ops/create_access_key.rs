use vmint_ids::AccountId;
use vmint_store::Asked;

use crate::{
    AccessKey, AccessKeyId, Permissions, Result, Secret, ops::now_ms, session::check_principal,
};

/// The access key to make.
#[derive(Debug)]
pub struct NewAccessKey {
    pub account: AccountId,
    /// 1 to 64 visible ASCII characters.
    pub principal: String,
    pub read_only: bool,
    /// None: drawn.
    pub id: Option<AccessKeyId>,
    /// None: drawn.
    pub secret: Option<Secret>,
    /// The session or access key that makes it; the key may do no more.
    pub made_by: String,
    pub asked: Asked,
}

impl Permissions {
    /// Makes an access key and its secret. Asked again, the same key comes
    /// without its secret: that is shown once.
    pub async fn create_access_key(
        &self,
        new: NewAccessKey,
    ) -> Result<(AccessKey, Option<Secret>)> {
        check_principal(&new.principal)?;
        let read_only = new.read_only || self.is_read_only(&new.made_by)?;
        let secret = new.secret.unwrap_or_else(Secret::random);
        let key = AccessKey {
            id: new.id.unwrap_or_else(AccessKeyId::random),
            account: new.account,
            principal: new.principal,
            read_only,
            active: true,
            created_ms: now_ms(),
            last_used: None,
        };
        let made = self.access_keys.insert((key.clone(), secret.clone()), new.asked).await?;
        let secret = (made == key).then_some(secret);
        tracing::info!(key = %made.id, account = %made.account, "access key made");
        Ok((made, secret))
    }
}
