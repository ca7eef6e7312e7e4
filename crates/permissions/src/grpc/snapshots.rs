//! What the gateway asks about snapshots.

use tonic::{Request, Status};
use vmint_api::permissions::v1 as pb;
use vmint_api::permissions::v1::snapshot_internal_service_server::SnapshotInternalService;
use vmint_ids::{AccountId, SnapshotId};
use vmint_rpc::to_status;

use super::{Answer, convert};
use crate::{Change, MAX_GRANTS, Permissions, PermissionsError as E, Result};

/// Of one page.
const MOST: usize = 1000;
/// Of one call; each is a write.
const AT_ONCE: usize = 50;

/// Serves a [`Permissions`] to the gateway, about snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    permissions: Permissions,
}

impl Snapshots {
    #[must_use]
    pub fn new(permissions: Permissions) -> Self {
        Self { permissions }
    }
}

fn answer<T>(result: Result<T>) -> std::result::Result<tonic::Response<T>, Status> {
    result.map(tonic::Response::new).map_err(|e: E| to_status(&e))
}

fn snapshot(text: &str) -> Result<SnapshotId> {
    text.parse().map_err(|_| E::field("snapshot_id", "must be `snap-` and 17 hexadecimal digits"))
}

fn accounts(field: &'static str, texts: &[String]) -> Result<Vec<AccountId>> {
    if texts.len() > MAX_GRANTS {
        return Err(E::field(field, "may have 1000 entries at most"));
    }
    texts.iter().map(|text| convert::account_id(field, text)).collect()
}

#[tonic::async_trait]
impl SnapshotInternalService for Snapshots {
    async fn ensure_volume_permission(
        &self,
        request: Request<pb::EnsureVolumePermissionRequest>,
    ) -> Answer<pb::EnsureVolumePermissionResponse> {
        let request = request.into_inner();
        let work = async {
            let change = Change {
                reset: request.reset,
                add: accounts("add_account_ids", &request.add_account_ids)?,
                remove: accounts("remove_account_ids", &request.remove_account_ids)?,
                add_public: request.add_public,
                remove_public: request.remove_public,
            };
            let step = convert::step(request.saga)?;
            let id = snapshot(&request.snapshot_id)?;
            let owner = convert::account_id("account_id", &request.account_id)?;
            self.permissions.ensure_volume_permission(step, id, owner, change).await
        };
        answer(work.await.map(|shared| pb::EnsureVolumePermissionResponse {
            public: shared.sharing.public,
            account_ids: convert::texts(&shared.sharing.accounts),
            revision: shared.revision,
        }))
    }

    async fn get_volume_permission(
        &self,
        request: Request<pb::GetVolumePermissionRequest>,
    ) -> Answer<pb::GetVolumePermissionResponse> {
        let request = request.into_inner();
        let work = || {
            let id = snapshot(&request.snapshot_id)?;
            let owner = convert::account_id("account_id", &request.account_id)?;
            self.permissions.volume_permission(id, owner)
        };
        answer(work().map(|sharing| pb::GetVolumePermissionResponse {
            public: sharing.public,
            account_ids: convert::texts(&sharing.accounts),
        }))
    }

    async fn list_volume_permissions(
        &self,
        request: Request<pb::ListVolumePermissionsRequest>,
    ) -> Answer<pb::ListVolumePermissionsResponse> {
        let request = request.into_inner();
        let work = || {
            // Between our own services a token is the last id.
            let after = match request.page_token.as_str() {
                "" => None,
                text => Some(snapshot(text)?),
            };
            let most = match usize::try_from(request.page_size) {
                Ok(1..) => usize::try_from(request.page_size).unwrap_or(MOST).min(MOST),
                _ => 100,
            };
            let ids = self.permissions.shared_snapshots(after, most)?;
            let full = ids.len() == most;
            let next_page_token = ids.last().filter(|_| full).map(ToString::to_string);
            Ok(pb::ListVolumePermissionsResponse {
                snapshot_ids: ids.iter().map(ToString::to_string).collect(),
                next_page_token: next_page_token.unwrap_or_default(),
            })
        };
        answer(work())
    }

    async fn release_volume_permissions(
        &self,
        request: Request<pb::ReleaseVolumePermissionsRequest>,
    ) -> Answer<pb::ReleaseVolumePermissionsResponse> {
        let request = request.into_inner();
        let work = async {
            if request.snapshot_ids.len() > AT_ONCE {
                return Err(E::field("snapshot_ids", "may have 50 entries at most"));
            }
            let ids = request.snapshot_ids.iter().map(|text| snapshot(text));
            let ids = ids.collect::<Result<Vec<_>>>()?;
            let step = convert::step(request.saga)?;
            self.permissions.release_volume_permissions(step, ids).await
        };
        answer(work.await.map(|()| pb::ReleaseVolumePermissionsResponse {}))
    }
}
