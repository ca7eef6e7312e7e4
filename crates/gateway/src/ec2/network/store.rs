//! Security groups on disk.

use vmint_ec2::{Code, Error, query::Tag};
use vmint_store::{Store, StoreError, Table, Tx, TxError};

use super::{
    super::Refused,
    group::{Group, Peer, Rule},
};
use crate::GatewayError;

static GROUPS: Table<(String, String), GroupRecord> = Table::new("security_groups.v1");

/// Groups that one account may have.
const AT_MOST: usize = 500;

/// The security groups of every account, but for default ones that are as they
/// were made.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    store: Store,
}

/// Why a change was not made.
type Refuse = TxError<Refused>;

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        GatewayError::from(error).into()
    }
}

impl From<TxError<Self>> for Refused {
    fn from(error: TxError<Self>) -> Self {
        match error {
            TxError::Refused(refused) => refused,
            TxError::Store(error) => error.into(),
        }
    }
}

impl Groups {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) fn of(&self, account: &str) -> Result<Vec<Group>, Refused> {
        let prefix = vmint_store::prefix(&[&account.to_owned()]);
        let rows = GROUPS.scan(&self.store, &prefix, None, AT_MOST + 1)?;
        Ok(rows.into_iter().map(|((_, id), record)| record.into_group(id)).collect())
    }

    /// Adds a group; its name must be new in the account.
    pub(super) async fn insert(&self, account: String, group: Group) -> Result<(), Refused> {
        let work = move |tx: &mut Tx<'_>| -> Result<(), Refuse> {
            let prefix = vmint_store::prefix(&[&account]);
            let rows = GROUPS.scan(tx, &prefix, None, AT_MOST + 1)?;
            if rows.iter().any(|((_, id), it)| it.name == group.name && *id != group.id) {
                let text = format!("The security group '{}' already exists", group.name);
                return Err(refuse(Error::new(Code::InvalidGroupDuplicate, text)));
            }
            if rows.len() >= AT_MOST {
                let text = format!("An account has at most {AT_MOST} security groups.");
                return Err(refuse(Error::new(Code::ResourceLimitExceeded, text)));
            }
            let key = (account, group.id.clone());
            if GROUPS.get(tx, &key)?.is_none() {
                GROUPS.put(tx, &key, &GroupRecord::of(&group))?;
            }
            Ok(())
        };
        Ok(self.store.commit(work).await?)
    }

    /// Changes a group; `as_made` is what the default one is before any change.
    pub(super) async fn change(
        &self,
        account: String,
        as_made: Group,
        change: impl FnOnce(&mut Group) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Refused> {
        let work = move |tx: &mut Tx<'_>| -> Result<(), Refuse> {
            let key = (account, as_made.id.clone());
            let mut group = match GROUPS.get(tx, &key)? {
                Some(record) => record.into_group(as_made.id),
                None => as_made,
            };
            change(&mut group).map_err(refuse)?;
            GROUPS.put(tx, &key, &GroupRecord::of(&group))?;
            Ok(())
        };
        Ok(self.store.commit(work).await?)
    }

    pub(super) async fn remove(&self, account: String, id: String) -> Result<(), Refused> {
        let work =
            move |tx: &mut Tx<'_>| -> Result<(), Refuse> { Ok(GROUPS.remove(tx, &(account, id))?) };
        Ok(self.store.commit(work).await?)
    }
}

#[tonic::async_trait]
impl crate::ops::Kept for Groups {
    async fn clear(&self, account: &str) -> Result<(), tonic::Status> {
        let account = account.to_owned();
        let work = move |tx: &mut Tx<'_>| -> Result<bool, TxError<StoreError>> {
            let rows = GROUPS.scan(tx, &vmint_store::prefix(&[&account]), None, 50)?;
            for (key, _) in &rows {
                GROUPS.remove(tx, key)?;
            }
            Ok(rows.len() == 50)
        };
        loop {
            let more = self.store.commit(work.clone()).await;
            let more = more.map_err(|error| GatewayError::from(error.flatten()))?;
            if !more {
                return Ok(());
            }
        }
    }
}

fn refuse(error: Error) -> Refuse {
    TxError::Refused(Refused(error))
}

#[derive(Clone, PartialEq, prost::Message)]
struct GroupRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(message, repeated, tag = "3")]
    ingress: Vec<RuleRecord>,
    #[prost(message, repeated, tag = "4")]
    egress: Vec<RuleRecord>,
    #[prost(message, repeated, tag = "5")]
    tags: Vec<TagRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TagRecord {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuleRecord {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(bool, tag = "2")]
    has_ports: bool,
    #[prost(sint32, tag = "3")]
    from: i32,
    #[prost(sint32, tag = "4")]
    to: i32,
    #[prost(string, tag = "5")]
    v4: String,
    #[prost(string, tag = "6")]
    v6: String,
    #[prost(string, tag = "7")]
    group: String,
    #[prost(string, tag = "8")]
    account: String,
    #[prost(string, tag = "9")]
    description: String,
}

impl GroupRecord {
    fn of(group: &Group) -> Self {
        Self {
            name: group.name.clone(),
            description: group.description.clone(),
            ingress: group.ingress.iter().map(RuleRecord::of).collect(),
            egress: group.egress.iter().map(RuleRecord::of).collect(),
            tags: group
                .tags
                .iter()
                .map(|tag| TagRecord { key: tag.key.clone(), value: tag.value.clone() })
                .collect(),
        }
    }

    fn into_group(self, id: String) -> Group {
        Group {
            id,
            name: self.name,
            description: self.description,
            ingress: self.ingress.into_iter().map(RuleRecord::into_rule).collect(),
            egress: self.egress.into_iter().map(RuleRecord::into_rule).collect(),
            tags: self.tags.into_iter().map(|tag| Tag { key: tag.key, value: tag.value }).collect(),
        }
    }
}

impl RuleRecord {
    fn of(rule: &Rule) -> Self {
        let (from, to) = rule.ports.unwrap_or_default();
        let mut record = Self {
            protocol: rule.protocol.clone(),
            has_ports: rule.ports.is_some(),
            from,
            to,
            description: rule.description.clone(),
            ..Self::default()
        };
        match rule.peer.clone() {
            Peer::V4(cidr) => record.v4 = cidr,
            Peer::V6(cidr) => record.v6 = cidr,
            Peer::Group { account, id } => (record.account, record.group) = (account, id),
        }
        record
    }

    fn into_rule(self) -> Rule {
        let peer = if !self.group.is_empty() {
            Peer::Group { account: self.account, id: self.group }
        } else if self.v6.is_empty() {
            Peer::V4(self.v4)
        } else {
            Peer::V6(self.v6)
        };
        let ports = self.has_ports.then_some((self.from, self.to));
        Rule { protocol: self.protocol, ports, peer, description: self.description }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn groups_are_an_accounts_own_and_their_names_are_taken_once() {
        let groups = Groups::new(Store::in_memory());
        let group = |id: &str, name: &str| Group::new(id.into(), name.into(), "text".into());
        groups.insert("1".into(), group("sg-1", "web")).await.unwrap();
        let twice = groups.insert("1".into(), group("sg-2", "web")).await.unwrap_err();
        assert_eq!(twice.0.code, Code::InvalidGroupDuplicate);
        groups.insert("2".into(), group("sg-3", "web")).await.unwrap();
        assert_eq!(groups.of("1").unwrap(), [group("sg-1", "web")]);

        let rule = Rule::from_group("1", "sg-1");
        let wanted = rule.clone();
        let add = move |group: &mut Group| group.add(false, &[rule]);
        groups.change("1".into(), group("sg-1", "ignored"), add).await.unwrap();
        let now = groups.of("1").unwrap().remove(0);
        assert_eq!((now.name.as_str(), now.ingress), ("web", vec![wanted]));
        groups.remove("1".into(), "sg-1".into()).await.unwrap();
        assert_eq!(groups.of("1").unwrap(), []);
    }
}
