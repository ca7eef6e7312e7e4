//! Volumes: make, find, attach, change and delete.

use vmint_api::{
    gateway::v1::{AttachVolumeRequest, DetachVolumeRequest},
    storage::v1::{
        AttachmentState, CreateVolumeRequest, DeleteVolumeRequest, ListVolumeModificationsRequest,
        ListVolumesRequest, ModifyVolumeRequest, Volume, VolumeModification,
        VolumeModificationState, VolumeState,
    },
};
use vmint_ec2::{Error, Operation, Params, Xml};
use vmint_ids::{InstanceKind, SnapshotKind, VolumeKind};
use vmint_performance::VolumeType;

use super::{
    Call, Entry, Refused, entries,
    entry::Answer,
    service::Service,
    snapshots::{filter, new_tags, tag},
    stamp,
};
use crate::ops::performance::{message, told};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_volume,
    reads DESCRIBE => describe_volumes,
    reads STATUS => describe_volume_status,
    writes ATTACH => attach_volume,
    writes DETACH => detach_volume,
    writes MODIFY => modify_volume,
    reads MODIFICATIONS => describe_volumes_modifications,
    writes DELETE => delete_volume,
};

const CREATE: Operation = Operation::new(
    "CreateVolume",
    &[
        "AvailabilityZone",
        "SnapshotId",
        "Size",
        "VolumeType",
        "Iops",
        "Throughput",
        "Encrypted",
        "KmsKeyId",
        "ClientToken",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[("MultiAttachEnabled", &["false"]), ("OutpostArn", &[])]);
const NAMES: &[&str] = &[
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "create-time",
    "encrypted",
    "size",
    "snapshot-id",
    "status",
    "tag:*",
    "tag-key",
    "volume-id",
    "volume-type",
];
const DESCRIBE: Operation = Operation::new(
    "DescribeVolumes",
    &["VolumeId.N", "MaxResults", "NextToken", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(NAMES);
const STATUS: Operation = Operation::new(
    "DescribeVolumeStatus",
    &["VolumeId.N", "MaxResults", "NextToken", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["availability-zone"]);
const ATTACH: Operation = Operation::new("AttachVolume", &["VolumeId!", "InstanceId!", "Device!"]);
const DETACH: Operation =
    Operation::new("DetachVolume", &["VolumeId!", "InstanceId", "Device", "Force"]);
const MODIFY: Operation =
    Operation::new("ModifyVolume", &["VolumeId!", "Size", "VolumeType", "Iops", "Throughput"])
        .only(&[("MultiAttachEnabled", &["false"])]);
const MODIFICATIONS: Operation = Operation::new(
    "DescribeVolumesModifications",
    &["VolumeId.N", "MaxResults", "NextToken", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["modification-state", "volume-id"]);
const DELETE: Operation = Operation::new("DeleteVolume", &["VolumeId!"]);

/// As many as one call of storage gives.
const PAGE: i32 = 999;

async fn create_volume(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let snapshot = params.id::<SnapshotKind>("SnapshotId")?;
    let size = params.number::<i32>("Size")?;
    if snapshot.is_none() && size.is_none() {
        let text = "Either SnapshotId or Size must be given.";
        return Err(Error::new(vmint_ec2::Code::MissingParameter, text).into());
    }
    let zone = params.text("AvailabilityZone")?.unwrap_or_else(|| call.front.regions.zone());
    let request = CreateVolumeRequest {
        snapshot_id: snapshot.map(|id| id.to_string()).unwrap_or_default(),
        size_gib: size.unwrap_or_default(),
        // What EC2 makes where no type is named.
        volume_type: message(volume_type(params)?.unwrap_or(VolumeType::Gp2)).into(),
        iops: params.number("Iops")?.unwrap_or_default(),
        throughput_mibps: params.number("Throughput")?.unwrap_or_default(),
        availability_zone: zone,
        tags: new_tags(params, "volume")?,
        request_id,
        encrypted: params.flag("Encrypted")?.unwrap_or(false),
        kms_key_id: params.text("KmsKeyId")?.unwrap_or_default(),
    };
    let mut storage = call.front.gateway.peers.own_volumes(&call.caller);
    let made = storage.create_volume(request).await?.into_inner().volume.unwrap_or_default();
    let mut xml = Xml::new();
    shown(&mut xml, &call, &made);
    Ok(xml)
}

async fn describe_volumes(mut call: Call) -> Answer {
    let (volumes, next) = find(&mut call).await?;
    let mut xml = Xml::new();
    xml.items("volumeSet", &volumes, |xml, one| shown(xml, &call, one)).filled("nextToken", next);
    Ok(xml)
}

/// How much of what a volume was made of is on the host, in percent.
fn initialized(volume: &Volume) -> Option<i32> {
    volume.hydrated_percent.filter(|_| !volume.snapshot_id.is_empty())
}

async fn describe_volume_status(mut call: Call) -> Answer {
    let (volumes, next) = find(&mut call).await?;
    let mut xml = Xml::new();
    xml.items("volumeStatusSet", &volumes, |xml, one| {
        xml.text("volumeId", &one.volume_id)
            .text("availabilityZone", zone(&call, one))
            .node("volumeStatus", |xml| {
                // Every read is verified: one that fails is an error, not a state.
                let mut details = vec![("io-enabled", "passed")];
                details.extend(initialized(one).map(|percent| {
                    let state = if percent < 100 { "initializing" } else { "completed" };
                    ("initialization-state", state)
                }));
                xml.text("status", "ok").items("details", details, |xml, (name, status)| {
                    xml.text("name", name).text("status", status);
                });
            })
            .empty("eventsSet")
            .empty("actionsSet");
        if let Some(percent) = initialized(one) {
            xml.node("initializationStatusDetails", |xml| {
                xml.text("initializationType", "default").text("progress", percent.to_string());
            });
        }
    })
    .filled("nextToken", next);
    Ok(xml)
}

/// The volumes asked for; without MaxResults nothing is left out.
async fn find(call: &mut Call) -> Result<(Vec<Volume>, String), Refused> {
    let params = &mut call.params;
    let ids = params.ids::<VolumeKind>("VolumeId")?;
    let page = params.page(5, 1000)?;
    let mut request = ListVolumesRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
        filters: params.filters()?.into_iter().map(filter).collect(),
        volume_ids: ids.iter().map(ToString::to_string).collect(),
    };
    let mut storage = call.front.gateway.peers.disks(&call.caller);
    let mut found = Vec::new();
    loop {
        let answer = storage.list_volumes(request.clone()).await?.into_inner();
        found.extend(answer.volumes);
        if answer.next_page_token.is_empty() || page.max_results.is_some() {
            return Ok((found, answer.next_page_token));
        }
        request.page_token = answer.next_page_token;
    }
}

async fn attach_volume(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let request = AttachVolumeRequest {
        volume_id: params.need_id::<VolumeKind>("VolumeId")?.to_string(),
        instance_id: params.need_id::<InstanceKind>("InstanceId")?.to_string(),
        device_name: params.need("Device")?,
        delete_on_termination: false,
        request_id,
    };
    let answer = call.front.gateway.attach_volume(&call.caller, request).await?;
    let mut xml = Xml::new();
    attachment(&mut xml, &answer.volume.unwrap_or_default());
    Ok(xml)
}

async fn detach_volume(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let volume_id = params.need_id::<VolumeKind>("VolumeId")?.to_string();
    let instance_id = params.id::<InstanceKind>("InstanceId")?.map(|id| id.to_string());
    let device = params.text("Device")?;
    let request = DetachVolumeRequest {
        volume_id: volume_id.clone(),
        instance_id: instance_id.clone().unwrap_or_default(),
        force: params.flag("Force")?.unwrap_or(false),
        request_id,
    };
    call.front.gateway.detach_volume(&call.caller, request).await?;
    let mut xml = Xml::new();
    xml.text("volumeId", volume_id)
        .filled("instanceId", instance_id.unwrap_or_default())
        .filled("device", device.unwrap_or_default())
        .text("status", "detached");
    Ok(xml)
}

async fn modify_volume(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let request = ModifyVolumeRequest {
        volume_id: params.need_id::<VolumeKind>("VolumeId")?.to_string(),
        size_gib: params.number("Size")?.unwrap_or_default(),
        volume_type: volume_type(params)?.map(message).unwrap_or_default().into(),
        iops: params.number("Iops")?.unwrap_or_default(),
        throughput_mibps: params.number("Throughput")?.unwrap_or_default(),
        request_id,
    };
    let mut storage = call.front.gateway.peers.own_volumes(&call.caller);
    let change = storage.modify_volume(request).await?.into_inner().modification;
    let mut xml = Xml::new();
    xml.node("volumeModification", |xml| modification(xml, &change.unwrap_or_default()));
    Ok(xml)
}

async fn describe_volumes_modifications(mut call: Call) -> Answer {
    let params = &mut call.params;
    let ids = params.ids::<VolumeKind>("VolumeId")?;
    let page = params.page(5, 1000)?;
    let mut request = ListVolumeModificationsRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
        filters: params.filters()?.into_iter().map(filter).collect(),
        volume_ids: ids.iter().map(ToString::to_string).collect(),
    };
    let mut storage = call.front.gateway.peers.own_volumes(&call.caller);
    let mut found = Vec::new();
    let next = loop {
        let answer = storage.list_volume_modifications(request.clone()).await?.into_inner();
        found.extend(answer.modifications);
        if answer.next_page_token.is_empty() || page.max_results.is_some() {
            break answer.next_page_token;
        }
        request.page_token = answer.next_page_token;
    };
    let mut xml = Xml::new();
    xml.items("volumeModificationSet", &found, modification).filled("nextToken", next);
    Ok(xml)
}

async fn delete_volume(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let volume_id = call.params.need_id::<VolumeKind>("VolumeId")?.to_string();
    let request = DeleteVolumeRequest { volume_id, request_id };
    call.front.gateway.peers.own_volumes(&call.caller).delete_volume(request).await?;
    Ok(Xml::done())
}

fn volume_type(params: &mut Params) -> Result<Option<VolumeType>, Error> {
    params.choice("VolumeType", &VolumeType::ALL.map(|kind| (kind.as_str(), kind)))
}

fn zone(call: &Call, volume: &Volume) -> String {
    match volume.availability_zone.as_str() {
        "" => call.front.regions.zone(),
        zone => zone.to_owned(),
    }
}

fn shown(xml: &mut Xml, call: &Call, volume: &Volume) {
    let status = match volume.state() {
        VolumeState::Unspecified | VolumeState::Available => "available",
        VolumeState::InUse => "in-use",
    };
    xml.text("volumeId", &volume.volume_id)
        .value("size", volume.size_gib)
        .text("snapshotId", &volume.snapshot_id)
        .text("availabilityZone", zone(call, volume))
        .text("status", status);
    if let Some(at) = stamp(volume.create_time.as_ref()) {
        xml.time("createTime", at);
    }
    let attached = (!volume.instance_id.is_empty()).then_some(volume);
    xml.items("attachmentSet", attached, attachment)
        .items("tagSet", &volume.tags, tag)
        .text("volumeType", told(volume.volume_type()).as_str());
    if volume.iops > 0 {
        xml.value("iops", volume.iops);
    }
    if volume.throughput_mibps > 0 {
        xml.value("throughput", volume.throughput_mibps);
    }
    xml.value("encrypted", volume.encrypted)
        .filled("kmsKeyId", &volume.kms_key_id)
        .value("multiAttachEnabled", false);
}

fn attachment(xml: &mut Xml, volume: &Volume) {
    let status = match volume.attachment_state() {
        AttachmentState::Attaching => "attaching",
        AttachmentState::Unspecified | AttachmentState::Attached => "attached",
        AttachmentState::Detaching => "detaching",
    };
    xml.text("volumeId", &volume.volume_id)
        .text("instanceId", &volume.instance_id)
        .text("device", &volume.device_name)
        .text("status", status);
    if let Some(at) = stamp(volume.attach_time.as_ref()) {
        xml.time("attachTime", at);
    }
    xml.value("deleteOnTermination", volume.delete_on_termination);
}

fn modification(xml: &mut Xml, change: &VolumeModification) {
    let state = match change.state() {
        VolumeModificationState::Unspecified | VolumeModificationState::Modifying => "modifying",
        VolumeModificationState::Completed => "completed",
    };
    xml.text("volumeId", &change.volume_id)
        .text("modificationState", state)
        .value("targetSize", change.target_size_gib)
        .value("targetIops", change.target_iops)
        .text("targetVolumeType", told(change.target_volume_type()).as_str())
        .value("targetThroughput", change.target_throughput_mibps)
        .value("originalSize", change.original_size_gib)
        .value("originalIops", change.original_iops)
        .text("originalVolumeType", told(change.original_volume_type()).as_str())
        .value("originalThroughput", change.original_throughput_mibps)
        .value("progress", change.progress_percent);
    if let Some(at) = stamp(change.start_time.as_ref()) {
        xml.time("startTime", at);
    }
    if let Some(at) = stamp(change.end_time.as_ref()) {
        xml.time("endTime", at);
    }
}
