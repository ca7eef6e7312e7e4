//! What only our own services may ask.

use tonic::{Request, Status};
use vmint_api::permissions::v1 as pb;
use vmint_api::permissions::v1::permissions_internal_service_server::PermissionsInternalService;
use vmint_rpc::to_status;

use super::{Answer, convert, keys};
use crate::{AccessKeyId, Permissions, PermissionsError, Result};

/// Serves a [`Permissions`] to the gateway.
#[derive(Debug, Clone)]
pub struct Internal {
    permissions: Permissions,
}

impl Internal {
    #[must_use]
    pub fn new(permissions: Permissions) -> Self {
        Self { permissions }
    }
}

fn answer<T>(result: Result<T>) -> std::result::Result<tonic::Response<T>, Status> {
    result.map(tonic::Response::new).map_err(|e: PermissionsError| to_status(&e))
}

#[tonic::async_trait]
impl PermissionsInternalService for Internal {
    async fn bootstrap(
        &self,
        request: Request<pb::BootstrapRequest>,
    ) -> Answer<pb::BootstrapResponse> {
        let first = convert::first(request.into_inner()).map_err(|e| to_status(&e))?;
        let made = self.permissions.bootstrap(first).await;
        answer(made.map(|made| pb::BootstrapResponse {
            accounts: made.into_iter().map(Into::into).collect(),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Answer<pb::AuthenticateResponse> {
        let found = self.permissions.authenticate(&request.get_ref().token);
        answer(found.map(|(session, account)| pb::AuthenticateResponse {
            session: Some(session.into()),
            account: Some(account.into()),
        }))
    }

    async fn get_signing_key(
        &self,
        request: Request<pb::GetSigningKeyRequest>,
    ) -> Answer<pb::GetSigningKeyResponse> {
        let work = || {
            let (id, scope) = keys::scope(request.get_ref())?;
            let (signing_key, key, account) = self.permissions.signing_key(&id, &scope)?;
            Ok(pb::GetSigningKeyResponse {
                signing_key: signing_key.as_bytes().to_vec().into(),
                access_key: Some(key.into()),
                account: Some(account.into()),
            })
        };
        answer(work())
    }

    async fn record_access_key_use(
        &self,
        request: Request<pb::RecordAccessKeyUseRequest>,
    ) -> Answer<pb::RecordAccessKeyUseResponse> {
        let request = request.into_inner();
        let work = async {
            let id = AccessKeyId::parse(&request.access_key_id)?;
            self.permissions.record_access_key_use(id, &request.service).await
        };
        answer(work.await.map(|()| pb::RecordAccessKeyUseResponse {}))
    }

    async fn ensure_image_owner(
        &self,
        request: Request<pb::EnsureImageOwnerRequest>,
    ) -> Answer<pb::EnsureImageOwnerResponse> {
        let request = request.into_inner();
        let work = async {
            let step = convert::step(request.saga)?;
            let image = convert::image(&request.image_id)?;
            let account = convert::account_id("account_id", &request.account_id)?;
            self.permissions.ensure_image_owner(step, image, account).await
        };
        answer(work.await.map(|revision| pb::EnsureImageOwnerResponse { revision }))
    }

    async fn release_image_owner(
        &self,
        request: Request<pb::ReleaseImageOwnerRequest>,
    ) -> Answer<pb::ReleaseImageOwnerResponse> {
        let request = request.into_inner();
        let work = async {
            let step = convert::step(request.saga)?;
            let image = convert::image(&request.image_id)?;
            self.permissions.release_image_owner(step, image).await
        };
        answer(work.await.map(|revision| pb::ReleaseImageOwnerResponse { revision }))
    }

    async fn ensure_launch_permission(
        &self,
        request: Request<pb::EnsureLaunchPermissionRequest>,
    ) -> Answer<pb::EnsureLaunchPermissionResponse> {
        let request = request.into_inner();
        let work = async {
            let (step, image, owner, change) = convert::change(request)?;
            self.permissions.ensure_launch_permission(step, image, owner, change).await
        };
        answer(work.await.map(|shared| pb::EnsureLaunchPermissionResponse {
            public: shared.sharing.public,
            account_ids: convert::texts(&shared.sharing.accounts),
            revision: shared.revision,
        }))
    }

    async fn batch_check(
        &self,
        request: Request<pb::BatchCheckRequest>,
    ) -> Answer<pb::BatchCheckResponse> {
        let request = request.into_inner();
        let work = || {
            let (account, action, images) = convert::questions(&request)?;
            let found = self.permissions.check(account, action, &images)?;
            Ok(convert::answers(request.image_ids, &found))
        };
        answer(work())
    }
}
