//! Attributes of volumes.

use vmint_api::storage::v1::{ListVolumesRequest, Volume};
use vmint_ec2::{Error, Operation, Xml, query};
use vmint_ids::VolumeKind;

use super::{Call, Entry, Refused, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    reads Operation::new("DescribeVolumeAttribute", &["VolumeId!", "Attribute!"]) => describe,
    // Nothing holds a volume's I/O back, so there is nothing to switch off.
    writes Operation::new("ModifyVolumeAttribute", &["VolumeId!"])
        .only(&[("AutoEnableIO.Value", &["true"])]) => modify,
};

async fn describe(mut call: Call) -> Answer {
    let attribute = call.params.need("Attribute")?;
    let volume = the_one(&mut call).await?;
    let mut xml = Xml::new();
    xml.text("volumeId", &volume.volume_id);
    match attribute.as_str() {
        "autoEnableIO" => {
            xml.node("autoEnableIO", |xml| {
                xml.value("value", true);
            });
        }
        "productCodes" => {
            xml.items("productCodes", &volume.product_codes, |xml, code| {
                xml.text("productCode", code).text("type", "marketplace");
            });
        }
        other => {
            let why = "It names no attribute of a volume.";
            return Err(Error::invalid("Attribute", other, why).into());
        }
    }
    Ok(xml)
}

async fn modify(mut call: Call) -> Answer {
    the_one(&mut call).await?;
    Ok(Xml::done())
}

async fn the_one(call: &mut Call) -> Result<Volume, Refused> {
    let id = call.params.need_id::<VolumeKind>("VolumeId")?.to_string();
    let request = ListVolumesRequest {
        page_size: 1,
        volume_ids: vec![id.clone()],
        ..ListVolumesRequest::default()
    };
    let mut storage = call.front.gateway.peers.disks(&call.caller);
    let found = storage.list_volumes(request).await?.into_inner().volumes.pop();
    found.ok_or_else(|| query::not_found("vol", &id).into())
}
