//! What sagas ask of an account's files.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::object_internal_service_server::ObjectInternalService;
use vmint_rpc::to_status;

use super::convert::{id, step};
use crate::{Storage, StorageError};

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

/// Serves sagas that empty accounts.
#[derive(Debug)]
pub struct Files(pub Storage);

#[tonic::async_trait]
impl ObjectInternalService for Files {
    async fn release_files(
        &self,
        request: Request<pb::ReleaseFilesRequest>,
    ) -> Answer<pb::ReleaseFilesResponse> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(status)?;
        let step = step(request.saga.as_ref());
        let more = self.0.release_files(step, account).await.map_err(status)?;
        Ok(Response::new(pb::ReleaseFilesResponse { more }))
    }
}
