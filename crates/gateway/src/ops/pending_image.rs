//! The life of an image until it is available: steps that several sagas share.

use std::{future::Future, time::Duration};

use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::{
        EnsureImageRequest, EnsureImageStateRequest, Image, ImageState, ReleaseImageRequest,
    },
    permissions::v1::{EnsureImageOwnerRequest, ReleaseImageOwnerRequest},
    storage::v1::{
        BatchGetSnapshotsRequest, EnsureSnapshotProductCodesRequest, ReleaseSnapshotUseRequest,
        ReleaseSnapshotsRequest,
    },
};

use super::part;
use crate::{
    peers::Peers,
    saga::{At, StepError},
};

/// How often the progress of snapshots is written to their image.
const PROGRESS: Duration = Duration::from_secs(1);

/// One image, at one step of the saga that makes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingImage<'a> {
    pub(super) peers: &'a Peers,
    pub(super) at: &'a At,
    pub(super) id: &'a str,
}

impl PendingImage<'_> {
    /// Makes the record, claiming the image's name.
    pub(super) async fn record(&self, image: &Image) -> Result<Image, StepError> {
        self.record_as(image, false).await
    }

    /// The same for an image all of whose data are there: it can be launched.
    pub(super) async fn record_whole(&self, image: &Image) -> Result<Image, StepError> {
        self.record_as(image, true).await
    }

    async fn record_as(&self, image: &Image, available: bool) -> Result<Image, StepError> {
        let (saga, image) = (self.at.saga_step(), Some(image.clone()));
        let request = EnsureImageRequest { saga, image, available };
        let answer = self.peers.catalog(&self.at.caller()).ensure_image(request).await?;
        answer.into_inner().image.ok_or_else(|| missing("catalog"))
    }

    pub(super) async fn forget(&self) -> Result<(), StepError> {
        let request =
            ReleaseImageRequest { saga: self.at.saga_step(), image_id: self.id.to_owned() };
        self.peers.catalog(&self.at.caller()).release_image(request).await?;
        Ok(())
    }

    pub(super) async fn own(&self, account: &str) -> Result<(), StepError> {
        let request = EnsureImageOwnerRequest {
            saga: self.at.saga_step(),
            image_id: self.id.to_owned(),
            account_id: account.to_owned(),
        };
        self.peers.permissions(&self.at.caller()).ensure_image_owner(request).await?;
        Ok(())
    }

    pub(super) async fn disown(&self) -> Result<(), StepError> {
        let request =
            ReleaseImageOwnerRequest { saga: self.at.saga_step(), image_id: self.id.to_owned() };
        self.peers.permissions(&self.at.caller()).release_image_owner(request).await?;
        Ok(())
    }

    /// Makes it launchable; its products are those of its data and its own.
    pub(super) async fn available(
        &self,
        product_codes: &[String],
        encrypted: Vec<String>,
    ) -> Result<Image, StepError> {
        let request = EnsureImageStateRequest {
            saga: self.at.saga_step(),
            image_id: self.id.to_owned(),
            state: ImageState::Available.into(),
            progress_percent: 100,
            product_codes: product_codes.to_vec(),
            encrypted_snapshot_ids: encrypted,
            ..EnsureImageStateRequest::default()
        };
        let answer = self.peers.catalog(&self.at.caller()).ensure_image_state(request).await?;
        answer.into_inner().image.ok_or_else(|| missing("catalog"))
    }

    /// Which of the snapshots made for it are encrypted.
    pub(super) async fn encrypted(&self, ids: Vec<String>) -> Result<Vec<String>, StepError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = BatchGetSnapshotsRequest { snapshot_ids: ids };
        let found = self.peers.storage(&self.at.caller()).batch_get_snapshots(request).await?;
        let sealed = found.into_inner().snapshots.into_iter().filter(|one| one.encrypted);
        Ok(sealed.map(|snapshot| snapshot.snapshot_id).collect())
    }

    /// Says that it will never be; a record that is not there is no error.
    pub(super) async fn fail(&self) -> Result<(), StepError> {
        self.fail_as("").await
    }

    /// As [`Self::fail`], with EC2's word for why.
    pub(super) async fn fail_as(&self, code: &str) -> Result<(), StepError> {
        let reason = self.at.failure.clone().unwrap_or_else(|| "it was given up".to_owned());
        let request = EnsureImageStateRequest {
            saga: self.at.saga_step(),
            image_id: self.id.to_owned(),
            state: ImageState::Failed.into(),
            // The catalog keeps a line, not an essay.
            state_reason: reason.chars().take(255).collect(),
            state_reason_code: code.to_owned(),
            ..EnsureImageStateRequest::default()
        };
        match self.peers.catalog(&self.at.caller()).ensure_image_state(request).await {
            Err(status) if status.code() != Code::NotFound => Err(status.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Undoes the record: an image that may have been `answered` is shown as
    /// failed, another has never been.
    pub(super) async fn unrecord(&self, answered: bool) -> Result<(), StepError> {
        if answered { self.fail().await } else { self.forget().await }
    }

    /// Undoes the owner, without whom nobody would see that it failed.
    pub(super) async fn unown(&self, answered: bool) -> Result<(), StepError> {
        if answered { Ok(()) } else { self.disown().await }
    }

    /// Takes away snapshots that were made for it.
    pub(super) async fn drop_snapshots(&self, ids: Vec<String>) -> Result<(), StepError> {
        let mut storage = self.peers.storage(&self.at.caller());
        let request = ReleaseSnapshotUseRequest {
            saga: part(self.at.saga_step(), "use"),
            image_id: self.id.to_owned(),
            delete_snapshots: false,
            dry_run: false,
        };
        storage.release_snapshot_use(request).await?;
        let request = ReleaseSnapshotsRequest { saga: self.at.saga_step(), snapshot_ids: ids };
        storage.release_snapshots(request).await?;
        Ok(())
    }

    /// Products follow the data into its snapshots.
    pub(super) async fn put_codes(
        &self,
        snapshot_ids: Vec<String>,
        product_codes: &[String],
    ) -> Result<(), StepError> {
        if product_codes.is_empty() || snapshot_ids.is_empty() {
            return Ok(());
        }
        let request = EnsureSnapshotProductCodesRequest {
            saga: part(self.at.saga_step(), "codes"),
            snapshot_ids,
            product_codes: product_codes.to_vec(),
        };
        self.peers.storage(&self.at.caller()).ensure_snapshot_product_codes(request).await?;
        Ok(())
    }

    /// Awaits `work`, writing how far `snapshots` are into the image meanwhile.
    pub(super) async fn showing_progress<T>(
        &self,
        snapshots: &[String],
        work: impl Future<Output = T>,
    ) -> T {
        let show = async {
            let mut shown = 0;
            loop {
                tokio::time::sleep(PROGRESS).await;
                // Only a courtesy, so a failure is no matter.
                if let Ok(percent) = self.percent(snapshots).await
                    && percent > shown
                    && self.show_percent(percent).await.is_ok()
                {
                    shown = percent;
                }
            }
        };
        tokio::select! {
            done = work => done,
            () = show => unreachable!("it shows progress for ever"),
        }
    }

    async fn percent(&self, snapshots: &[String]) -> Result<i32, Status> {
        let request = BatchGetSnapshotsRequest { snapshot_ids: snapshots.to_vec() };
        let found = self.peers.storage(&self.at.caller()).batch_get_snapshots(request).await?;
        let sum: i32 = found.into_inner().snapshots.iter().map(|s| s.progress_percent).sum();
        // Not quite done until it is.
        Ok((sum / i32::try_from(snapshots.len().max(1)).unwrap_or(1)).clamp(0, 99))
    }

    pub(super) async fn show_percent(&self, percent: i32) -> Result<(), Status> {
        let request = EnsureImageStateRequest {
            saga: part(self.at.saga_step(), &format!("progress-{percent}")),
            image_id: self.id.to_owned(),
            state: ImageState::Pending.into(),
            progress_percent: percent,
            ..EnsureImageStateRequest::default()
        };
        self.peers.catalog(&self.at.caller()).ensure_image_state(request).await?;
        Ok(())
    }
}

/// A service answered without what its contract says it answers.
pub(super) fn missing(service: &str) -> StepError {
    StepError::Permanent(Status::internal(format!("service `{service}` left out its answer")))
}
