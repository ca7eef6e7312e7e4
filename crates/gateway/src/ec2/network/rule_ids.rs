//! Rules of security groups by their ids.

use vmint_ec2::{Code, Error, Operation, Xml};

use super::{
    Answer, Call, Network,
    group::{Group, Peer, Rule},
    named,
};
use crate::ec2::{filter, held};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeSecurityGroupRules",
    &["SecurityGroupRuleId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["group-id", "security-group-rule-id", "tag:*"]);

/// One rule of a group, and which way it goes.
pub(super) struct Placed<'a> {
    pub(super) group: &'a str,
    pub(super) egress: bool,
    pub(super) rule: &'a Rule,
}

impl Placed<'_> {
    /// The same for the same rule of the same group.
    pub(super) fn id(&self) -> String {
        let Rule { protocol, ports, peer, .. } = self.rule;
        let text = format!("{}/{}/{protocol}/{ports:?}/{peer:?}", self.group, self.egress);
        named("sgr", "vmint 2026 security group rule", &text)
    }

    pub(super) fn write(&self, xml: &mut Xml, owner: &str) {
        let (from, to) = self.rule.ports.unwrap_or((-1, -1));
        xml.text("securityGroupRuleId", self.id())
            .text("groupId", self.group)
            .text("groupOwnerId", owner)
            .value("isEgress", self.egress)
            .text("ipProtocol", &self.rule.protocol)
            .value("fromPort", from)
            .value("toPort", to);
        match &self.rule.peer {
            Peer::V4(cidr) => xml.text("cidrIpv4", cidr),
            Peer::V6(cidr) => xml.text("cidrIpv6", cidr),
            Peer::Group { account, id } => xml.node("referencedGroupInfo", |xml| {
                xml.text("groupId", id).text("userId", account);
            }),
        };
        xml.filled("description", &self.rule.description).empty("tagSet");
    }
}

/// The rules of a group, those of incoming traffic first.
fn placed(group: &Group) -> impl Iterator<Item = Placed<'_>> {
    let ways = [(false, &group.ingress), (true, &group.egress)];
    ways.into_iter().flat_map(move |(egress, rules)| {
        rules.iter().map(move |rule| Placed { group: &group.id, egress, rule })
    })
}

pub(super) async fn describe_security_group_rules(mut call: Call) -> Answer {
    let ids = call.params.list("SecurityGroupRuleId")?;
    let (page, filters) = (call.params.page(5, 1000)?, call.params.filters()?);
    let network = call.network()?;
    let mut rows =
        network.groups.iter().flat_map(placed).map(|it| (it.id(), it)).collect::<Vec<_>>();
    if let Some(unknown) = ids.iter().find(|id| rows.iter().all(|(known, _)| known != *id)) {
        return Err(no_rule(unknown).into());
    }
    rows.retain(|(id, it)| {
        let asked = ids.is_empty() || ids.contains(id);
        asked
            && filter::all(&filters, |name| match name {
                "group-id" => vec![it.group.to_owned()],
                "security-group-rule-id" => vec![id.clone()],
                _ => Vec::new(),
            })
    });
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let listing = "DescribeSecurityGroupRules";
    let (rows, next) =
        held::page(&network.account, listing, &filters, &page, rows, |(id, _)| id.clone())?;
    let mut xml = Xml::new();
    xml.items("securityGroupRuleSet", rows, |xml, (_, it)| it.write(xml, &network.account))
        .maybe("nextToken", next);
    Ok(xml)
}

/// The rules of a group that these ids name.
pub(super) fn by_ids(
    network: &Network,
    group: &str,
    egress: bool,
    ids: &[String],
) -> Result<Vec<Rule>, Error> {
    let group = network.group(group)?;
    let find = |id: &String| {
        let found = placed(group).find(|it| it.egress == egress && it.id() == *id);
        found.map(|it| it.rule.clone()).ok_or_else(|| no_rule(id))
    };
    ids.iter().map(find).collect()
}

fn no_rule(id: &str) -> Error {
    let shown = id.chars().take(64).collect::<String>();
    let text = format!("The security group rule ID '{shown}' does not exist");
    Error::new(Code::InvalidSecurityGroupRuleIdNotFound, text)
}
