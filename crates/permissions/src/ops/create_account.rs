use vmint_ids::AccountId;
use vmint_store::Asked;

use crate::{Account, Name, Permissions, Result, ops::now_ms};

/// The account to make.
#[derive(Debug)]
pub struct NewAccount {
    pub name: Name,
    /// None: the deployment's first.
    pub organization: Option<String>,
    /// None: drawn.
    pub id: Option<AccountId>,
    pub asked: Asked,
}

impl Permissions {
    /// Makes an account; its name and id must be new.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account> {
        let account = Account {
            id: new.id.unwrap_or_else(AccountId::random),
            name: new.name,
            organization: new.organization.unwrap_or_default(),
            operator: false,
            created_ms: now_ms(),
        };
        let account = self.accounts.insert(account, new.asked).await?;
        tracing::info!(account = %account.id, "account made");
        Ok(account)
    }
}
