use prost::Message;
use tonic::Status;
use vmint_api::{
    launcher::v1::{EnsureVolumePluggedRequest, ReleaseVolumePlugRequest},
    storage::v1::{
        AttachmentState, EnsureVolumeAttachedRequest, ReleaseVolumeAttachmentRequest, Volume,
    },
};

use crate::saga::At;

/// Where a volume is or is to be: what the sagas about it are asked, and what
/// they ask of storage and launcher.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attachment {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(string, tag = "2")]
    pub(super) instance_id: String,
    #[prost(string, tag = "3")]
    pub(super) device_name: String,
    #[prost(bool, tag = "4")]
    pub(super) delete_on_termination: bool,
    /// Taken out even if the guest holds on to it.
    #[prost(bool, tag = "5")]
    pub(super) force: bool,
}

/// What storage says of the volume.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttachmentMemo {
    #[prost(message, optional, tag = "1")]
    pub(super) volume: Option<Volume>,
    #[prost(string, tag = "2")]
    pub(super) export_path: String,
}

impl Attachment {
    /// Storage's record of it.
    pub(super) fn ensure(&self, at: &At, state: AttachmentState) -> EnsureVolumeAttachedRequest {
        EnsureVolumeAttachedRequest {
            saga: at.saga_step(),
            account_id: at.account.clone(),
            volume_id: self.volume_id.clone(),
            instance_id: self.instance_id.clone(),
            device_name: self.device_name.clone(),
            delete_on_termination: self.delete_on_termination,
            state: state.into(),
        }
    }

    /// The machine's end of it.
    pub(super) fn plug(&self, at: &At, memo: &AttachmentMemo) -> EnsureVolumePluggedRequest {
        EnsureVolumePluggedRequest {
            saga: at.saga_step(),
            instance_id: self.instance_id.clone(),
            account_id: at.account.clone(),
            volume_id: self.volume_id.clone(),
            device_name: self.device_name.clone(),
            export_path: memo.export_path.clone(),
            size_bytes: memo.volume.as_ref().map_or(0, |volume| volume.size_bytes),
            delete_on_termination: self.delete_on_termination,
        }
    }

    /// The machine lets go of it.
    pub(super) fn unplug(&self, at: &At, force: bool) -> ReleaseVolumePlugRequest {
        ReleaseVolumePlugRequest {
            saga: at.saga_step(),
            instance_id: self.instance_id.clone(),
            account_id: at.account.clone(),
            volume_id: self.volume_id.clone(),
            force,
        }
    }

    /// Storage forgets it; `undo` if it was never there.
    pub(super) fn release(&self, at: &At, undo: bool) -> ReleaseVolumeAttachmentRequest {
        ReleaseVolumeAttachmentRequest {
            saga: at.saga_step(),
            volume_id: self.volume_id.clone(),
            instance_id: self.instance_id.clone(),
            undo,
        }
    }
}

/// The answer, or none if what was asked about is no longer there.
pub(super) fn unless_gone<T>(
    answer: Result<tonic::Response<T>, Status>,
) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// A volume with fifty long tags would not fit into the log beside the rest.
pub(super) fn without_bulk(mut volume: Volume) -> Volume {
    volume.tags.clear();
    volume
}
