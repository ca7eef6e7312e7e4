//! Records as they lie on disk. Fields are only ever added.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, SessionId};

use crate::{
    AccessKey, AccessKeyId, Account, Name, Organization, PermissionsError, Result, Session,
    Sharing, Use,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NumberRecord {
    #[prost(uint64, tag = "1")]
    pub(super) value: u64,
}

/// The first organization, once there is one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FirstRecord {
    #[prost(string, tag = "1")]
    pub(super) organization: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrganizationRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(uint64, tag = "3")]
    pub(super) created_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AccountRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) organization: String,
    #[prost(bool, tag = "4")]
    pub(super) operator: bool,
    #[prost(uint64, tag = "5")]
    pub(super) created_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SessionRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) account: String,
    #[prost(string, tag = "3")]
    pub(super) principal: String,
    #[prost(bool, tag = "4")]
    pub(super) read_only: bool,
    #[prost(uint64, tag = "5")]
    pub(super) created_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(super) expires_ms: u64,
    #[prost(uint64, optional, tag = "7")]
    pub(super) revoked_ms: Option<u64>,
    /// Of the token; the token itself is nowhere.
    #[prost(bytes = "vec", tag = "8")]
    pub(super) digest: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own on disk")]
pub(crate) struct AccessKeyRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) account: String,
    #[prost(string, tag = "3")]
    pub(super) principal: String,
    #[prost(bool, tag = "4")]
    pub(super) read_only: bool,
    #[prost(bool, tag = "5")]
    pub(super) active: bool,
    #[prost(uint64, tag = "6")]
    pub(super) created_ms: u64,
    /// Of the secret: a nonce and what is sealed. Empty once deleted.
    #[prost(bytes = "vec", tag = "7")]
    pub(super) wrapped: Vec<u8>,
    #[prost(uint64, optional, tag = "8")]
    pub(super) last_used_ms: Option<u64>,
    #[prost(string, tag = "9")]
    pub(super) last_used_service: String,
    /// Made by the first start.
    #[prost(bool, tag = "10")]
    pub(super) first: bool,
    #[prost(bool, tag = "11")]
    pub(super) deleted: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SharingRecord {
    #[prost(string, tag = "1")]
    pub(super) owner: String,
    #[prost(bool, tag = "2")]
    pub(super) public: bool,
    /// Accounts as numbers: a thousand of them stay well under a page or two.
    #[prost(fixed64, repeated, tag = "3")]
    pub(super) accounts: Vec<u64>,
}

impl From<&Organization> for OrganizationRecord {
    fn from(it: &Organization) -> Self {
        let name = it.name.as_str().to_owned();
        Self { id: it.id.clone(), name, created_ms: it.created_ms }
    }
}

impl TryFrom<OrganizationRecord> for Organization {
    type Error = PermissionsError;

    fn try_from(it: OrganizationRecord) -> Result<Self> {
        let name = Name::parse(&it.name).map_err(|_| damaged("organization"))?;
        Ok(Self { id: it.id, name, created_ms: it.created_ms })
    }
}

impl From<&Account> for AccountRecord {
    fn from(it: &Account) -> Self {
        Self {
            id: it.id.to_string(),
            name: it.name.as_str().to_owned(),
            organization: it.organization.clone(),
            operator: it.operator,
            created_ms: it.created_ms,
        }
    }
}

impl TryFrom<AccountRecord> for Account {
    type Error = PermissionsError;

    fn try_from(it: AccountRecord) -> Result<Self> {
        Ok(Self {
            id: account(&it.id, "account")?,
            name: Name::parse(&it.name).map_err(|_| damaged("account"))?,
            organization: it.organization,
            operator: it.operator,
            created_ms: it.created_ms,
        })
    }
}

impl SessionRecord {
    pub(super) fn new(it: &Session, digest: [u8; 32]) -> Self {
        Self {
            id: it.id.to_string(),
            account: it.account.to_string(),
            principal: it.principal.clone(),
            read_only: it.read_only,
            created_ms: it.created_ms,
            expires_ms: it.expires_ms,
            revoked_ms: it.revoked_ms,
            digest: digest.to_vec(),
        }
    }
}

impl TryFrom<SessionRecord> for Session {
    type Error = PermissionsError;

    fn try_from(it: SessionRecord) -> Result<Self> {
        Ok(Self {
            id: it.id.parse::<SessionId>().map_err(|_| damaged("session"))?,
            account: account(&it.account, "session")?,
            principal: it.principal,
            read_only: it.read_only,
            created_ms: it.created_ms,
            expires_ms: it.expires_ms,
            revoked_ms: it.revoked_ms,
        })
    }
}

impl AccessKeyRecord {
    pub(super) fn new(it: &AccessKey, wrapped: Vec<u8>) -> Self {
        Self {
            id: it.id.to_string(),
            account: it.account.to_string(),
            principal: it.principal.clone(),
            read_only: it.read_only,
            active: it.active,
            created_ms: it.created_ms,
            wrapped,
            ..Self::default()
        }
    }

    /// Gives it to an account.
    pub(super) fn of(self, account: AccountId) -> Self {
        Self { account: account.to_string(), ..self }
    }
}

impl TryFrom<AccessKeyRecord> for AccessKey {
    type Error = PermissionsError;

    fn try_from(it: AccessKeyRecord) -> Result<Self> {
        let service = it.last_used_service;
        Ok(Self {
            id: AccessKeyId::parse(&it.id).map_err(|_| damaged("access key"))?,
            account: account(&it.account, "access key")?,
            principal: it.principal,
            read_only: it.read_only,
            active: it.active,
            created_ms: it.created_ms,
            last_used: it.last_used_ms.map(|ms| Use { ms, service }),
        })
    }
}

impl From<&Sharing> for SharingRecord {
    fn from(it: &Sharing) -> Self {
        // Twelve digits always fit.
        let number = |a: &AccountId| a.to_string().parse().unwrap_or_default();
        let accounts = it.accounts.iter().map(number).collect();
        Self { owner: it.owner.to_string(), public: it.public, accounts }
    }
}

impl TryFrom<SharingRecord> for Sharing {
    type Error = PermissionsError;

    fn try_from(it: SharingRecord) -> Result<Self> {
        let accounts = it.accounts.iter().map(|n| account(&format!("{n:012}"), "sharing"));
        let accounts = accounts.collect::<Result<BTreeSet<_>>>()?;
        Ok(Self { owner: account(&it.owner, "sharing")?, public: it.public, accounts })
    }
}

fn account(text: &str, what: &'static str) -> Result<AccountId> {
    text.parse().map_err(|_| damaged(what))
}

pub(super) fn damaged(what: &'static str) -> PermissionsError {
    PermissionsError::Damaged { what }
}
