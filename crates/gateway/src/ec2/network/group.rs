//! Security groups and their rules.

use vmint_ec2::{Code, Error, query::Tag};

/// Rules of a kind that one group may have.
pub(super) const MAX_RULES: usize = 200;

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) ingress: Vec<Rule>,
    pub(super) egress: Vec<Rule>,
    /// In the order of their keys.
    pub(super) tags: Vec<Tag>,
}

/// One thing a group lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all.
    pub(super) protocol: String,
    /// None for all, as with `-1`.
    pub(super) ports: Option<(i32, i32)>,
    pub(super) peer: Peer,
    pub(super) description: String,
}

/// From where, or to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    V4(String),
    V6(String),
    Group { account: String, id: String },
}

impl Rule {
    fn everything(peer: Peer) -> Self {
        Self { protocol: "-1".to_owned(), ports: None, peer, description: String::new() }
    }

    pub(super) fn from_group(account: &str, id: &str) -> Self {
        Self::everything(Peer::Group { account: account.to_owned(), id: id.to_owned() })
    }

    /// Whether both say the same, whatever they are described as.
    fn same(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.protocol.clone(), it.ports, it.peer.clone());
        key(self) == key(other)
    }
}

impl Group {
    /// A new group lets everything out and nothing in.
    pub(super) fn new(id: String, name: String, description: String) -> Self {
        let out = Rule::everything(Peer::V4("0.0.0.0/0".to_owned()));
        let (ingress, egress) = (Vec::new(), vec![out]);
        Self { id, name, description, ingress, egress, tags: Vec::new() }
    }

    pub(super) fn rules(&mut self, egress: bool) -> &mut Vec<Rule> {
        if egress { &mut self.egress } else { &mut self.ingress }
    }

    /// All of them or none.
    pub(super) fn add(&mut self, egress: bool, new: &[Rule]) -> Result<(), Error> {
        let rules = self.rules(egress);
        for rule in new {
            if rules.iter().any(|known| known.same(rule)) {
                let text = "the specified rule already exists".to_owned();
                return Err(Error::new(Code::InvalidPermissionDuplicate, text));
            }
            if rules.len() >= MAX_RULES {
                let text = format!("A security group has at most {MAX_RULES} rules of a kind.");
                return Err(Error::new(Code::ResourceLimitExceeded, text));
            }
            rules.push(rule.clone());
        }
        Ok(())
    }

    /// All of them or none.
    pub(super) fn take(&mut self, egress: bool, old: &[Rule]) -> Result<(), Error> {
        let rules = self.rules(egress);
        for rule in old {
            let Some(at) = rules.iter().position(|known| known.same(rule)) else {
                let text = "The specified rule does not exist in this security group.";
                return Err(Error::new(Code::InvalidPermissionNotFound, text));
            };
            rules.remove(at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_added_once_and_taken_once() {
        let mut group = Group::new("sg-1".into(), "web".into(), String::new());
        let ssh = Rule {
            protocol: "tcp".into(),
            ports: Some((22, 22)),
            peer: Peer::V4("10.0.0.0/8".into()),
            description: "ssh".into(),
        };
        group.add(false, std::slice::from_ref(&ssh)).unwrap();
        let again = Rule { description: String::new(), ..ssh.clone() };
        let code = |result: Result<(), Error>| result.unwrap_err().code;
        assert_eq!(
            code(group.add(false, std::slice::from_ref(&again))),
            Code::InvalidPermissionDuplicate
        );
        group.take(false, std::slice::from_ref(&again)).unwrap();
        assert_eq!(code(group.take(false, &[ssh])), Code::InvalidPermissionNotFound);
        assert_eq!(group.egress.len(), 1);
    }
}
