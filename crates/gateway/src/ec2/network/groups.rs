//! Security groups: made, described, deleted.

use vmint_api::{
    launcher::v1::ListInstancesRequest,
    types::v1::{self, Filter},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml, query::Tag};

use super::{
    Answer, Call, Group,
    group::{Peer, Rule},
};
use crate::ec2::{filter, held, tags::Change};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeSecurityGroups",
    &["GroupId.N", "GroupName.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["description", "group-id", "group-name", "owner-id", "tag:*", "tag-key", "vpc-id"]);
pub(super) const CREATE: Operation = Operation::new(
    "CreateSecurityGroup",
    &[
        "GroupName!",
        "GroupDescription!",
        "VpcId",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
);
pub(super) const DELETE: Operation =
    Operation::new("DeleteSecurityGroup", &["GroupId", "GroupName"]);

/// States of an instance that has not ended.
const LIVE: [&str; 5] = ["pending", "running", "stopping", "stopped", "shutting-down"];

pub(super) async fn describe_security_groups(mut call: Call) -> Answer {
    let (ids, names) = (call.params.list("GroupId")?, call.params.list("GroupName")?);
    let (page, filters) = (call.params.page(5, 1000)?, call.params.filters()?);
    let network = call.network()?;
    network.must_have_groups(&ids)?;
    for name in &names {
        network.group_named(name)?;
    }
    let some = !ids.is_empty() || !names.is_empty();
    let shown = network.groups.iter().filter(|group| {
        let asked = !some || ids.contains(&group.id) || names.contains(&group.name);
        asked
            && filter::all(&filters, |name| match name {
                "group-id" => vec![group.id.clone()],
                "group-name" => vec![group.name.clone()],
                "description" => vec![group.description.clone()],
                "owner-id" => vec![network.account.clone()],
                "vpc-id" => vec![network.vpc()],
                "tag-key" => group.tags.iter().map(|tag| tag.key.clone()).collect(),
                _ => {
                    let has = |tag: &&Tag| name.strip_prefix("tag:") == Some(&tag.key);
                    group.tags.iter().filter(has).map(|tag| tag.value.clone()).collect()
                }
            })
    });
    let mut shown = shown.collect::<Vec<_>>();
    shown.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let listing = "DescribeSecurityGroups";
    let (shown, next) =
        held::page(&network.account, listing, &filters, &page, shown, |it| it.id.clone())?;
    let mut xml = Xml::new();
    xml.items("securityGroupInfo", shown, |xml, group| {
        xml.text("ownerId", &network.account)
            .text("groupName", &group.name)
            .text("groupId", &group.id)
            .text("groupDescription", &group.description)
            .text("vpcId", network.vpc());
        permissions(xml, "ipPermissions", &group.ingress);
        permissions(xml, "ipPermissionsEgress", &group.egress);
        tags(xml, &group.tags);
    })
    .maybe("nextToken", next);
    Ok(xml)
}

fn tags(xml: &mut Xml, tags: &[Tag]) {
    xml.items("tagSet", tags, |xml, tag| {
        xml.text("key", &tag.key).text("value", &tag.value);
    });
}

/// Rules of the same protocol and ports are one permission.
fn permissions(xml: &mut Xml, name: &str, rules: &[Rule]) {
    let mut kinds = Vec::new();
    for rule in rules {
        let kind = (rule.protocol.as_str(), rule.ports);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    xml.items(name, kinds, |xml, (protocol, ports)| {
        xml.text("ipProtocol", protocol);
        if let Some((from, to)) = ports {
            xml.value("fromPort", from).value("toPort", to);
        }
        let of = || rules.iter().filter(|it| it.protocol == protocol && it.ports == ports);
        let groups = of().filter_map(|it| match &it.peer {
            Peer::Group { account, id } => Some((account, id, &it.description)),
            _ => None,
        });
        xml.items("groups", groups, |xml, (account, id, text)| {
            xml.text("userId", account).text("groupId", id).filled("description", text);
        });
        let v4 = of().filter_map(|it| match &it.peer {
            Peer::V4(cidr) => Some((cidr, &it.description)),
            _ => None,
        });
        xml.items("ipRanges", v4, |xml, (cidr, text)| {
            xml.text("cidrIp", cidr).filled("description", text);
        });
        let v6 = of().filter_map(|it| match &it.peer {
            Peer::V6(cidr) => Some((cidr, &it.description)),
            _ => None,
        });
        xml.items("ipv6Ranges", v6, |xml, (cidr, text)| {
            xml.text("cidrIpv6", cidr).filled("description", text);
        })
        .empty("prefixListIds");
    });
}

pub(super) async fn create_security_group(mut call: Call) -> Answer {
    let name = text(&mut call, "GroupName")?;
    let description = text(&mut call, "GroupDescription")?;
    if name.starts_with("sg-") {
        let why = "It must not begin with 'sg-'.";
        return Err(Error::invalid("GroupName", &name, why).into());
    }
    let network = call.network()?;
    if let Some(vpc) = call.params.text("VpcId")? {
        network.must_be_vpc(&vpc)?;
    }
    if name == "default" {
        let text = "The security group 'default' already exists";
        return Err(Error::new(Code::InvalidGroupDuplicate, text).into());
    }
    // The same request makes the same group.
    let id = network.id(&format!("sg-{}", call.request_id()?));
    let id = format!("sg-{}", id.rsplit('-').next().unwrap_or_default());
    let mut group = Group::new(id.clone(), name, description);
    let specifications = call.params.tag_specifications(&["security-group"])?;
    let given = Params::tags_for(&specifications, "security-group").into_iter();
    let given = given.map(|tag| v1::Tag { key: tag.key, value: tag.value });
    group.tag(&Change::Put(given.collect()))?;
    let tagged = group.tags.clone();
    call.front.groups.insert(network.account.clone(), group).await?;
    let mut xml = Xml::done();
    let arn = format!("arn:aws:ec2:{}:{}:security-group/{id}", network.region, network.account);
    xml.text("groupId", &id).text("securityGroupArn", arn);
    tags(&mut xml, &tagged);
    Ok(xml)
}

fn text(call: &mut Call, name: &str) -> Result<String, Error> {
    let text = call.params.need(name)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.len() <= 255 && text.chars().all(allowed) {
        return Ok(text);
    }
    let why = "It has up to 255 characters: a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*";
    Err(Error::invalid(name, &text, why))
}

pub(super) async fn delete_security_group(mut call: Call) -> Answer {
    let network = call.network()?;
    let id = match (call.params.text("GroupId")?, call.params.text("GroupName")?) {
        (Some(id), _) => id,
        (None, Some(name)) => network.group_named(&name)?,
        (None, None) => return Err(Error::missing("GroupId").into()),
    };
    network.must_have_groups(std::slice::from_ref(&id))?;
    if id == network.default_group() {
        let text = "The default security group cannot be deleted by a user";
        return Err(Error::new(Code::OperationNotPermitted, text).into());
    }
    let in_use = ListInstancesRequest {
        filters: vec![
            Filter { name: "instance.group-id".to_owned(), values: vec![id.clone()] },
            Filter {
                name: "instance-state-name".to_owned(),
                values: LIVE.map(str::to_owned).to_vec(),
            },
        ],
        page_size: 1,
        ..ListInstancesRequest::default()
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let holders = launcher.list_instances(in_use).await?.into_inner().instances;
    if let Some(holder) = holders.first() {
        let text = format!("resource {id} has a dependent object: instance {}", holder.instance_id);
        return Err(Error::new(Code::DependencyViolation, text).into());
    }
    call.front.groups.remove(network.account.clone(), id.clone()).await?;
    let mut xml = Xml::done();
    xml.text("groupId", &id);
    Ok(xml)
}
