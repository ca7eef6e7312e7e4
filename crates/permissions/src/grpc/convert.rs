//! Between messages and the service's own types.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use vmint_api::permissions::v1 as pb;
use vmint_api::types::v1::SagaStep;
use vmint_ids::{AccountId, ImageId, SessionId};
use vmint_rpc::{Caller, PageToken};
use vmint_store::Asked;

use super::keys;
use crate::{
    Account, Action, Answer, Change, First, FirstAccount, Made, Name, NewAccount, NewSession,
    Organization, PermissionsError as E, Result, Session, Step, Token,
};

/// The account that asks.
pub(super) fn account(caller: &Caller) -> Result<AccountId> {
    account_id("account_id", &caller.account)
}

pub(super) fn account_id(field: &'static str, text: &str) -> Result<AccountId> {
    text.parse().map_err(|e: vmint_ids::ParseAccountError| E::field(field, invalid(&e)))
}

pub(super) fn image(text: &str) -> Result<ImageId> {
    text.parse().map_err(|_| E::field("image_id", "must be `ami-` and 17 hexadecimal digits"))
}

pub(super) fn step(saga: Option<SagaStep>) -> Result<Step> {
    let saga = saga.ok_or_else(|| E::field("saga", "must be set"))?;
    Ok(Step { epoch: saga.epoch })
}

pub(super) fn texts(accounts: &BTreeSet<AccountId>) -> Vec<String> {
    accounts.iter().map(ToString::to_string).collect()
}

pub(super) fn new_organization(
    caller: &Caller,
    request: &pb::CreateOrganizationRequest,
) -> Result<(Name, Asked)> {
    let asked = asked(caller, "CreateOrganization", request, &request.request_id)?;
    Ok((Name::parse(&request.name)?, asked))
}

pub(super) fn new_account(
    caller: &Caller,
    request: pb::CreateAccountRequest,
) -> Result<NewAccount> {
    let asked = asked(caller, "CreateAccount", &request, &request.request_id)?;
    Ok(NewAccount {
        name: Name::parse(&request.name)?,
        organization: (!request.organization_id.is_empty()).then_some(request.organization_id),
        id: optional("account_id", &request.account_id)?,
        asked,
    })
}

pub(super) fn new_session(
    caller: &Caller,
    request: pb::CreateSessionRequest,
) -> Result<NewSession> {
    let asked = asked(caller, "CreateSession", &request, &request.request_id)?;
    let own = account(caller)?;
    let wanted = optional("account_id", &request.account_id)?.unwrap_or(own);
    if wanted != own && !caller.is_operator() {
        return Err(E::OperatorOnly { what: "make sessions for other accounts" });
    }
    let life = request.time_to_live.map(|life| {
        Duration::try_from(life).map_err(|_| E::field("time_to_live", "must not be negative"))
    });
    let principal =
        if request.principal.is_empty() { caller.principal.clone() } else { request.principal };
    let read_only = request.read_only;
    let (life, made_by) = (life.transpose()?, caller.session.clone());
    Ok(NewSession { account: wanted, principal, read_only, life, made_by, asked })
}

/// Which session to end, and whose it must be.
pub(super) fn revocation(
    caller: &Caller,
    request: &pb::RevokeSessionRequest,
) -> Result<(SessionId, Option<AccountId>)> {
    let id = request.session_id.parse();
    let id = id.map_err(|_| E::field("session_id", "must be `ses-` and 17 hexadecimal digits"))?;
    let of = if caller.is_operator() { None } else { Some(account(caller)?) };
    Ok((id, of))
}

pub(super) fn first(request: pb::BootstrapRequest) -> Result<First> {
    let accounts = request.accounts.into_iter().map(|wanted| {
        Ok(FirstAccount {
            name: Name::parse(&wanted.name)?,
            id: optional("accounts.account_id", &wanted.account_id)?,
            operator: wanted.operator,
            access_keys: keys::first(&wanted.access_keys)?,
            token: (!wanted.token.is_empty()).then(|| Token::chosen(&wanted.token)).transpose()?,
        })
    });
    let accounts = accounts.collect::<Result<_>>()?;
    Ok(First { organization: Name::parse(&request.organization_name)?, accounts })
}

pub(super) fn change(
    request: pb::EnsureLaunchPermissionRequest,
) -> Result<(Step, ImageId, AccountId, Change)> {
    let ids = |field: &'static str, texts: &[String]| {
        // Twice the limit lets every grant be replaced in one go.
        if texts.len() > 2 * crate::MAX_GRANTS {
            return Err(E::field(field, "may have 2000 entries at most"));
        }
        texts.iter().map(|text| account_id(field, text)).collect::<Result<_>>()
    };
    let change = Change {
        add: ids("add_account_ids", &request.add_account_ids)?,
        remove: ids("remove_account_ids", &request.remove_account_ids)?,
        reset: request.reset,
        add_public: request.add_public,
        remove_public: request.remove_public,
    };
    let owner = account_id("account_id", &request.account_id)?;
    Ok((step(request.saga)?, image(&request.image_id)?, owner, change))
}

pub(super) fn questions(
    request: &pb::BatchCheckRequest,
) -> Result<(AccountId, Action, Vec<Option<ImageId>>)> {
    let action = match request.action() {
        pb::ImageAction::Describe => Action::Describe,
        pb::ImageAction::Launch => Action::Launch,
        pb::ImageAction::Manage => Action::Manage,
        pb::ImageAction::Unspecified => return Err(E::field("action", "must be set")),
    };
    if request.image_ids.len() > 1000 {
        return Err(E::field("image_ids", "may have 1000 entries at most"));
    }
    let images = request.image_ids.iter().map(|id| id.parse().ok()).collect();
    Ok((account_id("account_id", &request.account_id)?, action, images))
}

pub(super) fn answers(ids: Vec<String>, answer: &Answer) -> pb::BatchCheckResponse {
    let results = ids.into_iter().zip(&answer.decisions).map(|(image_id, decision)| {
        let owner_id = decision.owner.map(|o| o.to_string()).unwrap_or_default();
        let (allowed, visible, public) = (decision.allowed, decision.visible, decision.public);
        pb::CheckResult { image_id, allowed, visible, public, owner_id }
    });
    pb::BatchCheckResponse { results: results.collect(), revision: answer.revision }
}

/// A listing as it was asked for: bound to the account and to what it lists.
#[derive(Debug)]
pub(super) struct Listing {
    account: String,
    kind: pb::GetLaunchPermissionRequest,
    size: usize,
    after: Option<Vec<u8>>,
}

impl Listing {
    pub(super) fn accounts(request: &pb::ListAccountsRequest, account: &str) -> Result<Self> {
        Self::read("accounts", request.page_size, &request.page_token, account)
    }

    pub(super) fn sessions(request: &pb::ListSessionsRequest, account: &str) -> Result<Self> {
        Self::read("sessions", request.page_size, &request.page_token, account)
    }

    pub(super) fn access_keys(request: &pb::ListAccessKeysRequest, account: &str) -> Result<Self> {
        Self::read("access keys", request.page_size, &request.page_token, account)
    }

    fn read(what: &str, size: i32, token: &str, account: &str) -> Result<Self> {
        // None of the requests has anything but its paging; any message that names
        // the listing keeps their tokens apart.
        let kind = pb::GetLaunchPermissionRequest { image_id: what.to_owned() };
        let size = match usize::try_from(size) {
            Ok(0) => 100,
            Ok(size) => size.min(1000),
            Err(_) => return Err(E::field("page_size", "must not be negative")),
        };
        let after = PageToken::read(token, &kind, account)?;
        Ok(Self { account: account.to_owned(), kind, size, after })
    }

    pub(super) fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn token(&self, next: Option<&[u8]>) -> String {
        next.map(|key| PageToken::new(key, &self.kind, &self.account).to_text()).unwrap_or_default()
    }
}

/// Under what id a mutation was asked; may be empty.
pub(super) fn asked(
    caller: &Caller,
    method: &str,
    request: &impl Message,
    request_id: &str,
) -> Result<Asked> {
    if request_id.len() > 64 || !request_id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(E::field("request_id", "must be at most 64 visible ASCII characters"));
    }
    Ok(Asked {
        account: caller.account.clone(),
        method: method.to_owned(),
        request_id: request_id.to_owned(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
    })
}

pub(super) fn optional(field: &'static str, text: &str) -> Result<Option<AccountId>> {
    (!text.is_empty()).then(|| account_id(field, text)).transpose()
}

fn invalid(error: &dyn std::error::Error) -> String {
    format!("cannot be used: {error}")
}

pub(super) fn timestamp(ms: u64) -> prost_types::Timestamp {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds, nanos }
}

impl From<Organization> for pb::Organization {
    fn from(organization: Organization) -> Self {
        Self {
            organization_id: organization.id,
            name: organization.name.as_str().to_owned(),
            create_time: Some(timestamp(organization.created_ms)),
        }
    }
}

impl From<Account> for pb::Account {
    fn from(account: Account) -> Self {
        Self {
            account_id: account.id.to_string(),
            name: account.name.as_str().to_owned(),
            organization_id: account.organization,
            operator: account.operator,
            create_time: Some(timestamp(account.created_ms)),
        }
    }
}

impl From<Session> for pb::Session {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id.to_string(),
            account_id: session.account.to_string(),
            principal: session.principal,
            read_only: session.read_only,
            create_time: Some(timestamp(session.created_ms)),
            expire_time: Some(timestamp(session.expires_ms)),
        }
    }
}

impl From<Made> for pb::BootstrappedAccount {
    fn from(made: Made) -> Self {
        let token = made.token.map(|t| t.reveal().to_owned()).unwrap_or_default();
        Self { account: Some(made.account.into()), token }
    }
}
