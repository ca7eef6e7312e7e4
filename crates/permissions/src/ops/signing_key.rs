use crate::{
    AccessKey, AccessKeyId, Account, Permissions, PermissionsError, Result, Scope, SigningKey,
};

impl Permissions {
    /// What the signatures of `id` within `scope` are checked with, and for
    /// whom they speak. An inactive key reads as one that is not there.
    pub fn signing_key(
        &self,
        id: &AccessKeyId,
        scope: &Scope,
    ) -> Result<(SigningKey, AccessKey, Account)> {
        let missing = || PermissionsError::AccessKeyNotFound { id: id.to_string() };
        let (key, secret) = self.access_keys.open(id)?.ok_or_else(missing)?;
        if !key.active {
            return Err(missing());
        }
        let account = self.account(key.account)?;
        Ok((SigningKey::derive(&secret, scope), key, account))
    }
}
