//! The service over gRPC: read the request, call one verb, write the answer.

mod convert;
mod internal;
mod keys;
mod snapshots;

use tonic::{Request, Response, Status};
use vmint_api::permissions::v1 as pb;
use vmint_api::permissions::v1::permissions_service_server::PermissionsService;
use vmint_rpc::{Caller, to_status};

use crate::{Permissions, PermissionsError as E, ops::Page};
use convert::Listing;

pub use internal::Internal;
pub use snapshots::Snapshots;

/// Serves a [`Permissions`] to users, behind the gateway.
#[derive(Debug, Clone)]
pub struct Grpc {
    permissions: Permissions,
}

impl Grpc {
    #[must_use]
    pub fn new(permissions: Permissions) -> Self {
        Self { permissions }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// That the operator asks; the guard has seen to it before, by the policy.
fn operator(caller: &Caller, what: &'static str) -> Result<(), Status> {
    if caller.is_operator() {
        return Ok(());
    }
    Err(to_status(&E::OperatorOnly { what }))
}

#[tonic::async_trait]
impl PermissionsService for Grpc {
    async fn get_caller_identity(
        &self,
        request: Request<pb::GetCallerIdentityRequest>,
    ) -> Answer<pb::GetCallerIdentityResponse> {
        let caller = Caller::of_account(&request)?;
        let answer = || {
            let account = self.permissions.account(convert::account(caller)?)?;
            let read_only = self.permissions.is_read_only(&caller.session)?;
            let account = Some(account.into());
            let principal = caller.principal.clone();
            Ok(pb::GetCallerIdentityResponse { account, principal, read_only })
        };
        answer().map(Response::new).map_err(|e: E| to_status(&e))
    }

    async fn create_organization(
        &self,
        request: Request<pb::CreateOrganizationRequest>,
    ) -> Answer<pb::CreateOrganizationResponse> {
        operator(Caller::of_account(&request)?, "make organizations")?;
        let caller = Caller::of_account(&request)?.clone();
        let (name, asked) =
            convert::new_organization(&caller, &request.into_inner()).map_err(|e| to_status(&e))?;
        let made = self.permissions.create_organization(name, asked).await;
        let organization = Some(made.map_err(|e| to_status(&e))?.into());
        Ok(Response::new(pb::CreateOrganizationResponse { organization }))
    }

    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Answer<pb::CreateAccountResponse> {
        operator(Caller::of_account(&request)?, "make accounts")?;
        let caller = Caller::of_account(&request)?.clone();
        let new = convert::new_account(&caller, request.into_inner()).map_err(|e| to_status(&e))?;
        let made = self.permissions.create_account(new).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(pb::CreateAccountResponse { account: Some(made.into()) }))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Answer<pb::ListAccountsResponse> {
        let caller = Caller::of_account(&request)?;
        let answer = || {
            let asked = request.get_ref();
            let listing = Listing::accounts(asked, &caller.account)?;
            let page = if caller.is_operator() {
                self.permissions.list_accounts(listing.after(), listing.size())?
            } else {
                let own = self.permissions.account(convert::account(caller)?)?;
                Page { items: vec![own], next: None }
            };
            let next_page_token = listing.token(page.next.as_deref());
            let accounts = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListAccountsResponse { accounts, next_page_token })
        };
        answer().map(Response::new).map_err(|e: E| to_status(&e))
    }

    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Answer<pb::CreateSessionResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let new = convert::new_session(&caller, request.into_inner()).map_err(|e| to_status(&e))?;
        let (session, token) =
            self.permissions.create_session(new).await.map_err(|e| to_status(&e))?;
        let token = token.map(|t| t.reveal().to_owned()).unwrap_or_default();
        Ok(Response::new(pb::CreateSessionResponse { session: Some(session.into()), token }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Answer<pb::ListSessionsResponse> {
        let caller = Caller::of_account(&request)?;
        let answer = || {
            let listing = Listing::sessions(request.get_ref(), &caller.account)?;
            let account = convert::account(caller)?;
            let page = self.permissions.list_sessions(account, listing.after(), listing.size())?;
            let next_page_token = listing.token(page.next.as_deref());
            let sessions = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListSessionsResponse { sessions, next_page_token })
        };
        answer().map(Response::new).map_err(|e: E| to_status(&e))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Answer<pb::RevokeSessionResponse> {
        let caller = Caller::of_account(&request)?;
        // Revoking twice is as good as once, so the request id need not be kept.
        let (id, of) = convert::revocation(caller, request.get_ref()).map_err(|e| to_status(&e))?;
        self.permissions.revoke_session(id, of).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(pb::RevokeSessionResponse {}))
    }

    async fn create_access_key(
        &self,
        request: Request<pb::CreateAccessKeyRequest>,
    ) -> Answer<pb::CreateAccessKeyResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let new = keys::new(&caller, request.into_inner()).map_err(|e| to_status(&e))?;
        let (key, secret) =
            self.permissions.create_access_key(new).await.map_err(|e| to_status(&e))?;
        let secret_access_key = secret.map(|s| s.reveal().to_owned()).unwrap_or_default();
        let access_key = Some(key.into());
        Ok(Response::new(pb::CreateAccessKeyResponse { access_key, secret_access_key }))
    }

    async fn list_access_keys(
        &self,
        request: Request<pb::ListAccessKeysRequest>,
    ) -> Answer<pb::ListAccessKeysResponse> {
        let caller = Caller::of_account(&request)?;
        let answer = || {
            let listing = Listing::access_keys(request.get_ref(), &caller.account)?;
            let (account, size) = (convert::account(caller)?, listing.size());
            let page = self.permissions.list_access_keys(account, listing.after(), size)?;
            let next_page_token = listing.token(page.next.as_deref());
            let access_keys = page.items.into_iter().map(Into::into).collect();
            Ok(pb::ListAccessKeysResponse { access_keys, next_page_token })
        };
        answer().map(Response::new).map_err(|e: E| to_status(&e))
    }

    async fn update_access_key(
        &self,
        request: Request<pb::UpdateAccessKeyRequest>,
    ) -> Answer<pb::UpdateAccessKeyResponse> {
        let caller = Caller::of_account(&request)?;
        // As often as it is asked, it ends where it should.
        let (id, of, active) =
            keys::change(caller, request.get_ref()).map_err(|e| to_status(&e))?;
        let key = self.permissions.update_access_key(id, of, active).await;
        let access_key = Some(key.map_err(|e| to_status(&e))?.into());
        Ok(Response::new(pb::UpdateAccessKeyResponse { access_key }))
    }

    async fn delete_access_key(
        &self,
        request: Request<pb::DeleteAccessKeyRequest>,
    ) -> Answer<pb::DeleteAccessKeyResponse> {
        let caller = Caller::of_account(&request)?;
        let (id, of) = keys::deletion(caller, request.get_ref()).map_err(|e| to_status(&e))?;
        self.permissions.delete_access_key(id, of).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(pb::DeleteAccessKeyResponse {}))
    }

    async fn get_launch_permission(
        &self,
        request: Request<pb::GetLaunchPermissionRequest>,
    ) -> Answer<pb::GetLaunchPermissionResponse> {
        let caller = Caller::of_account(&request)?;
        let answer = || {
            let image = convert::image(&request.get_ref().image_id)?;
            let shared = self.permissions.launch_permission(image, convert::account(caller)?)?;
            Ok(pb::GetLaunchPermissionResponse {
                public: shared.sharing.public,
                account_ids: convert::texts(&shared.sharing.accounts),
                revision: shared.revision,
            })
        };
        answer().map(Response::new).map_err(|e: E| to_status(&e))
    }
}
