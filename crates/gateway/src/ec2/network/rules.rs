//! Rules of security groups. They are kept and shown; traffic knows nothing of
//! them.

use std::net::{Ipv4Addr, Ipv6Addr};

use vmint_ec2::{Code, Error, Operation, Params, Xml};

use super::{
    Answer, Call, Network, Refused,
    group::{Group, Peer, Rule},
    rule_ids::{self, Placed},
};

const TAKES: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "IpPermissions.N.IpProtocol",
    "IpPermissions.N.FromPort",
    "IpPermissions.N.ToPort",
    "IpPermissions.N.IpRanges.N.CidrIp",
    "IpPermissions.N.IpRanges.N.Description",
    "IpPermissions.N.Ipv6Ranges.N.CidrIpv6",
    "IpPermissions.N.Ipv6Ranges.N.Description",
    "IpPermissions.N.Groups.N.GroupId",
    "IpPermissions.N.Groups.N.GroupName",
    "IpPermissions.N.Groups.N.UserId",
    "IpPermissions.N.Groups.N.Description",
];

/// What is revoked may be named by its id, too.
const REVOKES: [&str; TAKES.len() + 1] = {
    let mut all = ["SecurityGroupRuleId.N"; TAKES.len() + 1];
    let mut at = 0;
    while at < TAKES.len() {
        all[at] = TAKES[at];
        at += 1;
    }
    all
};

pub(super) const AUTHORIZE_INGRESS: Operation =
    Operation::new("AuthorizeSecurityGroupIngress", TAKES);
pub(super) const AUTHORIZE_EGRESS: Operation =
    Operation::new("AuthorizeSecurityGroupEgress", TAKES);
pub(super) const REVOKE_INGRESS: Operation = Operation::new("RevokeSecurityGroupIngress", &REVOKES);
pub(super) const REVOKE_EGRESS: Operation = Operation::new("RevokeSecurityGroupEgress", &REVOKES);

pub(super) async fn authorize_ingress(call: Call) -> Answer {
    authorize(call, false).await
}

pub(super) async fn authorize_egress(call: Call) -> Answer {
    authorize(call, true).await
}

pub(super) async fn revoke_ingress(call: Call) -> Answer {
    revoke(call, false).await
}

pub(super) async fn revoke_egress(call: Call) -> Answer {
    revoke(call, true).await
}

async fn authorize(call: Call, egress: bool) -> Answer {
    let owner = call.caller.account.clone();
    let (group, rules) = change(call, egress, Group::add).await?;
    let mut xml = Xml::done();
    xml.items("securityGroupRuleSet", &rules, |xml, rule| {
        Placed { group: &group, egress, rule }.write(xml, &owner);
    });
    Ok(xml)
}

async fn revoke(call: Call, egress: bool) -> Answer {
    change(call, egress, Group::take).await?;
    Ok(Xml::done())
}

/// Changes a group; returns its id and the rules that it was about.
async fn change(
    mut call: Call,
    egress: bool,
    how: fn(&mut Group, bool, &[Rule]) -> Result<(), Error>,
) -> Result<(String, Vec<Rule>), Refused> {
    let network = call.network()?;
    let id = match (call.params.text("GroupId")?, call.params.text("GroupName")?) {
        (Some(id), _) => id,
        (None, Some(name)) => network.group_named(&name)?,
        (None, None) => return Err(Error::missing("GroupId").into()),
    };
    let group = network.group(&id)?.clone();
    let mut rules = read(&mut call.params, &network)?;
    let named = call.params.list("SecurityGroupRuleId")?;
    rules.extend(rule_ids::by_ids(&network, &id, egress, &named)?);
    if rules.is_empty() {
        return Err(Error::missing("IpPermissions").into());
    }
    let (account, about) = (network.account.clone(), rules.clone());
    call.front.groups.change(account, group, move |group| how(group, egress, &rules)).await?;
    Ok((id, about))
}

/// Both styles: `IpPermissions.N…`, and one rule in the request itself.
fn read(params: &mut Params, network: &Network) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    let permissions = params.each("IpPermissions", |it| permission(it, network))?;
    rules.extend(permissions.into_iter().flatten());
    let (protocol, ports) = (params.text("IpProtocol")?, ports(params)?);
    let cidr = params.text("CidrIp")?;
    let group = params.text("SourceSecurityGroupName")?;
    if protocol.is_some() || cidr.is_some() || group.is_some() {
        let mut peers = Vec::new();
        if let Some(cidr) = cidr {
            peers.push((v4(&cidr)?, String::new()));
        }
        if let Some(name) = group {
            let (account, id) = (network.account.clone(), network.group_named(&name)?);
            peers.push((Peer::Group { account, id }, String::new()));
        }
        rules.extend(each(protocol, ports, peers)?);
    }
    Ok(rules)
}

fn permission(params: &mut Params, network: &Network) -> Result<Vec<Rule>, Error> {
    let (protocol, ports) = (params.text("IpProtocol")?, ports(params)?);
    let mut peers = params.each("IpRanges", |it| {
        Ok((v4(&it.need("CidrIp")?)?, it.text("Description")?.unwrap_or_default()))
    })?;
    peers.extend(params.each("Ipv6Ranges", |it| {
        Ok((v6(&it.need("CidrIpv6")?)?, it.text("Description")?.unwrap_or_default()))
    })?);
    peers.extend(params.each("Groups", |it| {
        let id = match (it.text("GroupId")?, it.text("GroupName")?) {
            (Some(id), _) => id,
            (None, Some(name)) => network.group_named(&name)?,
            (None, None) => return Err(Error::missing("GroupId")),
        };
        let account = it.text("UserId")?.unwrap_or_else(|| network.account.clone());
        if account == network.account {
            network.must_have_groups(std::slice::from_ref(&id))?;
        }
        Ok((Peer::Group { account, id }, it.text("Description")?.unwrap_or_default()))
    })?);
    each(protocol, ports, peers)
}

fn ports(params: &mut Params) -> Result<Option<(i32, i32)>, Error> {
    match (params.number("FromPort")?, params.number("ToPort")?) {
        (Some(from), Some(to)) => Ok(Some((from, to))),
        (None, None) => Ok(None),
        _ => Err(malformed("Give FromPort and ToPort together.")),
    }
}

fn each(
    protocol: Option<String>,
    ports: Option<(i32, i32)>,
    peers: Vec<(Peer, String)>,
) -> Result<Vec<Rule>, Error> {
    let protocol = protocol.ok_or_else(|| Error::missing("IpProtocol"))?;
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        "all" | "-1" => "-1".to_owned(),
        known @ ("tcp" | "udp" | "icmp" | "icmpv6") => known.to_owned(),
        number if number.parse::<u8>().is_ok() => number.to_owned(),
        _ => return Err(malformed("IpProtocol must be tcp, udp, icmp, icmpv6, -1 or a number.")),
    };
    let with_ports = matches!(protocol.as_str(), "tcp" | "udp" | "icmp" | "icmpv6");
    let bounds = if protocol.starts_with("icmp") { -1..=255 } else { 0..=65_535 };
    let ports = match ports.filter(|_| with_ports) {
        None if with_ports => return Err(malformed("Give FromPort and ToPort.")),
        Some((from, to)) if !bounds.contains(&from) || !bounds.contains(&to) => {
            return Err(malformed("FromPort or ToPort is out of range."));
        }
        Some((from, to)) if !protocol.starts_with("icmp") && from > to => {
            return Err(malformed("FromPort must not be greater than ToPort."));
        }
        ports => ports,
    };
    if let Some((_, long)) = peers.iter().find(|(_, text)| text.len() > 255) {
        return Err(Error::invalid("Description", long, "It has up to 255 characters."));
    }
    let rule = |(peer, description)| Rule { protocol: protocol.clone(), ports, peer, description };
    Ok(peers.into_iter().map(rule).collect())
}

fn v4(text: &str) -> Result<Peer, Error> {
    let fits = text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
    });
    if fits { Ok(Peer::V4(text.to_owned())) } else { Err(cidr(text)) }
}

fn v6(text: &str) -> Result<Peer, Error> {
    let fits = text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<Ipv6Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 128)
    });
    if fits { Ok(Peer::V6(text.to_owned())) } else { Err(cidr(text)) }
}

fn cidr(text: &str) -> Error {
    let shown = text.chars().take(64).collect::<String>();
    Error::new(Code::InvalidParameterValue, format!("CIDR block {shown} is malformed"))
}

fn malformed(why: &str) -> Error {
    Error::new(Code::InvalidPermissionMalformed, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let (region, zone) = ("here".to_owned(), "herea".to_owned());
        Network { account: "1".into(), region, zone, groups: Vec::new() }
    }

    fn parsed(query: &str) -> Result<Vec<Rule>, Error> {
        read(&mut Params::from_query(query).unwrap(), &network())
    }

    #[test]
    fn both_styles_say_the_same() {
        let new = parsed(
            "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22\
             &IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
        );
        let old = parsed("IpProtocol=6&FromPort=22&ToPort=22&CidrIp=0.0.0.0/0");
        assert_eq!(new.unwrap(), old.unwrap());
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for query in [
            "IpProtocol=tcp&CidrIp=0.0.0.0/0",
            "IpProtocol=tcp&FromPort=23&ToPort=22&CidrIp=0.0.0.0/0",
            "IpProtocol=tcp&FromPort=0&ToPort=65536&CidrIp=0.0.0.0/0",
            "IpProtocol=tcp&FromPort=22&CidrIp=0.0.0.0/0",
            "IpProtocol=smoke&FromPort=1&ToPort=2&CidrIp=0.0.0.0/0",
            "IpProtocol=tcp&FromPort=1&ToPort=2&CidrIp=0.0.0.0/33",
            "IpProtocol=tcp&FromPort=1&ToPort=2&CidrIp=none",
            "IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId=sg-none",
        ] {
            assert!(parsed(query).is_err(), "{query}");
        }
    }
}
