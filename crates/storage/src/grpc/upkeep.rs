//! What the operator asks of what is stored, and what accounts may know of it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{
    check_storage_response::Holds, repair_chunks_request::Part,
    upkeep_service_server::UpkeepService,
};
use vmint_ids::SnapshotId;
use vmint_rpc::{Caller, to_status};

use super::{
    convert::{account_of, id, ids, number, optional_id, page_size, page_start, time},
    follow::Watch,
    public::{asked, token},
};
use crate::{
    Storage, StorageError,
    damage::{Damage, DamagedDisk, Disk},
    ops::{Checked, Elsewhere, Target},
    scrub::{Scrub, ScrubState},
};

/// How often a check says that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Serves the operator, and accounts that measure.
#[derive(Debug)]
pub struct Upkeep(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

impl Upkeep {
    fn show(&self, scrub: &Scrub) -> pb::Scrub {
        let state = match scrub.state {
            ScrubState::Running => pb::ScrubState::Running,
            ScrubState::Completed => pb::ScrubState::Completed,
            ScrubState::Cancelled => pb::ScrubState::Cancelled,
        };
        pb::Scrub {
            state: state.into(),
            bytes_per_second: number(scrub.bytes_per_second),
            checked_bytes: number(scrub.checked_bytes),
            checked_chunks: number(scrub.checked_chunks),
            stored_bytes: number(self.0.blocks.stats().stored_bytes),
            damaged_chunks: number(scrub.damaged_chunks),
            damaged_packs: number(scrub.damaged_packs),
            start_time: Some(time(scrub.started_ms)),
            end_time: (scrub.ended_ms > 0).then(|| time(scrub.ended_ms)),
            message: scrub.message.clone(),
            periodic: scrub.periodic,
            next_time: self.0.next_scrub_ms(scrub).map(time),
        }
    }
}

fn checked(checked: &Checked) -> pb::CheckReport {
    let report = &checked.report;
    pb::CheckReport {
        packs: number(report.packs),
        damaged_packs: report.damaged_packs.iter().map(|pack| i64::from(*pack)).collect(),
        chunks: number(report.chunks),
        unlisted_chunks: number(report.unlisted_chunks),
        disks: number(report.roots),
        live_chunks: number(report.live_chunks),
        live_bytes: number(report.live_bytes),
        orphan_chunks: number(report.orphan_chunks),
        orphan_bytes: number(report.orphan_bytes),
        lost_chunks: number(report.lost_chunks),
        orphan_volume_ids: checked.orphan_volumes.iter().map(ToString::to_string).collect(),
        sound: checked.is_sound(),
    }
}

fn damaged(disk: &DamagedDisk) -> pb::DamagedDisk {
    let mut shown = pb::DamagedDisk {
        account_id: disk.account.to_string(),
        offset_bytes: number(disk.offset),
        length_bytes: number(disk.length),
        ..pb::DamagedDisk::default()
    };
    match &disk.disk {
        Disk::Snapshot { id, images } => {
            shown.snapshot_id = id.to_string();
            shown.image_ids = images.iter().map(ToString::to_string).collect();
        }
        Disk::Volume { id, instance } => {
            shown.volume_id = id.to_string();
            shown.instance_id = instance.map(|id| id.to_string()).unwrap_or_default();
        }
    }
    shown
}

fn damage(damage: &Damage) -> pb::Damage {
    pb::Damage {
        damage_id: damage.id.clone(),
        lists_others: damage.node,
        disks: damage.disks.iter().map(damaged).collect(),
    }
}

#[tonic::async_trait]
impl UpkeepService for Upkeep {
    async fn start_scrub(
        &self,
        request: Request<pb::StartScrubRequest>,
    ) -> Answer<pb::StartScrubResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "StartScrub", &body.request_id, body);
        let scrub = self.0.start_scrub(body.bytes_per_second, asked).await.map_err(status)?;
        Ok(Response::new(pb::StartScrubResponse { scrub: Some(self.show(&scrub)) }))
    }

    async fn describe_scrub(
        &self,
        _request: Request<pb::DescribeScrubRequest>,
    ) -> Answer<pb::DescribeScrubResponse> {
        let scrub = self.0.scrub().map_err(status)?.map(|scrub| self.show(&scrub));
        Ok(Response::new(pb::DescribeScrubResponse { scrub }))
    }

    async fn cancel_scrub(
        &self,
        request: Request<pb::CancelScrubRequest>,
    ) -> Answer<pb::CancelScrubResponse> {
        let (caller, body) = (Caller::of_account(&request)?, request.get_ref());
        let asked = asked(caller, "CancelScrub", &body.request_id, body);
        let scrub = self.0.cancel_scrub(asked).await.map_err(status)?;
        Ok(Response::new(pb::CancelScrubResponse { scrub: scrub.map(|scrub| self.show(&scrub)) }))
    }

    type CheckStorageStream = Watch<pb::CheckStorageResponse>;

    async fn check_storage(
        &self,
        _request: Request<pb::CheckStorageRequest>,
    ) -> Answer<Self::CheckStorageStream> {
        let (send, receive) = mpsc::channel(4);
        let storage = self.0.clone();
        self.0.tasks.spawn(async move {
            let (begun, work) = (Instant::now(), storage.check());
            tokio::pin!(work);
            let say = |holds| pb::CheckStorageResponse { holds: Some(holds) };
            loop {
                tokio::select! {
                    done = &mut work => {
                        let done = done.map(|found| say(Holds::Report(checked(&found))));
                        // Nobody listens when the caller has gone.
                        let _ = send.send(done.map_err(status)).await;
                        return;
                    }
                    () = tokio::time::sleep(SIGN_OF_LIFE) => {
                        let elapsed_seconds = number(begun.elapsed().as_secs());
                        let progress = Holds::Progress(pb::CheckProgress { elapsed_seconds });
                        if send.send(Ok(say(progress))).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn list_damage(
        &self,
        request: Request<pb::ListDamageRequest>,
    ) -> Answer<pb::ListDamageResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let canonical = pb::ListDamageRequest::default();
        let after: Option<String> =
            page_start(&request.page_token, &canonical, account).map_err(status)?;
        let mut found = self.0.damage().await.map_err(status)?;
        found.retain(|damage| after.as_ref().is_none_or(|after| damage.id > *after));
        let size = page_size(request.page_size);
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more).map(|damage| damage.id.clone());
        Ok(Response::new(pb::ListDamageResponse {
            damage: found.iter().map(damage).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn repair_chunks(
        &self,
        request: Request<Streaming<pb::RepairChunksRequest>>,
    ) -> Answer<pb::RepairChunksResponse> {
        let mut parts = request.into_inner();
        let first = parts.next().await.transpose()?.and_then(|message| message.part);
        let Some(Part::Header(header)) = first else {
            return Err(status(StorageError::Sequence("the first message is no header")));
        };
        let target = if header.volume_id.is_empty() {
            Target::Snapshot(id("snapshot_id", &header.snapshot_id).map_err(status)?)
        } else {
            Target::Volume(id("volume_id", &header.volume_id).map_err(status)?)
        };
        let mut repair = self.0.begin_repair(target).await.map_err(status)?;
        while let Some(message) = parts.next().await.transpose()? {
            let Some(Part::Data(data)) = message.part else {
                return Err(status(StorageError::Sequence("after the header only data come")));
            };
            let offset = u64::try_from(data.offset_bytes).unwrap_or(u64::MAX);
            repair.write(offset, data.content).await.map_err(status)?;
        }
        let done = repair.finish().await.map_err(status)?;
        Ok(Response::new(pb::RepairChunksResponse {
            repaired_chunks: number(done.repaired),
            lost_chunks: number(done.lost),
        }))
    }

    async fn repair_from_region(
        &self,
        request: Request<pb::RepairFromRegionRequest>,
    ) -> Answer<pb::RepairFromRegionResponse> {
        let request = request.into_inner();
        let wanted: SnapshotId = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let from = Elsewhere {
            image: optional_id("source_image_id", &request.source_image_id).map_err(status)?,
            snapshot: id("source_snapshot_id", &request.source_snapshot_id).map_err(status)?,
            region: request.region,
        };
        let (done, fetched) = self.0.repair_from_region(wanted, from).await.map_err(status)?;
        Ok(Response::new(pb::RepairFromRegionResponse {
            repaired_chunks: number(done.repaired),
            lost_chunks: number(done.lost),
            fetched_bytes: number(fetched),
        }))
    }

    async fn measure_snapshots(
        &self,
        request: Request<pb::MeasureSnapshotsRequest>,
    ) -> Answer<pb::MeasureSnapshotsResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = ids("snapshot_ids", &request.get_ref().snapshot_ids).map_err(status)?;
        let share = self.0.measure(account, wanted).await.map_err(status)?;
        Ok(Response::new(pb::MeasureSnapshotsResponse {
            logical_bytes: number(share.logical_bytes),
            stored_bytes: number(share.stored_bytes),
            shared_bytes: number(share.stored_bytes - share.unique_bytes),
            unique_bytes: number(share.unique_bytes),
            chunks: number(share.chunks),
        }))
    }
}
