//! An instance as EC2 shows it.

use vmint_api::{
    launcher::v1::{Instance, InstanceState},
    types::v1::Tag,
};
use vmint_ec2::Xml;

use super::super::{network::Network, stamp};

/// The state's number and name.
pub(super) fn state(state: InstanceState) -> (u8, &'static str) {
    match state {
        InstanceState::Unspecified | InstanceState::Pending => (0, "pending"),
        InstanceState::Running => (16, "running"),
        InstanceState::ShuttingDown => (32, "shutting-down"),
        InstanceState::Terminated => (48, "terminated"),
        InstanceState::Stopping => (64, "stopping"),
        InstanceState::Stopped => (80, "stopped"),
    }
}

pub(super) fn write_state(xml: &mut Xml, name: &str, of: InstanceState) {
    let (code, word) = state(of);
    xml.node(name, |xml| {
        xml.value("code", code).text("name", word);
    });
}

/// `tagSet`.
pub(in crate::ec2) fn tags(xml: &mut Xml, tags: &[Tag]) {
    xml.items("tagSet", tags, |xml, tag| {
        xml.text("key", &tag.key).text("value", &tag.value);
    });
}

/// A reservation: what one launch made, as far as it is shown.
pub(super) fn reservation(xml: &mut Xml, network: &Network, instances: &[Instance]) {
    let first = instances.first();
    let text = |of: fn(&Instance) -> &String| first.map(of).cloned().unwrap_or_default();
    xml.text("reservationId", text(|it| &it.reservation_id))
        .text("ownerId", text(|it| &it.account_id))
        .empty("groupSet")
        .items("instancesSet", instances, |xml, it| instance(xml, network, it));
}

fn instance(xml: &mut Xml, network: &Network, it: &Instance) {
    let ended = it.state() == InstanceState::Terminated;
    let address = it.ssh_endpoint.as_ref().map(|at| at.address.clone()).filter(|_| !ended);
    let address = address.unwrap_or_default();
    let private = if ended { "" } else { it.private_ip_address.as_str() };
    xml.text("instanceId", &it.instance_id).text("imageId", &it.image_id);
    write_state(xml, "instanceState", it.state());
    xml.text("privateDnsName", private_name(private, network.region()))
        .text("dnsName", &address)
        .text("reason", if it.state_reason_code.is_empty() { "" } else { &it.state_reason })
        .filled("keyName", &it.key_name)
        .value("amiLaunchIndex", it.launch_index)
        .items("productCodes", &it.product_codes, |xml, code| {
            xml.text("productCode", code).text("type", "marketplace");
        })
        .text("instanceType", &it.instance_type);
    if let Some(at) = stamp(it.launch_time.as_ref()) {
        xml.time("launchTime", at);
    }
    xml.node("placement", |xml| {
        xml.text("availabilityZone", network.zone_of(&it.availability_zone))
            .text("groupName", "")
            .text("tenancy", "default");
    })
    .node("monitoring", |xml| {
        xml.text("state", "disabled");
    });
    if !ended {
        xml.text("subnetId", network.subnet_of(&it.subnet_id))
            .text("vpcId", network.vpc_of(&it.vpc_id));
    }
    // EC2 says nothing else of any other.
    let windows = it.image_platform == "windows";
    xml.filled("platform", if windows { "windows" } else { "" })
        .filled("privateIpAddress", private)
        .filled("ipAddress", &address)
        .value("sourceDestCheck", true);
    groups(xml, network, it, ended);
    if !it.state_reason_code.is_empty() {
        xml.node("stateReason", |xml| {
            xml.text("code", &it.state_reason_code).text("message", &it.state_reason);
        });
    }
    let architecture = if it.architecture.is_empty() { "x86_64" } else { &it.architecture };
    xml.text("architecture", architecture)
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &it.root_device_name);
    volumes(xml, it);
    xml.text("virtualizationType", "hvm").filled("clientToken", &it.client_token);
    tags(xml, &it.tags);
    xml.text("hypervisor", "xen");
    interface(xml, network, it, &address, ended);
    xml.value("ebsOptimized", false)
        .value("enaSupport", it.ena_support)
        .node("cpuOptions", |xml| {
            xml.value("coreCount", it.cpus).value("threadsPerCore", 1);
        })
        .node("metadataOptions", |xml| {
            xml.text("state", "applied")
                .text("httpTokens", "required")
                .value("httpPutResponseHopLimit", 1)
                .text("httpEndpoint", "enabled")
                .text("httpProtocolIpv6", "disabled")
                .text("instanceMetadataTags", "disabled");
        })
        .text("platformDetails", if windows { "Windows" } else { "Linux/UNIX" })
        .text("usageOperation", if windows { "RunInstances:0002" } else { "RunInstances" });
}

/// `blockDeviceMapping`.
pub(super) fn volumes(xml: &mut Xml, it: &Instance) {
    xml.items("blockDeviceMapping", &it.volumes, |xml, volume| {
        xml.text("deviceName", &volume.device_name).node("ebs", |xml| {
            xml.text("volumeId", &volume.volume_id).text("status", "attached");
            let at = volume.attach_time.as_ref().or(it.launch_time.as_ref());
            if let Some(at) = stamp(at) {
                xml.time("attachTime", at);
            }
            xml.value("deleteOnTermination", volume.delete_on_termination);
        });
    });
}

/// `groupSet`.
pub(super) fn groups(xml: &mut Xml, network: &Network, it: &Instance, ended: bool) {
    let shown = if ended { Vec::new() } else { network.groups_of(&it.security_group_ids) };
    xml.items("groupSet", shown, |xml, (id, name)| {
        xml.text("groupId", id).text("groupName", name);
    });
}

/// The one interface of a machine: a record of where it is placed.
fn interface(xml: &mut Xml, network: &Network, it: &Instance, address: &str, ended: bool) {
    let digits = it.instance_id.trim_start_matches("i-");
    let shown = (!ended).then_some(());
    let association = |xml: &mut Xml| {
        if !address.is_empty() {
            xml.node("association", |xml| {
                xml.text("publicIp", address).text("publicDnsName", address);
            });
        }
    };
    xml.items("networkInterfaceSet", shown, |xml, ()| {
        xml.text("networkInterfaceId", format!("eni-{digits}"))
            .text("subnetId", network.subnet_of(&it.subnet_id))
            .text("vpcId", network.vpc_of(&it.vpc_id))
            .text("description", "")
            .text("ownerId", &it.account_id)
            .text("status", "in-use")
            .filled("privateIpAddress", &it.private_ip_address)
            .value("sourceDestCheck", true);
        groups(xml, network, it, ended);
        xml.node("attachment", |xml| {
            xml.text("attachmentId", format!("eni-attach-{digits}"))
                .value("deviceIndex", 0)
                .text("status", "attached")
                .value("deleteOnTermination", true);
        });
        association(xml);
        if !it.private_ip_address.is_empty() {
            xml.items("privateIpAddressesSet", [()], |xml, ()| {
                xml.text("privateIpAddress", &it.private_ip_address).value("primary", true);
                association(xml);
            });
        }
        xml.text("interfaceType", "interface");
    });
}

fn private_name(address: &str, region: &str) -> String {
    if address.is_empty() {
        return String::new();
    }
    format!("ip-{}.{region}.compute.internal", address.replace('.', "-"))
}
