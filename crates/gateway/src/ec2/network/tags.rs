//! Tags of security groups.

use vmint_ec2::{Code, Error, query::Tag};

use super::{Groups, Network, group::Group};
use crate::ec2::{Refused, tags::Change};

/// Of one group.
const MOST: usize = 50;

impl Group {
    /// Changes its tags, or refuses what no resource can bear.
    pub(in crate::ec2) fn tag(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Put(new) => {
                for tag in new {
                    check(&tag.key, &tag.value)?;
                    match self.tags.iter_mut().find(|known| known.key == tag.key) {
                        Some(known) => known.value.clone_from(&tag.value),
                        None => {
                            let (key, value) = (tag.key.clone(), tag.value.clone());
                            self.tags.push(Tag { key, value });
                        }
                    }
                }
            }
            Change::Remove(gone) => self.tags.retain(|tag| {
                let hit = |(key, value): &(String, Option<String>)| {
                    *key == tag.key && value.as_ref().is_none_or(|value| *value == tag.value)
                };
                !gone.iter().any(hit)
            }),
            Change::RemoveAll => self.tags.clear(),
        }
        if self.tags.len() > MOST {
            let text = format!("A security group has at most {MOST} tags.");
            return Err(Error::new(Code::TagLimitExceeded, text));
        }
        self.tags.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(())
    }
}

impl Network {
    /// Changes the tags of groups that are all there.
    pub(in crate::ec2) async fn tag_groups(
        &self,
        store: &Groups,
        ids: &[String],
        change: &Change,
    ) -> Result<(), Refused> {
        for id in ids {
            let (group, change) = (self.group(id)?.clone(), change.clone());
            store.change(self.account.clone(), group, move |group| group.tag(&change)).await?;
        }
        Ok(())
    }

    /// The groups that have tags, with them.
    pub(in crate::ec2) fn group_tags(&self) -> impl Iterator<Item = (&str, &[Tag])> {
        self.groups.iter().map(|group| (group.id.as_str(), group.tags.as_slice()))
    }
}

fn check(key: &str, value: &str) -> Result<(), Error> {
    let lower = key.to_ascii_lowercase();
    if lower.starts_with("aws:") || lower.starts_with("vmint:") {
        let text = "Tag keys starting with 'aws:' or 'vmint:' are reserved for internal use";
        return Err(Error::invalid("Tag.Key", key, text));
    }
    if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
        let why = "A key has 1 to 128 characters and a value at most 256.";
        return Err(Error::invalid("Tag.Key", key, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vmint_api::types::v1;

    use super::*;

    #[test]
    fn tags_are_put_over_one_another_and_taken_while_they_are_what_is_said() {
        let mut group = Group::new("sg-1".into(), "web".into(), "text".into());
        let put = |pairs: &[(&str, &str)]| {
            let tag = |(key, value): &(&str, &str)| v1::Tag {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            };
            Change::Put(pairs.iter().map(tag).collect())
        };
        group.tag(&put(&[("b", "1"), ("a", "1")])).unwrap();
        group.tag(&put(&[("b", "2")])).unwrap();
        let pairs = |group: &Group| {
            let tags = group.tags.iter();
            tags.map(|tag| format!("{}={}", tag.key, tag.value)).collect::<Vec<_>>()
        };
        assert_eq!(pairs(&group), ["a=1", "b=2"]);
        let take = |key: &str, value: Option<&str>| {
            Change::Remove(vec![(key.to_owned(), value.map(str::to_owned))])
        };
        group.tag(&take("b", Some("1"))).unwrap();
        group.tag(&take("a", None)).unwrap();
        assert_eq!(pairs(&group), ["b=2"]);
        assert!(group.tag(&put(&[("AWS:x", "1")])).is_err());
        let many = (0..50).map(|n| (format!("k{n}"), "v")).collect::<Vec<_>>();
        let many = many.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>();
        assert_eq!(group.tag(&put(&many)).unwrap_err().code, Code::TagLimitExceeded);
        group.tag(&Change::RemoveAll).unwrap();
        assert!(group.tags.is_empty());
    }
}
