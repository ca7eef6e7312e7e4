//! What sagas ask of an account's encryption keys.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::key_internal_service_server::KeyInternalService;
use vmint_rpc::to_status;

use super::convert::{id, step};
use crate::Storage;

/// Serves sagas that empty accounts.
#[derive(Debug)]
pub struct KeysInternal(pub Storage);

#[tonic::async_trait]
impl KeyInternalService for KeysInternal {
    async fn release_keys(
        &self,
        request: Request<pb::ReleaseKeysRequest>,
    ) -> Result<Response<pb::ReleaseKeysResponse>, Status> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(|error| to_status(&error))?;
        let released = self.0.release_keys(step(request.saga.as_ref()), account).await;
        let more = released.map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::ReleaseKeysResponse { more }))
    }
}
