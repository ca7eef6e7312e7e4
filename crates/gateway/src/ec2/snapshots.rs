//! Snapshots: make, find, copy, share and delete.

use vmint_api::{
    gateway::v1::{
        GetSnapshotPermissionRequest, ModifySnapshotPermissionRequest,
        ResetSnapshotPermissionRequest,
    },
    storage::v1::{
        CopySnapshotRequest, CreateSnapshotRequest, CreateSnapshotsRequest, DeleteSnapshotRequest,
        GetSnapshotRequest, ListSnapshotsRequest, Snapshot, SnapshotScope, SnapshotState,
    },
    types::v1::{Filter, Tag},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml};
use vmint_ids::{AccountId, InstanceKind, SnapshotKind, VolumeKind};

use super::{Call, Entry, Refused, entries, entry::Answer, service::Service, stamp};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_snapshot,
    writes CREATE_SET => create_snapshots,
    reads DESCRIBE => describe_snapshots,
    writes DELETE => delete_snapshot,
    writes COPY => copy_snapshot,
    writes MODIFY_ATTRIBUTE => modify_snapshot_attribute,
    reads DESCRIBE_ATTRIBUTE => describe_snapshot_attribute,
    writes RESET_ATTRIBUTE => reset_snapshot_attribute,
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
const MODIFY_ATTRIBUTE: Operation = Operation::new(
    "ModifySnapshotAttribute",
    &[
        "SnapshotId!",
        "Attribute",
        "OperationType",
        "UserId.N",
        "UserGroup.N",
        "CreateVolumePermission.Add.N.UserId",
        "CreateVolumePermission.Add.N.Group",
        "CreateVolumePermission.Remove.N.UserId",
        "CreateVolumePermission.Remove.N.Group",
    ],
);
const DESCRIBE_ATTRIBUTE: Operation =
    Operation::new("DescribeSnapshotAttribute", &["SnapshotId!", "Attribute!"]);
const RESET_ATTRIBUTE: Operation =
    Operation::new("ResetSnapshotAttribute", &["SnapshotId!", "Attribute!"]);

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
    let request = DeleteSnapshotRequest { snapshot_id, request_id };
    call.front.gateway.peers.disks(&call.caller).delete_snapshot(request).await?;
    Ok(Xml::done())
}

async fn copy_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    call.front.regions.must_be_own(&params.need("SourceRegion")?)?;
    // What clients add for the sake of another region's gateway.
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
    };
    let mut storage = call.front.gateway.peers.snapshots(&call.caller);
    let made = storage.copy_snapshot(request).await?.into_inner().snapshot.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("snapshotId", &made.snapshot_id).items("tagSet", &made.tags, tag);
    Ok(xml)
}

async fn modify_snapshot_attribute(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    if let Some(attribute) = call.params.text("Attribute")? {
        permission_only(&attribute)?;
    }
    let mut change =
        ModifySnapshotPermissionRequest { snapshot_id, request_id, ..Default::default() };
    read_change(&mut call.params, &mut change)?;
    call.front.gateway.modify_snapshot_permission(&call.caller, change).await?;
    Ok(Xml::done())
}

/// Both styles: `CreateVolumePermission.Add.1.UserId`, and `OperationType=add`
/// with `UserId.1`; some clients send both.
fn read_change(
    params: &mut Params,
    change: &mut ModifySnapshotPermissionRequest,
) -> Result<(), Error> {
    let read = |who: &mut Params| Ok((who.text("UserId")?, who.text("Group")?));
    let lists = params.inside("CreateVolumePermission", |inner| {
        Ok((inner.each("Add", read)?, inner.each("Remove", read)?))
    })?;
    let structured = lists.is_some();
    let (add, remove) = lists.unwrap_or_default();
    for (list, adds) in [(add, true), (remove, false)] {
        for (account, group) in list {
            share(change, adds, account.as_deref(), group.as_deref())?;
        }
    }
    let (accounts, groups) = (params.list("UserId")?, params.list("UserGroup")?);
    let adds = match params.text("OperationType")?.as_deref() {
        Some("add") => true,
        Some("remove") => false,
        None if structured || (accounts.is_empty() && groups.is_empty()) => return Ok(()),
        None => return Err(Error::missing("OperationType")),
        Some(wrong) => {
            return Err(Error::invalid("OperationType", wrong, "It must be add or remove."));
        }
    };
    for account in &accounts {
        share(change, adds, Some(account), None)?;
    }
    for group in &groups {
        share(change, adds, None, Some(group))?;
    }
    Ok(())
}

fn share(
    change: &mut ModifySnapshotPermissionRequest,
    adds: bool,
    account: Option<&str>,
    group: Option<&str>,
) -> Result<(), Error> {
    if let Some(group) = group {
        if group != "all" {
            return Err(Error::invalid("UserGroup", group, "It must be all."));
        }
        let public = if adds { &mut change.add_public } else { &mut change.remove_public };
        *public = true;
    }
    if let Some(account) = account {
        if account.parse::<AccountId>().is_err() {
            let text = format!("Invalid user id: \"{account}\"");
            return Err(Error::new(Code::InvalidUserIdMalformed, text));
        }
        let list = if adds { &mut change.add_account_ids } else { &mut change.remove_account_ids };
        if !list.iter().any(|known| known == account) {
            list.push(account.to_owned());
        }
    }
    Ok(())
}

async fn describe_snapshot_attribute(mut call: Call) -> Answer {
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    let attribute = call.params.need("Attribute")?;
    let mut xml = Xml::new();
    xml.text("snapshotId", &snapshot_id);
    if attribute == "productCodes" {
        let request = GetSnapshotRequest { snapshot_id };
        let mut storage = call.front.gateway.peers.disks(&call.caller);
        let found = storage.get_snapshot(request).await?.into_inner().snapshot.unwrap_or_default();
        xml.items("productCodes", &found.product_codes, |xml, code| {
            xml.text("productCode", code).text("type", "marketplace");
        });
        return Ok(xml);
    }
    permission_only(&attribute)?;
    let request = GetSnapshotPermissionRequest { snapshot_id };
    let shared = call.front.gateway.get_snapshot_permission(&call.caller, request).await?;
    let everybody = shared.public.then_some(("group", "all"));
    let accounts = shared.account_ids.iter().map(|account| ("userId", account.as_str()));
    xml.items("createVolumePermission", everybody.into_iter().chain(accounts), |xml, it| {
        xml.text(it.0, it.1);
    });
    Ok(xml)
}

async fn reset_snapshot_attribute(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    permission_only(&call.params.need("Attribute")?)?;
    let request = ResetSnapshotPermissionRequest { snapshot_id, request_id };
    call.front.gateway.reset_snapshot_permission(&call.caller, request).await?;
    Ok(Xml::done())
}

fn permission_only(attribute: &str) -> Result<(), Refused> {
    if attribute == "createVolumePermission" {
        return Ok(());
    }
    Err(Error::invalid("Attribute", attribute, "It must be createVolumePermission.").into())
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
