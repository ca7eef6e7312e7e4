//! Between messages and storage's own types.

use std::str::FromStr;

use prost::Message;
use prost_types::Timestamp;
use vmint_api::storage::v1 as pb;
use vmint_api::types::v1::{SagaStep, Tag};
use vmint_ids::{AccountId, ProductCode};
use vmint_performance::VolumeType;
use vmint_rpc::{Caller, PageToken};

use super::asks;
use crate::{
    Result, Snapshot, StorageError, Volume,
    key::Wish,
    ops::{NewVolume, Step},
    snapshot::{SnapshotState, gib},
    tag::Tags,
    volume::{Asked, Plug},
};

/// What one step of a saga makes: all of it must fit into one commit.
const MOST_AT_ONCE: usize = 30;

/// Parses one id or other short text of the request.
pub(super) fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StorageError::Invalid {
        field,
        what: "id",
        value: text.chars().take(64).collect(),
        rule: error.to_string(),
    })
}

/// Parses an id that may be left out.
pub(super) fn optional_id<T: FromStr>(field: &'static str, text: &str) -> Result<Option<T>>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// Parses at most 1000 ids.
pub(super) fn ids<T: FromStr>(field: &'static str, texts: &[String]) -> Result<Vec<T>>
where
    T::Err: std::fmt::Display,
{
    if texts.len() > 1000 {
        return Err(StorageError::Invalid {
            field,
            what: "list",
            value: format!("{} ids", texts.len()),
            rule: "name at most 1000".to_owned(),
        });
    }
    texts.iter().map(|text| id(field, text)).collect()
}

/// That a list has at most [`MOST_AT_ONCE`] entries.
pub(super) fn few<T>(field: &'static str, list: &[T]) -> Result<()> {
    if list.len() > MOST_AT_ONCE {
        return Err(StorageError::Invalid {
            field,
            what: "list",
            value: format!("{} entries", list.len()),
            rule: format!("give at most {MOST_AT_ONCE}"),
        });
    }
    Ok(())
}

pub(super) fn codes(texts: &[String]) -> Result<Vec<ProductCode>> {
    ids("product_codes", texts)
}

pub(super) fn account_of(caller: &Caller) -> Result<AccountId> {
    id("account", &caller.account)
}

/// Whose listings internal ones are.
pub(super) fn nobody() -> AccountId {
    AccountId::NOBODY
}

pub(super) fn step(saga: Option<&SagaStep>) -> Step {
    Step { epoch: saga.map_or(0, |saga| saga.epoch) }
}

pub(super) fn page_size(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => 100,
        // One more is read to know whether more follow.
        Ok(n) => n.min(999),
    }
}

/// The key a listing goes on after.
pub(super) fn page_start<K: vmint_store::Key>(
    token: &str,
    canonical: &impl Message,
    account: AccountId,
) -> Result<Option<K>> {
    let after = PageToken::read(token, canonical, &account.to_string())?;
    after.map(|key| K::decode(&key).ok_or(StorageError::Damaged)).transpose()
}

/// What is asked of a copy; not asking leaves it as the source is.
pub(super) fn wish(encrypted: bool, key: &str) -> Result<Wish> {
    let key = if key.is_empty() { None } else { Some(id("kms_key_id", key)?) };
    Ok(Wish { encrypted: encrypted.then_some(true), key })
}

pub(super) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn time(ms: u64) -> Timestamp {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let nanos = i32::try_from(rest * 1_000_000).unwrap_or_default();
    Timestamp { seconds: number(seconds), nanos }
}

pub(super) fn new_volume(wanted: &pb::NewVolume) -> Result<NewVolume> {
    let snapshot = optional_id("volumes.snapshot_id", &wanted.snapshot_id)?;
    Ok(NewVolume {
        id: id("volumes.volume_id", &wanted.volume_id)?,
        snapshot,
        size_gib: wanted.size_gib,
        instance: id("volumes.instance_id", &wanted.instance_id)?,
        device: wanted.device_name.clone(),
        delete_on_termination: wanted.delete_on_termination,
        product_codes: codes(&wanted.product_codes)?,
        boot: wanted.boot,
        performance: Asked {
            kind: asks::volume_type(wanted.volume_type()).unwrap_or_default(),
            iops: wanted.iops,
            throughput: wanted.throughput_mibps,
        },
        wish: wish(wanted.encrypted, &wanted.kms_key_id)?,
        tags: asks::tags(wanted.tags.clone())?,
    })
}

pub(super) fn snapshot(snapshot: &Snapshot) -> pb::Snapshot {
    let (state, reason) = match &snapshot.state {
        SnapshotState::Pending => (pb::SnapshotState::Pending, ""),
        SnapshotState::Completed(_) => (pb::SnapshotState::Completed, ""),
        SnapshotState::Error(why) => (pb::SnapshotState::Error, why.as_str()),
    };
    pb::Snapshot {
        snapshot_id: snapshot.id.to_string(),
        account_id: snapshot.account.to_string(),
        description: snapshot.description.clone(),
        state: state.into(),
        state_reason: reason.to_owned(),
        progress_percent: snapshot.progress().into(),
        size_gib: gib(snapshot.size_bytes),
        size_bytes: number(snapshot.size_bytes),
        volume_id: snapshot.volume.map(|id| id.to_string()).unwrap_or_default(),
        product_codes: snapshot.product_codes.iter().map(ToString::to_string).collect(),
        image_ids: snapshot.images.iter().map(ToString::to_string).collect(),
        new_bytes: number(snapshot.new_bytes),
        stored_bytes: number(snapshot.stored_bytes),
        create_time: Some(time(snapshot.created_ms)),
        consistency: snapshot.consistency.as_str().to_owned(),
        pause_micros: number(snapshot.pause_micros),
        encrypted: snapshot.seal.is_some(),
        kms_key_id: snapshot.seal.map(|seal| seal.key.to_string()).unwrap_or_default(),
        tags: tags(&snapshot.tags),
        parent_snapshot_id: snapshot.parent.map(|id| id.to_string()).unwrap_or_default(),
        done_bytes: number(snapshot.far.done_bytes),
        seconds_left: number(snapshot.far.seconds_left),
    }
}

pub(super) fn volume(volume: &Volume, written_bytes: u64) -> pb::Volume {
    let attached = volume.attachment.as_ref();
    let state = match attached {
        Some(_) => pb::VolumeState::InUse,
        None => pb::VolumeState::Available,
    };
    pb::Volume {
        volume_id: volume.id.to_string(),
        account_id: volume.account.to_string(),
        snapshot_id: volume.snapshot.map(|id| id.to_string()).unwrap_or_default(),
        state: state.into(),
        size_bytes: number(volume.size_bytes),
        instance_id: attached.map(|at| at.instance.to_string()).unwrap_or_default(),
        device_name: attached.map(|at| at.device.clone()).unwrap_or_default(),
        delete_on_termination: attached.is_some_and(|at| at.delete_on_termination),
        product_codes: volume.product_codes.iter().map(ToString::to_string).collect(),
        create_time: Some(time(volume.created_ms)),
        written_bytes: number(written_bytes),
        encrypted: volume.seal.is_some(),
        kms_key_id: volume.seal.map(|seal| seal.key.to_string()).unwrap_or_default(),
        tags: tags(&volume.tags),
        volume_type: volume_type(volume.performance.kind).into(),
        iops: volume.performance.iops,
        throughput_mibps: volume.performance.throughput,
        availability_zone: volume.zone.clone(),
        size_gib: gib(volume.size_bytes),
        attachment_state: attached.map(|at| plug(at.plug)).unwrap_or_default().into(),
        attach_time: attached.map(|at| time(at.attached_ms)),
        boot: attached.is_some_and(|at| at.boot),
        hydrated_percent: None,
    }
}

pub(super) fn tags(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag { key: key.clone(), value: value.clone() };
    tags.iter().map(tag).collect()
}

fn plug(plug: Plug) -> pb::AttachmentState {
    match plug {
        Plug::Attaching => pb::AttachmentState::Attaching,
        Plug::Attached => pb::AttachmentState::Attached,
        Plug::Detaching => pb::AttachmentState::Detaching,
    }
}

pub(super) fn volume_type(kind: VolumeType) -> pb::VolumeType {
    match kind {
        VolumeType::Gp2 => pb::VolumeType::Gp2,
        VolumeType::Gp3 => pb::VolumeType::Gp3,
        VolumeType::Io1 => pb::VolumeType::Io1,
        VolumeType::Io2 => pb::VolumeType::Io2,
        VolumeType::St1 => pb::VolumeType::St1,
        VolumeType::Sc1 => pb::VolumeType::Sc1,
        VolumeType::Standard => pb::VolumeType::Standard,
    }
}
