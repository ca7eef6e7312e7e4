//! What accounts may ask of their keys.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::key_service_server::KeyService;
use vmint_rpc::{Caller, to_status};

use super::{
    convert::{account_of, id, page_size, page_start, time},
    public::{asked, status, token},
};
use crate::{
    Result as Done, Storage, StorageError,
    key::{Change, Key, KeyState},
};

/// Serves accounts' keys.
#[derive(Debug)]
pub struct Keys(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

impl Keys {
    fn show(&self, key: &Key) -> Done<pb::Key> {
        let default = self.0.default_key(key.account)?;
        let (state, due) = match key.state {
            KeyState::Enabled => (pb::KeyState::Enabled, None),
            KeyState::Disabled => (pb::KeyState::Disabled, None),
            KeyState::PendingDeletion { due_ms } => (pb::KeyState::PendingDeletion, Some(due_ms)),
            KeyState::Destroyed => (pb::KeyState::Destroyed, None),
        };
        Ok(pb::Key {
            kms_key_id: key.id.to_string(),
            account_id: key.account.to_string(),
            description: key.description.clone(),
            state: state.into(),
            create_time: Some(time(key.created_ms)),
            deletion_time: due.map(time),
            default_key: default.is_some_and(|default| default.id == key.id),
        })
    }

    async fn change(
        &self,
        caller: &Caller,
        key: &str,
        change: Done<Change>,
        asked: vmint_store::Asked,
    ) -> Result<Option<pb::Key>, Status> {
        let account = account_of(caller).map_err(status)?;
        let wanted = id("kms_key_id", key).map_err(status)?;
        let change = change.map_err(status)?;
        let key = self.0.change_key(wanted, account, change, asked).await.map_err(status)?;
        Ok(Some(self.show(&key).map_err(status)?))
    }
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn create_key(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Answer<pb::CreateKeyResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "CreateKey", &body.request_id, body);
        let made = self.0.create_key(account, body.description.clone(), asked);
        let key = made.await.and_then(|key| self.show(&key)).map_err(status)?;
        Ok(Response::new(pb::CreateKeyResponse { key: Some(key) }))
    }

    async fn get_key(&self, request: Request<pb::GetKeyRequest>) -> Answer<pb::GetKeyResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("kms_key_id", &request.get_ref().kms_key_id).map_err(status)?;
        let found = self.0.key(wanted, account).and_then(|key| self.show(&key));
        Ok(Response::new(pb::GetKeyResponse { key: Some(found.map_err(status)?) }))
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Answer<pb::ListKeysResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let canonical = pb::ListKeysRequest::default();
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let page = self.0.list_keys(account, after, size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.id);
        let keys = page.items.iter().map(|key| self.show(key)).collect::<Done<_>>();
        Ok(Response::new(pb::ListKeysResponse {
            keys: keys.map_err(status)?,
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn enable_key(
        &self,
        request: Request<pb::EnableKeyRequest>,
    ) -> Answer<pb::EnableKeyResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "EnableKey", &body.request_id, body);
        let key = self.change(caller, &body.kms_key_id, Ok(Change::Enable), asked).await?;
        Ok(Response::new(pb::EnableKeyResponse { key }))
    }

    async fn disable_key(
        &self,
        request: Request<pb::DisableKeyRequest>,
    ) -> Answer<pb::DisableKeyResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "DisableKey", &body.request_id, body);
        let key = self.change(caller, &body.kms_key_id, Ok(Change::Disable), asked).await?;
        Ok(Response::new(pb::DisableKeyResponse { key }))
    }

    async fn schedule_key_deletion(
        &self,
        request: Request<pb::ScheduleKeyDeletionRequest>,
    ) -> Answer<pb::ScheduleKeyDeletionResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "ScheduleKeyDeletion", &body.request_id, body);
        let change = Change::deletion(body.pending_days).map_err(|why| StorageError::Invalid {
            field: "pending_days",
            what: "time",
            value: body.pending_days.to_string(),
            rule: why.to_string(),
        });
        let key = self.change(caller, &body.kms_key_id, change, asked).await?;
        Ok(Response::new(pb::ScheduleKeyDeletionResponse { key }))
    }

    async fn cancel_key_deletion(
        &self,
        request: Request<pb::CancelKeyDeletionRequest>,
    ) -> Answer<pb::CancelKeyDeletionResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "CancelKeyDeletion", &body.request_id, body);
        let change = Ok(Change::CancelDeletion);
        let key = self.change(caller, &body.kms_key_id, change, asked).await?;
        Ok(Response::new(pb::CancelKeyDeletionResponse { key }))
    }

    async fn get_default_key(
        &self,
        request: Request<pb::GetDefaultKeyRequest>,
    ) -> Answer<pb::GetDefaultKeyResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let found = self.0.default_key(account).map_err(status)?;
        let key = found.map(|key| self.show(&key)).transpose().map_err(status)?;
        Ok(Response::new(pb::GetDefaultKeyResponse { key }))
    }

    async fn set_default_key(
        &self,
        request: Request<pb::SetDefaultKeyRequest>,
    ) -> Answer<pb::SetDefaultKeyResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "SetDefaultKey", &body.request_id, body);
        let wanted = id("kms_key_id", &body.kms_key_id).map_err(status)?;
        let set = self.0.set_default_key(wanted, account, asked).await;
        let key = set.and_then(|key| self.show(&key)).map_err(status)?;
        Ok(Response::new(pb::SetDefaultKeyResponse { key: Some(key) }))
    }

    async fn reset_default_key(
        &self,
        request: Request<pb::ResetDefaultKeyRequest>,
    ) -> Answer<pb::ResetDefaultKeyResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "ResetDefaultKey", &body.request_id, body);
        let reset = self.0.reset_default_key(account, asked).await.map_err(status)?;
        let key = reset.map(|key| self.show(&key)).transpose().map_err(status)?;
        Ok(Response::new(pb::ResetDefaultKeyResponse { key }))
    }

    async fn get_encryption_by_default(
        &self,
        request: Request<pb::GetEncryptionByDefaultRequest>,
    ) -> Answer<pb::GetEncryptionByDefaultResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let enabled = self.0.always_encrypts(account).map_err(status)?;
        Ok(Response::new(pb::GetEncryptionByDefaultResponse { enabled }))
    }

    async fn set_encryption_by_default(
        &self,
        request: Request<pb::SetEncryptionByDefaultRequest>,
    ) -> Answer<pb::SetEncryptionByDefaultResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "SetEncryptionByDefault", &body.request_id, body);
        self.0.set_always_encrypts(account, body.enabled, asked).await.map_err(status)?;
        Ok(Response::new(pb::SetEncryptionByDefaultResponse {}))
    }

    async fn destroy_snapshot_data(
        &self,
        request: Request<pb::DestroySnapshotDataRequest>,
    ) -> Answer<pb::DestroySnapshotDataResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "DestroySnapshotData", &body.request_id, body);
        let wanted = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        let lost = self.0.destroy_data(wanted, account, body.dry_run, asked).await;
        let lost = lost.map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::DestroySnapshotDataResponse {
            snapshot_ids: lost.snapshots.iter().map(ToString::to_string).collect(),
            volume_ids: lost.volumes.iter().map(ToString::to_string).collect(),
        }))
    }
}
