//! The network that tools must find before they touch an image: one default
//! VPC with a subnet and a route table an account, and security groups.
//!
//! It is a record and no more. Machines are reached at loopback addresses of
//! their host whatever a group says; rules are kept, shown and have no effect
//! on traffic.

mod describe;
mod group;
mod groups;
mod rule_ids;
mod rules;
mod store;
mod tags;

use vmint_ec2::{Code, Error};

use super::{Call, Entry, Refused, entries, entry::Answer, service::Service};
use group::Group;
pub(crate) use store::Groups;

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    reads describe::VPCS => describe::describe_vpcs,
    reads describe::VPC_ATTRIBUTE => describe::describe_vpc_attribute,
    reads describe::SUBNETS => describe::describe_subnets,
    reads describe::ROUTE_TABLES => describe::describe_route_tables,
    reads describe::GATEWAYS => describe::describe_internet_gateways,
    reads describe::ADDRESSES => describe::describe_addresses,
    reads describe::ACCOUNT => describe::describe_account_attributes,
    reads groups::DESCRIBE => groups::describe_security_groups,
    reads rule_ids::DESCRIBE => rule_ids::describe_security_group_rules,
    writes groups::CREATE => groups::create_security_group,
    writes groups::DELETE => groups::delete_security_group,
    writes rules::AUTHORIZE_INGRESS => rules::authorize_ingress,
    writes rules::AUTHORIZE_EGRESS => rules::authorize_egress,
    writes rules::REVOKE_INGRESS => rules::revoke_ingress,
    writes rules::REVOKE_EGRESS => rules::revoke_egress,
};

/// The addresses of every VPC and subnet.
const VPC_CIDR: &str = "172.31.0.0/16";
const SUBNET_CIDR: &str = "172.31.0.0/20";

/// One account's network.
#[derive(Debug)]
pub(super) struct Network {
    account: String,
    region: String,
    zone: String,
    groups: Vec<Group>,
}

impl Call {
    /// The network of the caller's account.
    pub(super) fn network(&self) -> Result<Network, Refused> {
        let (account, regions) = (self.caller.account.clone(), &self.front.regions);
        let (region, zone) = (regions.own().to_owned(), regions.zone());
        let mut network = Network { account, region, zone, groups: Vec::new() };
        network.groups = self.front.groups.of(&network.account)?;
        if network.groups.iter().all(|group| group.id != network.default_group()) {
            network.groups.insert(0, network.default_as_made());
        }
        Ok(network)
    }
}

impl Network {
    /// An id that is the same each time it is asked for.
    fn id(&self, prefix: &str) -> String {
        let text = format!("{}/{prefix}", self.account);
        named(prefix, "vmint 2026 network facade", &text)
    }

    pub(super) fn vpc(&self) -> String {
        self.id("vpc")
    }

    pub(super) fn subnet(&self) -> String {
        self.id("subnet")
    }

    pub(super) fn default_group(&self) -> String {
        self.id("sg")
    }

    /// The default group before anything was changed about it.
    fn default_as_made(&self) -> Group {
        let id = self.default_group();
        let text = "default VPC security group".to_owned();
        let mut group = Group::new(id.clone(), "default".to_owned(), text);
        group.ingress.push(group::Rule::from_group(&self.account, &id));
        group
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// The zone that an instance is in, which may not know it.
    pub(super) fn zone_of<'a>(&'a self, known: &'a str) -> &'a str {
        if known.is_empty() { &self.zone } else { known }
    }

    pub(super) fn subnet_of(&self, known: &str) -> String {
        if known.is_empty() { self.subnet() } else { known.to_owned() }
    }

    pub(super) fn vpc_of(&self, known: &str) -> String {
        if known.is_empty() { self.vpc() } else { known.to_owned() }
    }

    /// The ids and names of the groups with these ids; the default one's where
    /// there are none.
    pub(super) fn groups_of(&self, ids: &[String]) -> Vec<(String, String)> {
        let default = [self.default_group()];
        let ids = if ids.is_empty() { &default[..] } else { ids };
        let name = |id: &String| self.groups.iter().find(|it| it.id == *id).map(|it| &it.name);
        ids.iter().map(|id| (id.clone(), name(id).cloned().unwrap_or_default())).collect()
    }

    pub(super) fn group_named(&self, name: &str) -> Result<String, Error> {
        let found = self.groups.iter().find(|group| group.name == name);
        found.map(|group| group.id.clone()).ok_or_else(|| no_group(name))
    }

    fn group(&self, id: &str) -> Result<&Group, Error> {
        self.groups.iter().find(|group| group.id == id).ok_or_else(|| no_group(id))
    }

    pub(super) fn must_have_groups(&self, ids: &[String]) -> Result<(), Error> {
        ids.iter().try_for_each(|id| self.group(id).map(drop))
    }

    pub(super) fn must_be_subnet(&self, id: &str) -> Result<(), Error> {
        if id == self.subnet() {
            return Ok(());
        }
        let text = format!("The subnet ID '{id}' does not exist");
        Err(Error::new(Code::InvalidSubnetIdNotFound, text))
    }

    pub(super) fn must_be_vpc(&self, id: &str) -> Result<(), Error> {
        if id == self.vpc() {
            return Ok(());
        }
        let text = format!("The vpc ID '{id}' does not exist");
        Err(Error::new(Code::InvalidVpcIdNotFound, text))
    }

    pub(super) fn must_be_zone(&self, zone: &str) -> Result<(), Error> {
        if zone == self.zone {
            return Ok(());
        }
        let text = format!("Invalid availability zone: [{zone}]. The zone here is {}.", self.zone);
        Err(Error::new(Code::InvalidParameterValue, text))
    }
}

/// The id that follows from a text: the same for the same one.
fn named(prefix: &str, context: &str, text: &str) -> String {
    let digest = blake3::derive_key(context, text.as_bytes());
    let digits = digest.iter().take(9).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    format!("{prefix}-{}", &digits.concat()[..17])
}

fn no_group(what: &str) -> Error {
    let text = format!("The security group '{what}' does not exist");
    Error::new(Code::InvalidGroupNotFound, text)
}
