//! Between messages and access keys.

use vmint_api::permissions::v1 as pb;
use vmint_ids::AccountId;
use vmint_rpc::Caller;

use super::convert::{account, asked, optional, timestamp};
use crate::{
    AccessKey, AccessKeyId, NewAccessKey, PermissionsError as E, Result, Scope, Secret, ops::now_ms,
};

pub(super) fn new(caller: &Caller, request: pb::CreateAccessKeyRequest) -> Result<NewAccessKey> {
    let asked = asked(caller, "CreateAccessKey", &request, &request.request_id)?;
    let own = account(caller)?;
    let wanted = optional("account_id", &request.account_id)?.unwrap_or(own);
    if wanted != own && !caller.is_operator() {
        return Err(E::OperatorOnly { what: "make access keys for other accounts" });
    }
    let (id, secret) = (request.access_key_id, request.secret_access_key);
    let chosen = !id.is_empty() || !secret.is_empty();
    if chosen && !caller.is_operator() {
        return Err(E::OperatorOnly { what: "choose an access key's id or secret" });
    }
    let principal =
        if request.principal.is_empty() { caller.principal.clone() } else { request.principal };
    Ok(NewAccessKey {
        account: wanted,
        principal,
        read_only: request.read_only,
        id: (!id.is_empty()).then(|| AccessKeyId::parse(&id)).transpose()?,
        secret: (!secret.is_empty()).then(|| Secret::chosen(&secret)).transpose()?,
        made_by: caller.session.clone(),
        asked,
    })
}

/// Which key to change, whose it must be, and whether it is to be active.
pub(super) fn change(
    caller: &Caller,
    request: &pb::UpdateAccessKeyRequest,
) -> Result<(AccessKeyId, Option<AccountId>, bool)> {
    let active = match request.status() {
        pb::AccessKeyStatus::Active => true,
        pb::AccessKeyStatus::Inactive => false,
        pb::AccessKeyStatus::Unspecified => {
            return Err(E::field("status", "must be ACTIVE or INACTIVE"));
        }
    };
    Ok((AccessKeyId::parse(&request.access_key_id)?, of(caller)?, active))
}

/// Which key to destroy, and whose it must be.
pub(super) fn deletion(
    caller: &Caller,
    request: &pb::DeleteAccessKeyRequest,
) -> Result<(AccessKeyId, Option<AccountId>)> {
    Ok((AccessKeyId::parse(&request.access_key_id)?, of(caller)?))
}

fn of(caller: &Caller) -> Result<Option<AccountId>> {
    if caller.is_operator() { Ok(None) } else { account(caller).map(Some) }
}

pub(super) fn scope(request: &pb::GetSigningKeyRequest) -> Result<(AccessKeyId, Scope)> {
    // An id of the wrong form is one that is not there.
    let missing = |_| E::AccessKeyNotFound { id: "of that form".to_owned() };
    let id = AccessKeyId::parse(&request.access_key_id).map_err(missing)?;
    let scope = Scope::parse(&request.date, &request.region, &request.service, now_ms())?;
    Ok((id, scope))
}

pub(super) fn first(wanted: &[pb::BootstrapAccessKey]) -> Result<Vec<(AccessKeyId, Secret)>> {
    let one = |key: &pb::BootstrapAccessKey| {
        Ok((AccessKeyId::parse(&key.access_key_id)?, Secret::chosen(&key.secret_access_key)?))
    };
    wanted.iter().map(one).collect()
}

impl From<AccessKey> for pb::AccessKey {
    fn from(key: AccessKey) -> Self {
        let status =
            if key.active { pb::AccessKeyStatus::Active } else { pb::AccessKeyStatus::Inactive };
        Self {
            access_key_id: key.id.to_string(),
            account_id: key.account.to_string(),
            principal: key.principal,
            read_only: key.read_only,
            status: status.into(),
            create_time: Some(timestamp(key.created_ms)),
            last_used_time: key.last_used.as_ref().map(|last| timestamp(last.ms)),
            last_used_service: key.last_used.map(|last| last.service).unwrap_or_default(),
        }
    }
}
