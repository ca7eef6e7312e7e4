//! Instance types.

use vmint_api::launcher::v1::{InstanceType, ListInstanceTypesRequest};
use vmint_ec2::{Code, Error, Operation, Xml};

use super::{Answer, Call};
use crate::ec2::{Refused, filter};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeInstanceTypes",
    &["InstanceType.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&[
    "bare-metal",
    "current-generation",
    "instance-type",
    "memory-info.size-in-mib",
    "processor-info.supported-architecture",
    "supported-boot-mode",
    "supported-root-device-type",
    "supported-virtualization-type",
    "vcpu-info.default-vcpus",
]);
pub(super) const OFFERINGS: Operation = Operation::new(
    "DescribeInstanceTypeOfferings",
    &["LocationType", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["instance-type", "location"]);

const ARCHITECTURES: [&str; 2] = ["i386", "x86_64"];
const BOOT_MODES: [&str; 2] = ["legacy-bios", "uefi"];

pub(super) async fn describe_instance_types(mut call: Call) -> Answer {
    let names = call.params.list("InstanceType")?;
    let filters = call.params.filters()?;
    call.params.page(5, 100)?;
    let all = all(&call).await?;
    let unknown = names.iter().filter(|name| all.iter().all(|it| it.name != **name));
    let unknown = unknown.cloned().collect::<Vec<_>>();
    if !unknown.is_empty() {
        let text =
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
        return Err(Error::new(Code::InvalidInstanceType, text).into());
    }
    let shown = all.into_iter().filter(|it| {
        let asked = names.is_empty() || names.contains(&it.name);
        asked && filter::all(&filters, |name| facts(it, name))
    });
    let mut xml = Xml::new();
    xml.items("instanceTypeSet", shown, |xml, it| write(xml, &it));
    Ok(xml)
}

/// A host too small for a size does not offer it.
pub(super) async fn describe_instance_type_offerings(mut call: Call) -> Answer {
    let choices = [("region", false), ("availability-zone", true), ("availability-zone-id", true)];
    let by_zone = call.params.choice("LocationType", &choices)?.unwrap_or(false);
    let filters = call.params.filters()?;
    call.params.page(5, 1000)?;
    let (zone, region) = (call.front.regions.zone(), call.front.regions.own().to_owned());
    let (kind, location) = if by_zone { ("availability-zone", zone) } else { ("region", region) };
    let all = all(&call).await?;
    let shown = all.into_iter().filter(|it| it.fits_host).filter(|it| {
        filter::all(&filters, |name| {
            vec![if name == "location" { location.clone() } else { it.name.clone() }]
        })
    });
    let mut xml = Xml::new();
    xml.items("instanceTypeOfferingSet", shown, |xml, it| {
        xml.text("instanceType", &it.name).text("locationType", kind).text("location", &location);
    });
    Ok(xml)
}

async fn all(call: &Call) -> Result<Vec<InstanceType>, Refused> {
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let answer = launcher.list_instance_types(ListInstanceTypesRequest::default()).await?;
    Ok(answer.into_inner().instance_types)
}

fn facts(it: &InstanceType, name: &str) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match name {
        "instance-type" => vec![it.name.clone()],
        "memory-info.size-in-mib" => vec![it.memory_mib.to_string()],
        "vcpu-info.default-vcpus" => vec![it.cpus.to_string()],
        "processor-info.supported-architecture" => words(&ARCHITECTURES),
        "supported-boot-mode" => words(&BOOT_MODES),
        "supported-root-device-type" => words(&["ebs"]),
        "supported-virtualization-type" => words(&["hvm"]),
        "current-generation" => words(&["true"]),
        _ => words(&["false"]),
    }
}

fn write(xml: &mut Xml, it: &InstanceType) {
    let words = |xml: &mut Xml, name: &str, words: &[&str]| {
        xml.node(name, |xml| {
            for word in words {
                xml.text("item", word);
            }
        });
    };
    xml.text("instanceType", &it.name)
        .value("currentGeneration", true)
        .value("freeTierEligible", false);
    words(xml, "supportedUsageClasses", &["on-demand"]);
    words(xml, "supportedRootDeviceTypes", &["ebs"]);
    words(xml, "supportedVirtualizationTypes", &["hvm"]);
    xml.value("bareMetal", false)
        .node("processorInfo", |xml| words(xml, "supportedArchitectures", &ARCHITECTURES))
        .node("vCpuInfo", |xml| {
            xml.value("defaultVCpus", it.cpus)
                .value("defaultCores", it.cpus)
                .value("defaultThreadsPerCore", 1);
        })
        .node("memoryInfo", |xml| {
            xml.value("sizeInMiB", it.memory_mib);
        })
        .value("instanceStorageSupported", false)
        .node("ebsInfo", |xml| {
            xml.text("ebsOptimizedSupport", "unsupported").text("nvmeSupport", "required");
        })
        .node("networkInfo", |xml| {
            xml.value("maximumNetworkInterfaces", 1)
                .value("ipv4AddressesPerInterface", 1)
                .value("ipv6Supported", false)
                .text("enaSupport", "unsupported");
        })
        .value("hibernationSupported", false)
        .value("burstablePerformanceSupported", false)
        .value("dedicatedHostsSupported", false)
        .value("autoRecoverySupported", false);
    words(xml, "supportedBootModes", &BOOT_MODES);
}
