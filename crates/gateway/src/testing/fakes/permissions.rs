use tonic::{Request, Response, Status};
use vmint_api::permissions::v1::{
    self as permissions, permissions_internal_service_server::PermissionsInternalService,
    permissions_service_server::PermissionsService,
};
use vmint_ec2::sigv4::{Scope, SigningKey};
use vmint_rpc::Kind;

use super::{Fake, fake, once};
use crate::testing::world::refuse;

/// The secret of an access key.
pub(crate) fn secret_of(key_id: &str) -> String {
    format!("secret-of-{key_id}")
}

fake! {
    PermissionsInternalService, permissions, "permissions", "permissions-internal";
    bootstrap("Bootstrap" BootstrapRequest) -> BootstrapResponse |_world, caller, _request| {
        Err(Status::unimplemented("not here"))
    }
    authenticate("Authenticate" AuthenticateRequest) -> AuthenticateResponse
    |world, caller, request| {
        world.authenticated += 1;
        let (account, operator, read_only) = world
            .tokens
            .get(&request.token)
            .cloned()
            .ok_or_else(|| refuse(Kind::NotSignedIn, "TOKEN_INVALID", "permissions.vmint"))?;
        let session = permissions::Session {
            session_id: "ses-00000000000000001".to_owned(),
            account_id: account.clone(),
            principal: "me".to_owned(),
            read_only,
            ..permissions::Session::default()
        };
        let account =
            permissions::Account { account_id: account, operator, ..Default::default() };
        Ok(permissions::AuthenticateResponse { session: Some(session), account: Some(account) })
    }
    get_signing_key("GetSigningKey" GetSigningKeyRequest) -> GetSigningKeyResponse
    |world, caller, request| {
        let missing = || refuse(Kind::NotFound, "ACCESS_KEY_NOT_FOUND", "permissions.vmint");
        // Here a token's name is a key's id too.
        let (account, operator, read_only) =
            world.tokens.get(&request.access_key_id).cloned().ok_or_else(missing)?;
        let scope = Scope {
            date: request.date,
            region: request.region,
            service: request.service,
        };
        let signing_key = SigningKey::derive(&secret_of(&request.access_key_id), &scope);
        let access_key = permissions::AccessKey {
            access_key_id: request.access_key_id,
            account_id: account.clone(),
            principal: "me".to_owned(),
            read_only,
            ..Default::default()
        };
        let account =
            permissions::Account { account_id: account, operator, ..Default::default() };
        Ok(permissions::GetSigningKeyResponse {
            signing_key: signing_key.to_bytes().to_vec().into(),
            access_key: Some(access_key),
            account: Some(account),
        })
    }
    record_access_key_use("RecordAccessKeyUse" RecordAccessKeyUseRequest)
        -> RecordAccessKeyUseResponse
    |_world, caller, _request| { Ok(permissions::RecordAccessKeyUseResponse::default()) }
    ensure_image_owner("EnsureImageOwner" EnsureImageOwnerRequest) -> EnsureImageOwnerResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        world.owners.insert(request.image_id, request.account_id);
        Ok(permissions::EnsureImageOwnerResponse { revision: 1 })
    }
    release_image_owner("ReleaseImageOwner" ReleaseImageOwnerRequest) -> ReleaseImageOwnerResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        world.owners.remove(&request.image_id);
        world.grants.retain(|(image, _)| *image != request.image_id);
        Ok(permissions::ReleaseImageOwnerResponse { revision: 2 })
    }
    ensure_launch_permission("EnsureLaunchPermission" EnsureLaunchPermissionRequest)
        -> EnsureLaunchPermissionResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        let id = &request.image_id;
        if request.reset {
            world.grants.retain(|(image, _)| image != id);
            world.public.remove(id);
        }
        for account in request.add_account_ids {
            world.grants.insert((id.clone(), account));
        }
        for account in request.remove_account_ids {
            world.grants.remove(&(id.clone(), account));
        }
        let account_ids = world.grants.iter().filter(|(image, _)| image == id);
        let account_ids = account_ids.map(|(_, account)| account.clone()).collect();
        if request.add_public {
            world.public.insert(id.clone());
        }
        if request.remove_public {
            world.public.remove(id);
        }
        let public = world.public.contains(id);
        Ok(permissions::EnsureLaunchPermissionResponse { public, account_ids, revision: 3 })
    }
    batch_check("BatchCheck" BatchCheckRequest) -> BatchCheckResponse |world, caller, request| {
        let action = request.action();
        let results = request.image_ids.iter().map(|id| {
            let owner_id = world.owners.get(id).cloned().unwrap_or_default();
            let owner = owner_id == request.account_id;
            let public = world.public.contains(id);
            let granted = world.grants.contains(&(id.clone(), request.account_id.clone()));
            let visible = owner || public || granted;
            let allowed = if action == permissions::ImageAction::Manage { owner } else { visible };
            permissions::CheckResult { image_id: id.clone(), allowed, visible, public, owner_id }
        });
        Ok(permissions::BatchCheckResponse { results: results.collect(), revision: 1 })
    }
}

fake! {
    PermissionsService, permissions, "permissions", "permissions";
    get_caller_identity("GetCallerIdentity" GetCallerIdentityRequest)
        -> GetCallerIdentityResponse
    |_world, caller, _request| {
        let account =
            permissions::Account { account_id: caller.account, ..Default::default() };
        Ok(permissions::GetCallerIdentityResponse {
            account: Some(account),
            principal: caller.principal,
            read_only: false,
        })
    }
    create_organization("CreateOrganization" CreateOrganizationRequest)
        -> CreateOrganizationResponse
    |_world, caller, _request| { Ok(permissions::CreateOrganizationResponse::default()) }
    create_account("CreateAccount" CreateAccountRequest) -> CreateAccountResponse
    |_world, caller, _request| { Ok(permissions::CreateAccountResponse::default()) }
    list_accounts("ListAccounts" ListAccountsRequest) -> ListAccountsResponse
    |_world, caller, _request| {
        Err(refuse(Kind::BadRequest, "PAGE_TOKEN_INVALID", "permissions.vmint"))
    }
    create_session("CreateSession" CreateSessionRequest) -> CreateSessionResponse
    |_world, caller, _request| { Ok(permissions::CreateSessionResponse::default()) }
    list_sessions("ListSessions" ListSessionsRequest) -> ListSessionsResponse
    |_world, caller, _request| { Ok(permissions::ListSessionsResponse::default()) }
    revoke_session("RevokeSession" RevokeSessionRequest) -> RevokeSessionResponse
    |world, caller, request| {
        // Here a session's id is its token.
        world.tokens.remove(&request.session_id);
        Ok(permissions::RevokeSessionResponse::default())
    }
    create_access_key("CreateAccessKey" CreateAccessKeyRequest) -> CreateAccessKeyResponse
    |_world, caller, _request| { Ok(permissions::CreateAccessKeyResponse::default()) }
    list_access_keys("ListAccessKeys" ListAccessKeysRequest) -> ListAccessKeysResponse
    |_world, caller, _request| { Ok(permissions::ListAccessKeysResponse::default()) }
    update_access_key("UpdateAccessKey" UpdateAccessKeyRequest) -> UpdateAccessKeyResponse
    |world, caller, request| {
        world.tokens.remove(&request.access_key_id);
        Ok(permissions::UpdateAccessKeyResponse::default())
    }
    delete_access_key("DeleteAccessKey" DeleteAccessKeyRequest) -> DeleteAccessKeyResponse
    |_world, caller, _request| { Ok(permissions::DeleteAccessKeyResponse::default()) }
    get_launch_permission("GetLaunchPermission" GetLaunchPermissionRequest)
        -> GetLaunchPermissionResponse
    |_world, caller, _request| { Ok(permissions::GetLaunchPermissionResponse::default()) }
}
