//! Tags of instances and key pairs, which the launcher keeps.

use vmint_api::{
    launcher::v1::{
        Instance, KeyPair, ListInstancesRequest, ListKeyPairsRequest, TagResourcesRequest,
        TagSelector, UntagResourcesRequest,
    },
    types::v1::Tag,
};
use vmint_ids::{InstanceKind, KeyPairKind, Kind};
use vmint_rpc::Caller;

use super::{Front, Refused, tags::Change};

/// As many resources as one call of the launcher takes.
const AT_ONCE: usize = 20;
/// As many as it lists at once.
const PAGE: i32 = 1000;

/// Whether the launcher keeps the tags of what bears this id.
pub(super) fn keeps(id: &str) -> bool {
    let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
    [InstanceKind::PREFIX, KeyPairKind::PREFIX].contains(&prefix)
}

/// That all of them are there and the caller's own.
pub(super) async fn all_exist(
    front: &Front,
    caller: &Caller,
    ids: &[String],
) -> Result<(), Refused> {
    let mut launcher = front.gateway.peers.instances(caller);
    let (instances, pairs): (Vec<_>, Vec<_>) =
        ids.iter().cloned().partition(|id| id.starts_with(InstanceKind::PREFIX));
    if !instances.is_empty() {
        let request = ListInstancesRequest { instance_ids: instances, ..Default::default() };
        launcher.list_instances(request).await?;
    }
    if !pairs.is_empty() {
        let request = ListKeyPairsRequest { key_pair_ids: pairs, ..Default::default() };
        launcher.list_key_pairs(request).await?;
    }
    Ok(())
}

/// Changes the tags of resources that the launcher keeps.
pub(super) async fn change(
    front: &Front,
    caller: &Caller,
    ids: &[String],
    change: &Change,
    request_id: &str,
) -> Result<(), Refused> {
    let mut launcher = front.gateway.peers.instances(caller);
    for (n, ids) in ids.chunks(AT_ONCE).enumerate() {
        let request_id = format!("{request_id}/machines-{n}");
        let resource_ids = ids.to_vec();
        let gone = match change {
            Change::Put(tags) => {
                let request = TagResourcesRequest { resource_ids, tags: tags.clone(), request_id };
                launcher.tag_resources(request).await?;
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
        launcher.untag_resources(UntagResourcesRequest { resource_ids, tags, request_id }).await?;
    }
    Ok(())
}

/// The tags of everything of the caller's that the launcher keeps: id, type, tags.
pub(super) async fn all_own(
    front: &Front,
    caller: &Caller,
) -> Result<Vec<(String, &'static str, Vec<Tag>)>, Refused> {
    let mut launcher = front.gateway.peers.instances(caller);
    let mut found = Vec::new();
    let mut request = ListInstancesRequest { page_size: PAGE, ..Default::default() };
    loop {
        let page = launcher.list_instances(request.clone()).await?.into_inner();
        let row = |one: Instance| (one.instance_id, "instance", one.tags);
        found.extend(page.instances.into_iter().map(row));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let mut request = ListKeyPairsRequest { page_size: PAGE, ..Default::default() };
    loop {
        let page = launcher.list_key_pairs(request.clone()).await?.into_inner();
        let row = |one: KeyPair| (one.key_pair_id, "key-pair", one.tags);
        found.extend(page.key_pairs.into_iter().map(row));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}
