//! Tags, whatever they are on.

use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{ListImagesRequest, TagImageRequest},
    types::v1::{Filter, Tag},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml, query};
use vmint_ids::{ImageKind, Kind};
use vmint_rpc::{BadToken, Caller, PageToken};

use super::{
    Call, Entry, Front, Refused, disk_tags, entries, entry::Answer, filter, images, machine_tags,
    service::Service, task_tags,
};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_tags,
    writes DELETE => delete_tags,
    reads DESCRIBE => describe_tags,
};

const CREATE: Operation =
    Operation::new("CreateTags", &["ResourceId.N!", "Tag.N.Key!", "Tag.N.Value"]);
const DELETE: Operation =
    Operation::new("DeleteTags", &["ResourceId.N!", "Tag.N.Key", "Tag.N.Value"]);
const DESCRIBE: Operation = Operation::new(
    "DescribeTags",
    &["MaxResults", "NextToken", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["key", "resource-id", "resource-type", "tag:*", "value"]);

/// As many resources as one call may tag.
const MOST_RESOURCES: usize = 1000;

/// What to do with the tags of a resource.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(Vec<Tag>),
    /// Tags by key, each only while it has the value if one is given.
    Remove(Vec<(String, Option<String>)>),
    RemoveAll,
}

/// Tags for the one kind of resource that a call makes.
pub(super) fn of_new(params: &mut Params, kind: &str) -> Result<Vec<Tag>, Error> {
    let specifications = params.tag_specifications(&[kind])?;
    Ok(kept(Params::tags_for(&specifications, kind)))
}

/// Tags as services keep them.
pub(super) fn kept(tags: Vec<query::Tag>) -> Vec<Tag> {
    tags.into_iter().map(|tag| Tag { key: tag.key, value: tag.value }).collect()
}

async fn create_tags(mut call: Call) -> Answer {
    let change = Change::Put(kept(call.params.tags()?));
    apply(call, change).await
}

async fn delete_tags(mut call: Call) -> Answer {
    let read = |tag: &mut Params| Ok((tag.need("Key")?, tag.raw("Value")?));
    let tags = call.params.each("Tag", read)?;
    let change = if tags.is_empty() { Change::RemoveAll } else { Change::Remove(tags) };
    apply(call, change).await
}

/// Changes every resource, or, if one of them is not the caller's, none.
async fn apply(mut call: Call, change: Change) -> Answer {
    let request_id = call.request_id()?;
    let mut ids = call.params.list("ResourceId")?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MOST_RESOURCES {
        let text = format!("Give at most {MOST_RESOURCES} resources.");
        return Err(Error::new(Code::InvalidParameterValue, text).into());
    }
    let (front, caller) = (&call.front, &call.caller);
    let (disks, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| disk_tags::keeps(id));
    let (machines, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| machine_tags::keeps(id));
    let (tasks, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| task_tags::keeps(id));
    let (groups, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.starts_with("sg-"));
    let network = call.network()?;
    network.must_have_groups(&groups)?;
    let mut seen = Vec::with_capacity(ids.len());
    for id in &ids {
        seen.push(image(front, caller, id).await?);
    }
    disk_tags::all_exist(front, caller, &disks).await?;
    machine_tags::all_exist(front, caller, &machines).await?;
    task_tags::all_exist(front, caller, &tasks).await?;
    network.tag_groups(&front.groups, &groups, &change).await?;
    let stored = [disks, tasks].concat();
    disk_tags::change(front, caller, &stored, &change, &request_id).await?;
    machine_tags::change(front, caller, &machines, &change, &request_id).await?;
    for image in seen {
        let request_id = format!("{request_id}/{}", image.image_id);
        front.gateway.tag_image(caller, update(image, &change, request_id)).await?;
    }
    Ok(Xml::done())
}

/// An image that the caller may see: its owner's tags are the image's, those of
/// others their own.
async fn image(front: &Front, caller: &Caller, id: &str) -> Result<Image, Refused> {
    let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
    if prefix != ImageKind::PREFIX {
        let shown = id.chars().take(64).collect::<String>();
        let text = format!("The ID '{shown}' is not valid");
        return Err(Error::new(Code::InvalidId, text).into());
    }
    let id = query::parse_id::<ImageKind>(id)?.to_string();
    Ok(front.gateway.get_image(caller, &id).await?)
}

fn update(image: Image, change: &Change, request_id: String) -> TagImageRequest {
    let (put_tags, remove_tag_keys) = match change {
        Change::Put(tags) => (tags.clone(), Vec::new()),
        Change::RemoveAll => (Vec::new(), image.tags.into_iter().map(|tag| tag.key).collect()),
        Change::Remove(tags) => {
            let has = |key: &String, value: &String| {
                image.tags.iter().any(|tag| tag.key == *key && tag.value == *value)
            };
            let goes = tags.iter().filter(|(key, value)| match value {
                Some(value) => has(key, value),
                None => true,
            });
            (Vec::new(), goes.map(|(key, _)| key.clone()).collect())
        }
    };
    TagImageRequest { image_id: image.image_id, put_tags, remove_tag_keys, request_id }
}

/// One line of an answer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    resource_id: String,
    key: String,
    value: String,
    resource_type: &'static str,
}

impl Row {
    /// Where a listing goes on behind it.
    fn place(&self) -> Vec<u8> {
        format!("{}\0{}", self.resource_id, self.key).into_bytes()
    }

    fn facts(&self, name: &str) -> Vec<String> {
        match name {
            "key" => vec![self.key.clone()],
            "value" => vec![self.value.clone()],
            "resource-id" => vec![self.resource_id.clone()],
            "resource-type" => vec![self.resource_type.to_owned()],
            _ if name.strip_prefix("tag:") == Some(&self.key) => vec![self.value.clone()],
            _ => Vec::new(),
        }
    }
}

async fn describe_tags(mut call: Call) -> Answer {
    let page = call.params.page(5, 1000)?;
    let filters = call.params.filters()?;
    // What a token is bound to.
    let canonical = ListImagesRequest {
        owners: vec!["DescribeTags".to_owned()],
        filters: filters
            .iter()
            .map(|filter| Filter { name: filter.name.clone(), values: filter.values.clone() })
            .collect(),
        ..ListImagesRequest::default()
    };
    let token = page.next_token.unwrap_or_default();
    let after = PageToken::read(&token, &canonical, &call.caller.account)
        .map_err(|BadToken| Error::new(Code::InvalidNextToken, BadToken.to_string()))?;
    let mut rows = Vec::new();
    for image in images::all_tagged(&call.front.gateway, &call.caller).await? {
        rows.extend(image.tags.into_iter().map(|tag| Row {
            resource_id: image.image_id.clone(),
            key: tag.key,
            value: tag.value,
            resource_type: "image",
        }));
    }
    let mut others = disk_tags::all_own(&call.front, &call.caller).await?;
    others.extend(machine_tags::all_own(&call.front, &call.caller).await?);
    others.extend(task_tags::all_own(&call).await?);
    for (resource_id, resource_type, tags) in others {
        rows.extend(tags.into_iter().map(|tag| Row {
            resource_id: resource_id.clone(),
            key: tag.key,
            value: tag.value,
            resource_type,
        }));
    }
    for (id, tags) in call.network()?.group_tags() {
        rows.extend(tags.iter().map(|tag| Row {
            resource_id: id.to_owned(),
            key: tag.key.clone(),
            value: tag.value.clone(),
            resource_type: "security-group",
        }));
    }
    rows.retain(|row| filter::all(&filters, |name| row.facts(name)));
    rows.sort_unstable();
    rows.retain(|row| after.as_ref().is_none_or(|after| row.place() > *after));
    let most = page.max_results.map_or(usize::MAX, |most| most as usize);
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| PageToken::new(&last.place(), &canonical, &call.caller.account).to_text());
    let mut xml = Xml::new();
    xml.items("tagSet", rows, |xml, row| {
        xml.text("resourceId", row.resource_id)
            .text("resourceType", row.resource_type)
            .text("key", row.key)
            .text("value", row.value);
    })
    .maybe("nextToken", next);
    Ok(xml)
}
