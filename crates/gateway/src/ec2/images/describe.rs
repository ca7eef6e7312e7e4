use std::collections::BTreeSet;

use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::ListImagesRequest,
    types::v1::Filter,
};
use vmint_ec2::{Code, Error, Operation, Xml};
use vmint_ids::{AccountId, ImageId, ImageKind};
use vmint_rpc::Caller;

use super::shown;
use crate::{
    ec2::{Call, Refused, alias, entry::Answer},
    ops::Gateway,
};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeImages",
    &[
        "ExecutableBy.N",
        "ImageId.N",
        "Owner.N",
        "IncludeDeprecated",
        "IncludeDisabled",
        "MaxResults",
        "NextToken",
        "Filter.N.Name",
        "Filter.N.Value.N",
    ],
)
.filters(&[
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.encrypted",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "boot-mode",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "kernel-id",
    "manifest-location",
    "name",
    "owner-alias",
    "owner-id",
    "platform",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "root-device-name",
    "root-device-type",
    "source-image-id",
    "source-instance-id",
    "sriov-net-support",
    "state",
    "state-reason-code",
    "state-reason-message",
    "tag:*",
    "tag-key",
    "virtualization-type",
]);

/// The states in which an image is shown.
const LISTED: [&str; 3] = ["pending", "available", "failed"];
/// As many ids as a filter has values.
const IDS_AT_ONCE: usize = 200;
/// As many as a page has at most.
const PAGE: i32 = 1000;

pub(super) async fn describe_images(call: Call) -> Answer {
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let ids = params.ids::<ImageKind>("ImageId")?;
    let page = params.page(1, 1000)?;
    let mut request = ListImagesRequest {
        executable_by: executors(params.list("ExecutableBy")?)?,
        owners: params.list("Owner")?,
        // A failed image is shown until it is deregistered.
        include_ended: true,
        filters: vec![filter("state", LISTED)],
        ..ListImagesRequest::default()
    };
    let mut possible = alias::owners(&front.aliases, &mut request.owners)?;
    for given in params.filters()? {
        if given.name == "owner-alias" {
            let owners = alias::accounts_of(&front.aliases, &given.values);
            possible &= !owners.is_empty();
            request.filters.push(Filter { name: "owner-id".to_owned(), values: owners });
        } else {
            request.filters.push(Filter { name: given.name, values: given.values });
        }
    }
    if !ids.is_empty() && (page.max_results.is_some() || page.next_token.is_some()) {
        let text = "The parameter MaxResults or NextToken can't be used with ImageId.";
        return Err(Error::combination(text).into());
    }
    let named = if ids.is_empty() { Vec::new() } else { all_exist(gateway, caller, &ids).await? };
    let (images, next) = match (possible, ids.is_empty(), page.max_results) {
        (false, ..) => (Vec::new(), String::new()),
        (true, false, _) if asks_no_more(&request) => (listed(caller, named), String::new()),
        (true, false, _) => (by_id(gateway, caller, &ids, &request).await?, String::new()),
        (true, true, None) if page.next_token.is_none() => {
            (all(gateway, caller, request).await?, String::new())
        }
        (true, true, most) => {
            request.page_size = most.and_then(|most| most.try_into().ok()).unwrap_or(PAGE);
            request.page_token = page.next_token.unwrap_or_default();
            let answer = gateway.list_images(caller, request).await?;
            (answer.images, answer.next_page_token)
        }
    };
    let mut xml = Xml::new();
    xml.items("imagesSet", &images, |xml, image| shown::image(xml, &front.aliases, image))
        .filled("nextToken", next);
    Ok(xml)
}

fn filter<const N: usize>(name: &str, values: [&str; N]) -> Filter {
    Filter { name: name.to_owned(), values: values.map(str::to_owned).to_vec() }
}

fn executors(texts: Vec<String>) -> Result<Vec<String>, Error> {
    let known = |text: &&String| {
        matches!(text.as_str(), "self" | "all") || text.parse::<AccountId>().is_ok()
    };
    match texts.iter().find(|text| !known(text)) {
        None => Ok(texts),
        Some(wrong) => {
            let text = format!("Invalid user id: \"{wrong}\"");
            Err(Error::new(Code::InvalidUserIdMalformed, text))
        }
    }
}

/// What was never there, or the caller may not know of, is named. What was
/// deregistered was there: it is only not shown.
async fn all_exist(
    gateway: &Gateway,
    caller: &Caller,
    ids: &[ImageId],
) -> Result<Vec<Image>, Refused> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for some in ids.chunks(IDS_AT_ONCE) {
        let texts = some.iter().map(ToString::to_string).collect::<Vec<_>>();
        let known = gateway.visible_images(caller, &texts).await?;
        let is_known = known.iter().map(|image| image.image_id.as_str()).collect::<BTreeSet<_>>();
        missing.extend(texts.iter().filter(|id| !is_known.contains(id.as_str())).cloned());
        found.extend(known);
    }
    match missing.as_slice() {
        [] => Ok(found),
        [one] => Err(vmint_ec2::query::not_found("ami", one).into()),
        more => {
            let text = format!("The image ids '[{}]' do not exist", more.join(", "));
            Err(Error::new(Code::InvalidAmiIdNotFound, text).into())
        }
    }
}

/// Nothing narrows down what is asked for by id.
fn asks_no_more(request: &ListImagesRequest) -> bool {
    request.filters.len() == 1 && request.owners.is_empty() && request.executable_by.is_empty()
}

/// Those of the images that a listing shows: what a caller may know of but what
/// is over, and of what is not available only its own.
fn listed(caller: &Caller, mut images: Vec<Image>) -> Vec<Image> {
    images.retain(|image| match image.state() {
        ImageState::Available => true,
        ImageState::Pending | ImageState::Failed => image.owner_id == caller.account,
        ImageState::Deregistered | ImageState::Unspecified => false,
    });
    images.sort_unstable_by(|a, b| a.image_id.cmp(&b.image_id));
    images.dedup_by(|a, b| a.image_id == b.image_id);
    images
}

async fn by_id(
    gateway: &Gateway,
    caller: &Caller,
    ids: &[ImageId],
    request: &ListImagesRequest,
) -> Result<Vec<Image>, Refused> {
    let mut images = Vec::new();
    let mut asked = ids.to_vec();
    asked.sort_unstable();
    asked.dedup();
    for some in asked.chunks(IDS_AT_ONCE) {
        let mut request = request.clone();
        let values = some.iter().map(ToString::to_string).collect();
        request.filters.push(Filter { name: "image-id".to_owned(), values });
        images.extend(all(gateway, caller, request).await?);
    }
    Ok(images)
}

/// Every page: without MaxResults nothing may be left out.
async fn all(
    gateway: &Gateway,
    caller: &Caller,
    mut request: ListImagesRequest,
) -> Result<Vec<Image>, Refused> {
    let mut images = Vec::new();
    request.page_size = PAGE;
    loop {
        let page = gateway.list_images(caller, request.clone()).await?;
        images.extend(page.images);
        if page.next_page_token.is_empty() {
            return Ok(images);
        }
        request.page_token = page.next_page_token;
    }
}

/// The images that have tags of the caller's, but those that are deregistered.
pub(in crate::ec2) async fn all_tagged(
    gateway: &Gateway,
    caller: &Caller,
) -> Result<Vec<Image>, Refused> {
    let request = ListImagesRequest {
        filters: vec![filter("tag-key", ["*"])],
        include_ended: true,
        ..ListImagesRequest::default()
    };
    let mut images = all(gateway, caller, request).await?;
    images.retain(|image| image.state() != ImageState::Deregistered);
    Ok(images)
}
