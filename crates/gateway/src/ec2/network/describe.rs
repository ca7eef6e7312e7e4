//! What there is one of an account: its VPC, subnet and routes.

use vmint_ec2::{Code, Error, Operation, Xml};

use super::{Answer, Call, SUBNET_CIDR, VPC_CIDR};
use crate::ec2::filter;

const LISTING: [&str; 4] = ["Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"];

pub(super) const VPCS: Operation =
    Operation::new("DescribeVpcs", &["VpcId.N", LISTING[0], LISTING[1], LISTING[2], LISTING[3]])
        .filters(&[
            "cidr",
            "cidr-block-association.cidr-block",
            "dhcp-options-id",
            "is-default",
            "isDefault",
            "owner-id",
            "state",
            "tag:*",
            "tag-key",
            "vpc-id",
        ]);
pub(super) const VPC_ATTRIBUTE: Operation =
    Operation::new("DescribeVpcAttribute", &["VpcId!", "Attribute!"]);
pub(super) const SUBNETS: Operation = Operation::new(
    "DescribeSubnets",
    &["SubnetId.N", LISTING[0], LISTING[1], LISTING[2], LISTING[3]],
)
.filters(&[
    "availability-zone",
    "availabilityZone",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "owner-id",
    "state",
    "subnet-id",
    "tag:*",
    "tag-key",
    "vpc-id",
]);
pub(super) const ROUTE_TABLES: Operation = Operation::new(
    "DescribeRouteTables",
    &["RouteTableId.N", LISTING[0], LISTING[1], LISTING[2], LISTING[3]],
)
.filters(&[
    "association.main",
    "association.subnet-id",
    "owner-id",
    "route-table-id",
    "tag:*",
    "vpc-id",
]);
pub(super) const GATEWAYS: Operation = Operation::new(
    "DescribeInternetGateways",
    &["InternetGatewayId.N", LISTING[0], LISTING[1], LISTING[2], LISTING[3]],
)
.filters(&["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id", "tag:*"]);
pub(super) const ADDRESSES: Operation =
    Operation::new("DescribeAddresses", &["PublicIp.N", "AllocationId.N", LISTING[0], LISTING[1]])
        .filters(&[
            "allocation-id",
            "association-id",
            "domain",
            "instance-id",
            "network-interface-id",
            "private-ip-address",
            "public-ip",
            "tag:*",
            "tag-key",
        ]);
pub(super) const ACCOUNT: Operation =
    Operation::new("DescribeAccountAttributes", &["AttributeName.N"]);

pub(super) async fn describe_vpcs(mut call: Call) -> Answer {
    let ids = call.params.list("VpcId")?;
    let filters = call.params.filters()?;
    let network = call.network()?;
    ids.iter().try_for_each(|id| network.must_be_vpc(id))?;
    let fits = filter::all(&filters, |name| match name {
        "vpc-id" => vec![network.vpc()],
        "state" => vec!["available".to_owned()],
        "is-default" | "isDefault" => vec!["true".to_owned()],
        "owner-id" => vec![network.account.clone()],
        "cidr" | "cidr-block-association.cidr-block" => vec![VPC_CIDR.to_owned()],
        "dhcp-options-id" => vec![network.id("dopt")],
        _ => Vec::new(),
    });
    let mut xml = Xml::new();
    xml.items("vpcSet", fits.then_some(()), |xml, ()| {
        xml.text("vpcId", network.vpc())
            .text("ownerId", &network.account)
            .text("state", "available")
            .text("cidrBlock", VPC_CIDR)
            .items("cidrBlockAssociationSet", [()], |xml, ()| {
                xml.text("cidrBlock", VPC_CIDR)
                    .text("associationId", network.id("vpc-cidr-assoc"))
                    .node("cidrBlockState", |xml| {
                        xml.text("state", "associated");
                    });
            })
            .text("dhcpOptionsId", network.id("dopt"))
            .text("instanceTenancy", "default")
            .value("isDefault", true)
            .empty("tagSet");
    });
    Ok(xml)
}

pub(super) async fn describe_vpc_attribute(mut call: Call) -> Answer {
    let (id, attribute) = (call.params.need("VpcId")?, call.params.need("Attribute")?);
    let network = call.network()?;
    network.must_be_vpc(&id)?;
    // Names are not resolved for machines here.
    let (name, value) = match attribute.as_str() {
        "enableDnsSupport" => ("enableDnsSupport", true),
        "enableDnsHostnames" => ("enableDnsHostnames", false),
        "enableNetworkAddressUsageMetrics" => ("enableNetworkAddressUsageMetrics", false),
        other => {
            let why = "It names no attribute of a VPC.";
            return Err(Error::invalid("Attribute", other, why).into());
        }
    };
    let mut xml = Xml::new();
    xml.text("vpcId", id).node(name, |xml| {
        xml.value("value", value);
    });
    Ok(xml)
}

pub(super) async fn describe_subnets(mut call: Call) -> Answer {
    let ids = call.params.list("SubnetId")?;
    let filters = call.params.filters()?;
    let network = call.network()?;
    ids.iter().try_for_each(|id| network.must_be_subnet(id))?;
    let fits = filter::all(&filters, |name| match name {
        "subnet-id" => vec![network.subnet()],
        "vpc-id" => vec![network.vpc()],
        "state" => vec!["available".to_owned()],
        "availability-zone" | "availabilityZone" => vec![network.zone.clone()],
        "default-for-az" | "defaultForAz" => vec!["true".to_owned()],
        "cidr" | "cidr-block" | "cidrBlock" => vec![SUBNET_CIDR.to_owned()],
        "owner-id" => vec![network.account.clone()],
        _ => Vec::new(),
    });
    let mut xml = Xml::new();
    xml.items("subnetSet", fits.then_some(()), |xml, ()| {
        let (id, account) = (network.subnet(), &network.account);
        xml.text("subnetId", &id)
            .text("subnetArn", format!("arn:aws:ec2:{}:{account}:subnet/{id}", network.region))
            .text("state", "available")
            .text("ownerId", account)
            .text("vpcId", network.vpc())
            .text("cidrBlock", SUBNET_CIDR)
            .empty("ipv6CidrBlockAssociationSet")
            .value("availableIpAddressCount", 4091)
            .text("availabilityZone", &network.zone)
            .text("availabilityZoneId", format!("{}-az1", network.region))
            .value("defaultForAz", true)
            .value("mapPublicIpOnLaunch", true)
            .value("assignIpv6AddressOnCreation", false)
            .empty("tagSet");
    });
    Ok(xml)
}

pub(super) async fn describe_route_tables(mut call: Call) -> Answer {
    let ids = call.params.list("RouteTableId")?;
    let filters = call.params.filters()?;
    let network = call.network()?;
    let own = network.id("rtb");
    if let Some(unknown) = ids.iter().find(|id| **id != own) {
        let text = format!("The routeTable ID '{unknown}' does not exist");
        return Err(Error::new(Code::InvalidId, text).into());
    }
    let fits = filter::all(&filters, |name| match name {
        "route-table-id" => vec![own.clone()],
        "vpc-id" => vec![network.vpc()],
        "owner-id" => vec![network.account.clone()],
        "association.main" => vec!["true".to_owned()],
        _ => Vec::new(),
    });
    let mut xml = Xml::new();
    xml.items("routeTableSet", fits.then_some(()), |xml, ()| {
        xml.text("routeTableId", &own)
            .text("vpcId", network.vpc())
            .text("ownerId", &network.account)
            .items("routeSet", [(VPC_CIDR, "local"), ("0.0.0.0/0", "")], |xml, (to, by)| {
                let gateway = if by.is_empty() { network.id("igw") } else { by.to_owned() };
                let origin = if by.is_empty() { "CreateRoute" } else { "CreateRouteTable" };
                xml.text("destinationCidrBlock", to)
                    .text("gatewayId", gateway)
                    .text("state", "active")
                    .text("origin", origin);
            })
            .items("associationSet", [()], |xml, ()| {
                xml.text("routeTableAssociationId", network.id("rtbassoc"))
                    .text("routeTableId", &own)
                    .value("main", true);
            })
            .empty("propagatingVgwSet")
            .empty("tagSet");
    });
    Ok(xml)
}

pub(super) async fn describe_internet_gateways(mut call: Call) -> Answer {
    let ids = call.params.list("InternetGatewayId")?;
    let filters = call.params.filters()?;
    let network = call.network()?;
    let own = network.id("igw");
    if let Some(unknown) = ids.iter().find(|id| **id != own) {
        let text = format!("The internetGateway ID '{unknown}' does not exist");
        return Err(Error::new(Code::InvalidId, text).into());
    }
    let fits = filter::all(&filters, |name| match name {
        "internet-gateway-id" => vec![own.clone()],
        "attachment.vpc-id" => vec![network.vpc()],
        "attachment.state" => vec!["available".to_owned()],
        "owner-id" => vec![network.account.clone()],
        _ => Vec::new(),
    });
    let mut xml = Xml::new();
    xml.items("internetGatewaySet", fits.then_some(()), |xml, ()| {
        xml.text("internetGatewayId", &own)
            .text("ownerId", &network.account)
            .items("attachmentSet", [()], |xml, ()| {
                xml.text("vpcId", network.vpc()).text("state", "available");
            })
            .empty("tagSet");
    });
    Ok(xml)
}

/// Addresses belong to their machines here; none can be had for itself.
pub(super) async fn describe_addresses(mut call: Call) -> Answer {
    for (name, code) in [
        ("AllocationId", Code::InvalidAllocationIdNotFound),
        ("PublicIp", Code::InvalidAddressNotFound),
    ] {
        if let Some(unknown) = call.params.list(name)?.first() {
            let text = format!("The {name} '{unknown}' does not exist");
            return Err(Error::new(code, text).into());
        }
    }
    call.params.filters()?;
    let mut xml = Xml::new();
    xml.empty("addressesSet");
    Ok(xml)
}

pub(super) async fn describe_account_attributes(mut call: Call) -> Answer {
    let names = call.params.list("AttributeName")?;
    let network = call.network()?;
    let known = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", network.vpc()),
        ("max-instances", "1000".to_owned()),
        ("vpc-max-security-groups-per-interface", "5".to_owned()),
    ];
    if let Some(unknown) = names.iter().find(|name| known.iter().all(|(it, _)| it != name)) {
        let why = "It names no attribute of an account here.";
        return Err(Error::invalid("AttributeName", unknown, why).into());
    }
    let shown =
        known.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|it| it == name));
    let mut xml = Xml::new();
    xml.items("accountAttributeSet", shown, |xml, (name, value)| {
        xml.text("attributeName", name).items("attributeValueSet", [()], |xml, ()| {
            xml.text("attributeValue", value);
        });
    });
    Ok(xml)
}
