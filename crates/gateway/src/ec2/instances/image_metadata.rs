//! DescribeInstanceImageMetadata: what image a machine came from, whatever became of it.

use std::collections::HashMap;

use vmint_api::{
    catalog::v1::{Image, ImageState},
    launcher::v1::Instance,
};
use vmint_ec2::{Operation, Xml};

use super::{
    Answer, Call,
    describe::listed,
    shape::{tags, write_state},
};
use crate::ec2::{Refused, alias, alias::Aliases, images, network::Network, stamp};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeInstanceImageMetadata",
    &["InstanceId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&[
    "availability-zone",
    "instance-id",
    "instance-state-name",
    "instance-type",
    "launch-time",
    "tag-key",
    "tag:*",
]);

pub(super) async fn describe_instance_image_metadata(mut call: Call) -> Answer {
    let (found, next_token) = listed(&mut call).await?;
    let images = images_of(&call, &found).await?;
    let (network, aliases) = (call.network()?, &call.front.aliases);
    let mut xml = Xml::new();
    xml.items("instanceImageMetadataSet", &found, |xml, it| {
        write(xml, &network, aliases, it, images.get(&it.image_id));
    })
    .filled("nextToken", &next_token);
    Ok(xml)
}

/// The images of these machines as they are now, by id. That a machine runs of
/// one is reason enough to be told its state.
async fn images_of(call: &Call, of: &[Instance]) -> Result<HashMap<String, Image>, Refused> {
    let mut ids = of.iter().map(|it| it.image_id.clone()).collect::<Vec<_>>();
    ids.sort_unstable();
    ids.dedup();
    let mut images = HashMap::new();
    for some in ids.chunks(1000) {
        let (gateway, caller) = (&call.front.gateway, &call.caller);
        let (known, seen) = tokio::try_join!(
            gateway.get_images(caller, some),
            gateway.visible_images(caller, some)
        )?;
        images.extend(known.into_iter().map(|image| {
            // Hidden from the caller it is not public.
            (image.image_id.clone(), Image { public: false, ..image })
        }));
        images.extend(seen.into_iter().map(|image| (image.image_id.clone(), image)));
    }
    Ok(images)
}

fn write(
    xml: &mut Xml,
    network: &Network,
    aliases: &Aliases,
    it: &Instance,
    image: Option<&Image>,
) {
    let zone = network.zone_of(&it.availability_zone);
    xml.text("instanceId", &it.instance_id).text("instanceType", &it.instance_type);
    if let Some(at) = stamp(it.launch_time.as_ref()) {
        xml.time("launchTime", at);
    }
    xml.text("availabilityZone", zone).text("zoneId", format!("{}-az1", network.region()));
    write_state(xml, "instanceState", it.state());
    xml.text("instanceOwnerId", &it.account_id);
    tags(xml, &it.tags);
    xml.node("imageMetadata", |xml| {
        // What was taken back as if it had never been is gone as any other.
        let state = image.map_or(ImageState::Deregistered, Image::state);
        xml.text("imageId", &it.image_id)
            .text("name", &it.image_name)
            .text("imageOwnerId", &it.image_owner_id)
            .text("imageState", images::state(state));
        if let Some(alias) = alias::of(aliases, &it.image_owner_id) {
            xml.text("imageOwnerAlias", alias);
        }
        // Machines of an earlier time did not keep it.
        let created = it.image_create_time.or_else(|| image.and_then(|image| image.create_time));
        if let Some(at) = stamp(created.as_ref()) {
            xml.time("creationDate", at);
        }
        xml.value("isPublic", image.is_some_and(|image| image.public));
    });
}
