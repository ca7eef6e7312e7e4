//! What listings and labels are asked for, out of messages.

use vmint_api::storage::v1 as pb;
use vmint_api::types::v1::{Filter, Tag};
use vmint_ids::AccountId;
use vmint_performance::VolumeType;

use super::convert::{id, ids};
use crate::{
    Result, StorageError,
    filter::Filters,
    ops::{Labels, Resource, Scope, SnapshotQuery, VolumeQuery},
    tag::{TagChange, Tags, read_tags},
};

fn pairs(filters: &[Filter]) -> impl Iterator<Item = (String, Vec<String>)> {
    filters.iter().map(|filter| (filter.name.clone(), filter.values.clone()))
}

/// Which snapshots, and the request without its paging.
pub(super) fn snapshots(
    account: AccountId,
    request: &pb::ListSnapshotsRequest,
) -> Result<(SnapshotQuery, pb::ListSnapshotsRequest)> {
    let query = SnapshotQuery {
        account,
        scope: match request.scope() {
            pb::SnapshotScope::Unspecified => Scope::Own,
            pb::SnapshotScope::Readable => Scope::Readable,
            pb::SnapshotScope::Shared => Scope::Shared,
            pb::SnapshotScope::Public => Scope::Public,
        },
        filters: Filters::of_snapshots(pairs(&request.filters))?,
        ids: ids("snapshot_ids", &request.snapshot_ids)?,
    };
    let page_token = String::new();
    Ok((query, pb::ListSnapshotsRequest { page_size: 0, page_token, ..request.clone() }))
}

/// Which volumes, and the request without its paging.
pub(super) fn volumes(
    account: AccountId,
    request: &pb::ListVolumesRequest,
) -> Result<(VolumeQuery, pb::ListVolumesRequest)> {
    let query = VolumeQuery {
        account,
        filters: Filters::of_volumes(pairs(&request.filters))?,
        ids: ids("volume_ids", &request.volume_ids)?,
        modified: false,
    };
    let page_token = String::new();
    Ok((query, pb::ListVolumesRequest { page_size: 0, page_token, ..request.clone() }))
}

/// Which modifications, and the request without its paging.
pub(super) fn modifications(
    account: AccountId,
    request: &pb::ListVolumeModificationsRequest,
) -> Result<(VolumeQuery, pb::ListVolumeModificationsRequest)> {
    let query = VolumeQuery {
        account,
        filters: Filters::of_volumes(pairs(&request.filters))?,
        ids: ids("volume_ids", &request.volume_ids)?,
        modified: true,
    };
    let page_token = String::new();
    Ok((query, pb::ListVolumeModificationsRequest { page_size: 0, page_token, ..request.clone() }))
}

pub(super) fn tags(sent: Vec<Tag>) -> Result<Tags> {
    Ok(read_tags(sent.into_iter().map(|tag| (tag.key, tag.value)))?)
}

/// A description and tags for something new.
pub(super) fn labels(description: String, sent: Vec<Tag>) -> Result<Labels> {
    if description.chars().count() > 255 {
        return Err(StorageError::Invalid {
            field: "description",
            what: "description",
            value: description.chars().take(32).collect(),
            rule: "use at most 255 characters".to_owned(),
        });
    }
    Ok(Labels { description, tags: tags(sent)?, copy_tags: false })
}

/// What is to be labelled: 1 to 20 snapshots, volumes, imports and exports.
pub(super) fn resources(texts: &[String]) -> Result<Vec<Resource>> {
    const FIELD: &str = "resource_ids";
    if texts.is_empty() || texts.len() > 20 {
        return Err(StorageError::Invalid {
            field: FIELD,
            what: "list",
            value: format!("{} ids", texts.len()),
            rule: "name 1 to 20".to_owned(),
        });
    }
    let one = |text: &String| {
        Ok(match text.split('-').next() {
            Some("vol") => Resource::Volume(id(FIELD, text)?),
            Some("import") => Resource::Import(id(FIELD, text)?),
            Some("export" | "store") => Resource::Export(id(FIELD, text)?),
            _ => Resource::Snapshot(id(FIELD, text)?),
        })
    };
    let mut found = texts.iter().map(one).collect::<Result<Vec<_>>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Tags to put on.
pub(super) fn put_tags(sent: Vec<Tag>) -> Result<TagChange> {
    let tags = tags(sent)?;
    if tags.is_empty() {
        return Err(tag_count("name 1 to 50"));
    }
    Ok(TagChange::Put(tags))
}

/// Tags to take off; none named are all.
pub(super) fn remove_tags(sent: Vec<pb::TagSelector>) -> Result<TagChange> {
    if sent.is_empty() {
        return Ok(TagChange::RemoveAll);
    }
    if sent.len() > 50 {
        return Err(tag_count("name at most 50, or none for all"));
    }
    Ok(TagChange::Remove(sent.into_iter().map(|tag| (tag.key, tag.value)).collect()))
}

fn tag_count(rule: &str) -> StorageError {
    StorageError::Invalid {
        field: "tags",
        what: "list",
        value: "of tags".to_owned(),
        rule: rule.to_owned(),
    }
}

/// The kind that is asked for; none if it is left open.
pub(super) fn volume_type(kind: pb::VolumeType) -> Option<VolumeType> {
    Some(match kind {
        pb::VolumeType::Unspecified => return None,
        pb::VolumeType::Gp2 => VolumeType::Gp2,
        pb::VolumeType::Gp3 => VolumeType::Gp3,
        pb::VolumeType::Io1 => VolumeType::Io1,
        pb::VolumeType::Io2 => VolumeType::Io2,
        pb::VolumeType::St1 => VolumeType::St1,
        pb::VolumeType::Sc1 => VolumeType::Sc1,
        pb::VolumeType::Standard => VolumeType::Standard,
    })
}

/// A label of where a volume is said to be.
pub(super) fn zone(text: String) -> Result<String> {
    let fits = text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        return Ok(text);
    }
    Err(StorageError::Invalid {
        field: "availability_zone",
        what: "zone",
        value: text.chars().take(40).collect(),
        rule: "use at most 32 letters, digits and dashes".to_owned(),
    })
}
