//! Tags of snapshots and volumes, which storage keeps.

use vmint_api::{
    storage::v1::{
        ListSnapshotsRequest, ListVolumesRequest, Snapshot, TagResourcesRequest, TagSelector,
        UntagResourcesRequest, Volume,
    },
    types::v1::Tag,
};
use vmint_ids::{Kind, SnapshotKind, VolumeKind};
use vmint_rpc::Caller;

use super::{Front, Refused, tags::Change};

/// As many resources as one call of storage takes.
const AT_ONCE: usize = 20;
const PAGE: i32 = 999;

/// Whether storage keeps the tags of what bears this id.
pub(super) fn keeps(id: &str) -> bool {
    let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
    [SnapshotKind::PREFIX, VolumeKind::PREFIX].contains(&prefix)
}

/// That all of them are there and the caller's own.
pub(super) async fn all_exist(
    front: &Front,
    caller: &Caller,
    ids: &[String],
) -> Result<(), Refused> {
    let mut storage = front.gateway.peers.disks(caller);
    let (volumes, snapshots): (Vec<_>, Vec<_>) =
        ids.iter().cloned().partition(|id| id.starts_with(VolumeKind::PREFIX));
    if !snapshots.is_empty() {
        let request = ListSnapshotsRequest { snapshot_ids: snapshots, ..Default::default() };
        storage.list_snapshots(request).await?;
    }
    if !volumes.is_empty() {
        let request = ListVolumesRequest { volume_ids: volumes, ..Default::default() };
        storage.list_volumes(request).await?;
    }
    Ok(())
}

/// Changes the tags of resources that storage keeps.
pub(super) async fn change(
    front: &Front,
    caller: &Caller,
    ids: &[String],
    change: &Change,
    request_id: &str,
) -> Result<(), Refused> {
    let mut storage = front.gateway.peers.snapshots(caller);
    for (n, ids) in ids.chunks(AT_ONCE).enumerate() {
        let request_id = format!("{request_id}/disks-{n}");
        let resource_ids = ids.to_vec();
        let gone = match change {
            Change::Put(tags) => {
                let request = TagResourcesRequest { resource_ids, tags: tags.clone(), request_id };
                storage.tag_resources(request).await?;
                continue;
            }
            Change::Remove(gone) => gone.as_slice(),
            // None named means all of them.
            Change::RemoveAll => &[],
        };
        let select = |(key, value): &(String, Option<String>)| TagSelector {
            key: key.clone(),
            value: value.clone(),
        };
        let tags = gone.iter().map(select).collect();
        storage.untag_resources(UntagResourcesRequest { resource_ids, tags, request_id }).await?;
    }
    Ok(())
}

/// The tags of everything of the caller's that storage keeps: id, type, tags.
pub(super) async fn all_own(
    front: &Front,
    caller: &Caller,
) -> Result<Vec<(String, &'static str, Vec<Tag>)>, Refused> {
    let mut storage = front.gateway.peers.disks(caller);
    let mut found = Vec::new();
    let mut request = ListSnapshotsRequest { page_size: PAGE, ..Default::default() };
    loop {
        let page = storage.list_snapshots(request.clone()).await?.into_inner();
        let row = |one: Snapshot| (one.snapshot_id, "snapshot", one.tags);
        found.extend(page.snapshots.into_iter().map(row));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let mut request = ListVolumesRequest { page_size: PAGE, ..Default::default() };
    loop {
        let page = storage.list_volumes(request.clone()).await?.into_inner();
        let row = |one: Volume| (one.volume_id, "volume", one.tags);
        found.extend(page.volumes.into_iter().map(row));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}
