//! Regions and availability zones.

use vmint_ec2::{Code, Error, Operation, Xml};

use super::{Call, Entry, entries, entry::Answer, filter, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    reads REGIONS => describe_regions,
    reads ZONES => describe_availability_zones,
};

const REGIONS: Operation = Operation::new(
    "DescribeRegions",
    &["RegionName.N", "AllRegions", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["region-name", "endpoint", "opt-in-status"]);

const ZONES: Operation = Operation::new(
    "DescribeAvailabilityZones",
    &["ZoneName.N", "ZoneId.N", "AllAvailabilityZones", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&[
    "group-name",
    "opt-in-status",
    "region-name",
    "state",
    "zone-id",
    "zone-name",
    "zone-type",
]);

const NOT_ASKED: &str = "opt-in-not-required";

async fn describe_regions(mut call: Call) -> Answer {
    let wanted = call.params.list("RegionName")?;
    let filters = call.params.filters()?;
    let regions = call.front.regions.names();
    if let Some(unknown) = wanted.iter().find(|name| !regions.contains(&name.as_str())) {
        let text = format!("The region '{unknown}' does not exist");
        return Err(Error::new(Code::InvalidParameterValue, text).into());
    }
    let endpoint = |region: &str| format!("ec2.{region}.amazonaws.com");
    let shown = regions.into_iter().filter(|region| {
        let asked = wanted.is_empty() || wanted.iter().any(|name| name == region);
        asked
            && filter::all(&filters, |name| match name {
                "region-name" => vec![(*region).to_owned()],
                "endpoint" => vec![endpoint(region)],
                _ => vec![NOT_ASKED.to_owned()],
            })
    });
    let mut xml = Xml::new();
    xml.items("regionInfo", shown, |xml, region| {
        xml.text("regionName", region)
            .text("regionEndpoint", endpoint(region))
            .text("optInStatus", NOT_ASKED);
    });
    Ok(xml)
}

async fn describe_availability_zones(mut call: Call) -> Answer {
    let (names, ids) = (call.params.list("ZoneName")?, call.params.list("ZoneId")?);
    let filters = call.params.filters()?;
    let region = call.front.regions.own().to_owned();
    let (zone, id) = (call.front.regions.zone(), format!("{region}-az1"));
    for (unknown, what) in [
        (names.iter().find(|name| **name != zone), "zone"),
        (ids.iter().find(|name| **name != id), "zone-id"),
    ] {
        if let Some(unknown) = unknown {
            let text = format!("Invalid availability {what}: [{unknown}]");
            return Err(Error::new(Code::InvalidParameterValue, text).into());
        }
    }
    let fits = filter::all(&filters, |name| {
        vec![match name {
            "zone-name" => zone.clone(),
            "zone-id" => id.clone(),
            "state" => "available".to_owned(),
            "zone-type" => "availability-zone".to_owned(),
            "opt-in-status" => NOT_ASKED.to_owned(),
            _ => region.clone(),
        }]
    });
    let mut xml = Xml::new();
    xml.items("availabilityZoneInfo", fits.then_some(()), |xml, ()| {
        xml.text("zoneName", &zone)
            .text("zoneState", "available")
            .text("optInStatus", NOT_ASKED)
            .text("regionName", &region)
            .text("groupName", &region)
            .text("networkBorderGroup", &region)
            .text("zoneId", &id)
            .text("zoneType", "availability-zone")
            .empty("messageSet");
    });
    Ok(xml)
}
