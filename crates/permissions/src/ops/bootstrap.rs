use vmint_ids::{AccountId, SessionId};

use crate::{
    AccessKey, AccessKeyId, Account, Name, Organization, Permissions, PermissionsError, Result,
    Secret, Session, Token, ops::now_ms, session::BOOTSTRAP_LIFE, store::Wanted,
};

/// What a deployment must have.
#[derive(Debug)]
pub struct First {
    pub organization: Name,
    /// At most 20.
    pub accounts: Vec<FirstAccount>,
}

/// One account that must be there.
#[derive(Debug)]
pub struct FirstAccount {
    pub name: Name,
    /// Drawn if not set.
    pub id: Option<AccountId>,
    pub operator: bool,
    /// Drawn if not set and the account is new.
    pub token: Option<Token>,
    /// At most 10.
    pub access_keys: Vec<(AccessKeyId, Secret)>,
}

/// An account of the deployment, and its token if that was made just now.
#[derive(Debug)]
pub struct Made {
    pub account: Account,
    pub token: Option<Token>,
}

impl Permissions {
    /// Makes what is missing of the first organization, accounts and tokens,
    /// all or nothing.
    ///
    /// An account that is there is found by its name and left as it is; a chosen
    /// token or access key that is not known is given to it. A token that was
    /// revoked stays so, and so does an access key that was deleted.
    pub async fn bootstrap(&self, first: First) -> Result<Vec<Made>> {
        if first.accounts.len() > 20 {
            return Err(PermissionsError::field("accounts", "may have 20 entries at most"));
        }
        if first.accounts.iter().any(|account| account.access_keys.len() > 10) {
            let why = "may have 10 entries at most";
            return Err(PermissionsError::field("accounts.access_keys", why));
        }
        let now = now_ms();
        let organization = Organization {
            id: Organization::fresh_id(),
            name: first.organization,
            created_ms: now,
        };
        let wanted = first.accounts.into_iter().map(|wanted| {
            let account = Account {
                id: wanted.id.unwrap_or_else(AccountId::random),
                name: wanted.name,
                organization: String::new(),
                operator: wanted.operator,
                created_ms: now,
            };
            let session = Session {
                id: SessionId::random(),
                account: account.id,
                principal: "root".to_owned(),
                read_only: false,
                created_ms: now,
                expires_ms: now + u64::try_from(BOOTSTRAP_LIFE.as_millis()).unwrap_or(u64::MAX / 2),
                revoked_ms: None,
            };
            let key = |(id, secret)| {
                let key = AccessKey {
                    id,
                    account: account.id,
                    principal: "root".to_owned(),
                    read_only: false,
                    active: true,
                    created_ms: now,
                    last_used: None,
                };
                (key, secret)
            };
            let keys = wanted.access_keys.into_iter().map(key).collect();
            let access_keys = self.access_keys.first(keys);
            let (chosen, token) = (wanted.id.is_some(), wanted.token);
            Wanted { account, chosen, token, session, access_keys }
        });
        let made = self.accounts.bootstrap(organization, wanted.collect()).await?;
        for one in made.iter().filter(|one| one.token.is_some()) {
            tracing::info!(account = %one.account.id, name = one.account.name.as_str(), "made");
        }
        Ok(made)
    }
}
