//! Snapshots: make, find, copy, share and delete.

use vmint_api::{
    storage::v1::{
        CopySnapshotRequest, CreateSnapshotRequest, CreateSnapshotsRequest, DeleteSnapshotRequest,
        ListSnapshotsRequest, Snapshot, SnapshotScope, SnapshotState,
    },
    types::v1::{Filter, Tag},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml};
use vmint_ids::{AccountId, InstanceKind, SnapshotKind, VolumeKind};

use super::{Call, Entry, entries, entry::Answer, service::Service, stamp};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_snapshot,
    writes CREATE_SET => create_snapshots,
    reads DESCRIBE => describe_snapshots,
    writes DELETE => delete_snapshot,
    writes COPY => copy_snapshot,
};

const CREATE: Operation = Operation::new(
    "CreateSnapshot",
    &[
        "VolumeId!",
        "Description",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[("OutpostArn", &[]), ("Location", &["regional"])]);
const CREATE_SET: Operation = Operation::new(
    "CreateSnapshots",
    &[
        "InstanceSpecification.InstanceId!",
        "InstanceSpecification.ExcludeBootVolume",
        "InstanceSpecification.ExcludeDataVolumeId.N",
        "Description",
        "CopyTagsFromSource",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[("OutpostArn", &[]), ("Location", &["regional"])]);
const DESCRIBE: Operation = Operation::new(
    "DescribeSnapshots",
    &[
        "SnapshotId.N",
        "Owner.N",
        "RestorableBy.N",
        "MaxResults",
        "NextToken",
        "Filter.N.Name",
        "Filter.N.Value.N",
    ],
)
.filters(&[
    "description",
    "encrypted",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "tag:*",
    "tag-key",
    "volume-id",
    "volume-size",
]);
const DELETE: Operation = Operation::new("DeleteSnapshot", &["SnapshotId!"]);
const COPY: Operation = Operation::new(
    "CopySnapshot",
    &[
        "SourceRegion!",
        "SourceSnapshotId!",
        "DestinationRegion",
        "Description",
        "Encrypted",
        "KmsKeyId",
        "PresignedUrl",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[("DestinationOutpostArn", &[]), ("CompletionDurationMinutes", &[])]);
/// As many as one call of storage gives.
const PAGE: i32 = 999;

async fn create_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let request = CreateSnapshotRequest {
        volume_id: params.need_id::<VolumeKind>("VolumeId")?.to_string(),
        description: params.text("Description")?.unwrap_or_default(),
        tags: new_tags(params, "snapshot")?,
        request_id,
    };
    let mut storage = call.front.gateway.peers.snapshots(&call.caller);
    let made = storage.create_snapshot(request).await?.into_inner().snapshot.unwrap_or_default();
    let mut xml = Xml::new();
    shown(&mut xml, &made, "status");
    Ok(xml)
}

async fn create_snapshots(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let selected = params.inside("InstanceSpecification", |inner| {
        Ok((
            inner.need_id::<InstanceKind>("InstanceId")?.to_string(),
            inner.flag("ExcludeBootVolume")?.unwrap_or(false),
            inner.ids::<VolumeKind>("ExcludeDataVolumeId")?,
        ))
    })?;
    let Some((instance_id, exclude_boot_volume, exclude)) = selected else {
        return Err(Error::missing("InstanceSpecification.InstanceId").into());
    };
    let copy = params.text("CopyTagsFromSource")?;
    if let Some(wrong) = copy.as_ref().filter(|source| *source != "volume") {
        return Err(Error::invalid("CopyTagsFromSource", wrong, "It must be volume.").into());
    }
    let request = CreateSnapshotsRequest {
        instance_id,
        exclude_boot_volume,
        exclude_data_volume_ids: exclude.iter().map(ToString::to_string).collect(),
        description: params.text("Description")?.unwrap_or_default(),
        tags: new_tags(params, "snapshot")?,
        copy_tags_from_source: copy.is_some(),
        request_id,
    };
    let mut storage = call.front.gateway.peers.snapshots(&call.caller);
    let made = storage.create_snapshots(request).await?.into_inner().snapshots;
    let mut xml = Xml::new();
    xml.items("snapshotSet", &made, |xml, one| shown(xml, one, "state"));
    Ok(xml)
}

async fn describe_snapshots(mut call: Call) -> Answer {
    let params = &mut call.params;
    let ids = params.ids::<SnapshotKind>("SnapshotId")?;
    let page = params.page(5, 1000)?;
    if !ids.is_empty() && page.max_results.is_some() {
        let text = "The parameter MaxResults can't be used with SnapshotId.";
        return Err(Error::combination(text).into());
    }
    let mut filters = params.filters()?.into_iter().map(filter).collect::<Vec<_>>();
    let owners = params.list("Owner")?;
    let restorable = params.list("RestorableBy")?;
    let scope = scope(&owners, &restorable, &call.caller.account, &mut filters)?;
    let mut request = ListSnapshotsRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.clone().unwrap_or_default(),
        filters,
        snapshot_ids: ids.iter().map(ToString::to_string).collect(),
        scope: scope.into(),
    };
    let all = page.max_results.is_none();
    let mut storage = call.front.gateway.peers.disks(&call.caller);
    let mut found = Vec::new();
    let next = loop {
        let page = storage.list_snapshots(request.clone()).await?.into_inner();
        found.extend(page.snapshots);
        if page.next_page_token.is_empty() || !all {
            break page.next_page_token;
        }
        request.page_token = page.next_page_token;
    };
    let mut xml = Xml::new();
    xml.items("snapshotSet", &found, |xml, one| shown(xml, one, "status"))
        .filled("nextToken", next);
    Ok(xml)
}

/// Whose to look through; owners that are named are put among the filters.
fn scope(
    owners: &[String],
    restorable: &[String],
    account: &str,
    filters: &mut Vec<Filter>,
) -> Result<SnapshotScope, Error> {
    let malformed = |text: &String| {
        let known = matches!(text.as_str(), "self" | "all" | "amazon");
        !known && text.parse::<AccountId>().is_err()
    };
    if let Some(wrong) = owners.iter().chain(restorable).find(|text| malformed(text)) {
        let text = format!("Invalid user id: \"{wrong}\"");
        return Err(Error::new(Code::InvalidUserIdMalformed, text));
    }
    let own = |text: &String| text == "self" || text == account;
    if !owners.is_empty() {
        if owners.iter().all(own) {
            return Ok(SnapshotScope::Unspecified);
        }
        let values = owners.iter().map(|owner| if own(owner) { account } else { owner.as_str() });
        let values = values.map(str::to_owned).collect();
        filters.push(Filter { name: "owner-id".to_owned(), values });
    }
    Ok(match restorable {
        [one] if one == "all" => SnapshotScope::Public,
        _ => SnapshotScope::Readable,
    })
}

async fn delete_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    let request = DeleteSnapshotRequest { snapshot_id, request_id, dry_run: false };
    call.front.gateway.peers.disks(&call.caller).delete_snapshot(request).await?;
    Ok(Xml::done())
}

async fn copy_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let source_region = call.front.regions.source(params.need("SourceRegion")?)?;
    // What clients add for the sake of another region's gateway: the regions
    // trust one another, and it is asked for the same account.
    params.text("DestinationRegion")?;
    params.text("PresignedUrl")?;
    let encrypted = params.flag("Encrypted")?.unwrap_or(false);
    let kms_key_id = params.text("KmsKeyId")?.unwrap_or_default();
    if !encrypted && !kms_key_id.is_empty() {
        let text = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Error::combination(text).into());
    }
    let request = CopySnapshotRequest {
        source_snapshot_id: params.need_id::<SnapshotKind>("SourceSnapshotId")?.to_string(),
        description: params.text("Description")?.unwrap_or_default(),
        tags: new_tags(params, "snapshot")?,
        request_id,
        encrypted,
        kms_key_id,
        source_region,
    };
    let mut storage = call.front.gateway.peers.snapshots(&call.caller);
    let made = storage.copy_snapshot(request).await?.into_inner().snapshot.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("snapshotId", &made.snapshot_id).items("tagSet", &made.tags, tag);
    Ok(xml)
}

fn shown(xml: &mut Xml, snapshot: &Snapshot, state: &str) {
    let text = match snapshot.state() {
        SnapshotState::Unspecified | SnapshotState::Pending => "pending",
        SnapshotState::Completed => "completed",
        SnapshotState::Error => "error",
    };
    // A snapshot that was made of no volume bears EC2's placeholder.
    let volume = match snapshot.volume_id.as_str() {
        "" => "vol-ffffffff",
        id => id,
    };
    xml.text("snapshotId", &snapshot.snapshot_id)
        .text("volumeId", volume)
        .text(state, text)
        .filled("statusMessage", &snapshot.state_reason);
    if let Some(at) = stamp(snapshot.create_time.as_ref()) {
        xml.time("startTime", at);
    }
    xml.text("progress", format!("{}%", snapshot.progress_percent))
        .text("ownerId", &snapshot.account_id)
        .value("volumeSize", snapshot.size_gib)
        .text("description", &snapshot.description)
        .value("encrypted", snapshot.encrypted)
        .filled("kmsKeyId", &snapshot.kms_key_id)
        .items("tagSet", &snapshot.tags, tag);
}

pub(super) fn tag(xml: &mut Xml, tag: &Tag) {
    xml.text("key", &tag.key).text("value", &tag.value);
}

pub(super) fn filter(filter: vmint_ec2::query::Filter) -> Filter {
    Filter { name: filter.name, values: filter.values }
}

/// The tags for what a call makes.
pub(super) fn new_tags(params: &mut Params, kind: &str) -> Result<Vec<Tag>, Error> {
    let specifications = params.tag_specifications(&[kind])?;
    let tags = Params::tags_for(&specifications, kind).into_iter();
    Ok(tags.map(|tag| Tag { key: tag.key, value: tag.value }).collect())
}
