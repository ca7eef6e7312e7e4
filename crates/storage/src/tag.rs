//! Labels that customers put on snapshots and volumes.

use std::collections::{BTreeMap, BTreeSet};

/// Labels by their keys.
pub type Tags = BTreeMap<String, String>;

/// A resource has this many tags at most.
pub const MAX_TAGS: usize = 50;
/// What all tags of a resource may take together, so that its record fits.
const MAX_BYTES: usize = 32 << 10;

/// Why tags can't be as they are asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tag `{key}` {why}")]
pub struct BadTag {
    pub key: String,
    pub why: &'static str,
}

/// Tags as they are sent: each key once, and by the rules.
pub(crate) fn read_tags(sent: impl IntoIterator<Item = (String, String)>) -> Result<Tags, BadTag> {
    let mut tags = Tags::new();
    for (key, value) in sent {
        if let Some(before) = tags.insert(key.clone(), value) {
            drop(before);
            return Err(bad(&key, "is given twice"));
        }
    }
    check_tags(&tags)?;
    Ok(tags)
}

/// That tags keep the rules: at most 50, keys of 1 to 127 characters that
/// begin with no reserved prefix, values of at most 255.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), BadTag> {
    for (key, value) in tags {
        let lower = key.to_ascii_lowercase();
        if key.is_empty() || key.chars().count() > 127 {
            return Err(bad(key, "must have a key of 1 to 127 characters"));
        }
        if lower.starts_with("aws:") || lower.starts_with("vmint:") {
            return Err(bad(key, "begins with a reserved prefix: choose another"));
        }
        if value.chars().count() > 255 {
            return Err(bad(key, "has a value of more than 255 characters"));
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return Err(bad(key, "has a control character"));
        }
    }
    let last = tags.keys().next_back().map_or("", String::as_str);
    if tags.len() > MAX_TAGS {
        return Err(bad(last, "is one too many: 50 are allowed"));
    }
    if tags.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_BYTES {
        return Err(bad(last, "makes the tags longer than 32 KiB together"));
    }
    Ok(())
}

/// What to change of a resource's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TagChange {
    Put(Tags),
    /// Keys, each with the value it must have to go, if any.
    Remove(BTreeSet<(String, Option<String>)>),
    RemoveAll,
}

impl TagChange {
    /// `tags` after the change.
    pub(crate) fn of(&self, tags: &Tags) -> Result<Tags, BadTag> {
        let mut next = tags.clone();
        match self {
            Self::Put(put) => {
                next.extend(put.clone());
                check_tags(&next)?;
            }
            Self::Remove(keys) => {
                for (key, value) in keys {
                    if value.as_ref().is_none_or(|value| next.get(key) == Some(value)) {
                        next.remove(key);
                    }
                }
            }
            Self::RemoveAll => next.clear(),
        }
        Ok(next)
    }
}

fn bad(key: &str, why: &'static str) -> BadTag {
    BadTag { key: key.chars().take(140).collect(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn keys_and_values_keep_their_rules() {
        assert!(check_tags(&tags(&[("Stage", ""), (&"é".repeat(127), &"é".repeat(255))])).is_ok());
        for (key, value) in
            [("", "x"), ("AWS:x", ""), ("vmint:x", ""), ("a", &"x".repeat(256)), ("a\n", "")]
        {
            assert!(check_tags(&tags(&[(key, value)])).is_err(), "{key}");
        }
        let many = |n| (0..n).map(|n| (format!("k{n}"), String::new()));
        assert!(read_tags(many(50)).is_ok());
        assert!(read_tags(many(51)).is_err());
        assert!(read_tags(many(1).chain(many(1))).is_err());
    }

    #[test]
    fn a_tag_goes_if_its_value_is_the_one_named() {
        let before = tags(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let some = |text: &str| Some(text.to_owned());
        let remove = [("a".into(), None), ("b".into(), some("x")), ("c".into(), some("3"))];
        let after = TagChange::Remove(remove.into()).of(&before).unwrap();
        assert_eq!(after, tags(&[("b", "2")]));
        assert_eq!(TagChange::RemoveAll.of(&before).unwrap(), tags(&[]));
        let after = TagChange::Put(tags(&[("a", "9")])).of(&before).unwrap();
        assert_eq!(after, tags(&[("a", "9"), ("b", "2"), ("c", "3")]));
    }
}
