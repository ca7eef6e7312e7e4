//! Volumes made, changed and deleted.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::volume_service_server::VolumeService;
use vmint_rpc::{Caller, to_status};

use super::{
    asks,
    convert::{
        account_of, id, optional_id, page_size, page_start, time, volume, volume_type, wish,
    },
    public::{asked, token},
};
use crate::{
    Storage, StorageError, Volume,
    ops::Change,
    snapshot::gib,
    store::volumes,
    volume::{Asked, Begin},
};

/// Serves those who have volumes.
#[derive(Debug)]
pub struct Volumes(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl VolumeService for Volumes {
    async fn create_volume(
        &self,
        request: Request<pb::CreateVolumeRequest>,
    ) -> Answer<pb::CreateVolumeResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "CreateVolume", &body.request_id, &body);
        let wish = wish(body.encrypted, &body.kms_key_id).map_err(status)?;
        let begin = Begin {
            snapshot: optional_id("snapshot_id", &body.snapshot_id).map_err(status)?,
            size_gib: body.size_gib,
            performance: Asked {
                kind: asks::volume_type(body.volume_type()).unwrap_or_default(),
                iops: body.iops,
                throughput: body.throughput_mibps,
            },
            zone: asks::zone(body.availability_zone).map_err(status)?,
            tags: asks::tags(body.tags).map_err(status)?,
            ..Begin::default()
        };
        let made = self.0.create_volume(account, begin, wish, asked).await.map_err(status)?;
        Ok(Response::new(pb::CreateVolumeResponse { volume: Some(volume(&made, 0)) }))
    }

    async fn get_volume(
        &self,
        request: Request<pb::GetVolumeRequest>,
    ) -> Answer<pb::GetVolumeResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("volume_id", &request.get_ref().volume_id).map_err(status)?;
        let found = volumes::owned(self.0.records.store(), wanted, account).map_err(status)?;
        let mut shown = shown(&self.0, &[found]).await?;
        Ok(Response::new(pb::GetVolumeResponse { volume: shown.pop() }))
    }

    async fn modify_volume(
        &self,
        request: Request<pb::ModifyVolumeRequest>,
    ) -> Answer<pb::ModifyVolumeResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "ModifyVolume", &body.request_id, body);
        let wanted = id("volume_id", &body.volume_id).map_err(status)?;
        let change = Change {
            size_gib: body.size_gib,
            kind: asks::volume_type(body.volume_type()),
            iops: body.iops,
            throughput: body.throughput_mibps,
        };
        let changed = self.0.modify_volume(wanted, account, change, asked).await;
        let changed = changed.map_err(status)?;
        Ok(Response::new(pb::ModifyVolumeResponse { modification: modification(&changed) }))
    }

    async fn list_volume_modifications(
        &self,
        request: Request<pb::ListVolumeModificationsRequest>,
    ) -> Answer<pb::ListVolumeModificationsResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let (query, canonical) = asks::modifications(account, &request).map_err(status)?;
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let (page, last) = self.0.list_volumes(&query, after, size).map_err(status)?;
        Ok(Response::new(pb::ListVolumeModificationsResponse {
            modifications: page.iter().filter_map(modification).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn delete_volume(
        &self,
        request: Request<pb::DeleteVolumeRequest>,
    ) -> Answer<pb::DeleteVolumeResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "DeleteVolume", &body.request_id, body);
        let wanted = id("volume_id", &body.volume_id).map_err(status)?;
        self.0.delete_volume(wanted, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::DeleteVolumeResponse {}))
    }
}

/// Volumes as they stand, with how much of each is on this host.
pub(super) async fn shown(storage: &Storage, found: &[Volume]) -> Result<Vec<pb::Volume>, Status> {
    let hydrated = storage.hydrated_percents(found).await.map_err(status)?;
    let show = |(one, percent): (&Volume, Option<u64>)| pb::Volume {
        hydrated_percent: percent.and_then(|percent| i32::try_from(percent).ok()),
        ..volume(one, storage.written_bytes(one))
    };
    Ok(found.iter().zip(hydrated).map(show).collect())
}

fn modification(volume: &Volume) -> Option<pb::VolumeModification> {
    let change = volume.modification?;
    Some(pb::VolumeModification {
        volume_id: volume.id.to_string(),
        state: pb::VolumeModificationState::Completed.into(),
        progress_percent: 100,
        original_size_gib: gib(change.from_bytes),
        original_volume_type: volume_type(change.from.kind).into(),
        original_iops: change.from.iops,
        original_throughput_mibps: change.from.throughput,
        target_size_gib: gib(change.to_bytes),
        target_volume_type: volume_type(change.to.kind).into(),
        target_iops: change.to.iops,
        target_throughput_mibps: change.to.throughput,
        start_time: Some(time(change.at_ms)),
        end_time: Some(time(change.at_ms)),
    })
}
