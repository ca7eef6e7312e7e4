//! Tags: what they may be, and how they change.

use crate::{LauncherError, Result};

/// Of one resource.
const MOST: usize = 50;

/// A change of a resource's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Puts these; a key that is there gets the new value.
    Put(Vec<(String, String)>),
    /// Takes these off, each only if it has the value given with it; all of them if the
    /// list is empty.
    Take(Vec<(String, Option<String>)>),
}

impl Change {
    /// Refuses what cannot be put.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Put(tags) if !(1..=MOST).contains(&tags.len()) => {
                Err(LauncherError::field("tags", "give 1 to 50"))
            }
            Self::Put(tags) => tags.iter().try_for_each(|(key, value)| check(key, value)),
            Self::Take(tags) if tags.len() > MOST => {
                Err(LauncherError::field("tags", "give at most 50"))
            }
            Self::Take(_) => Ok(()),
        }
    }

    pub(crate) fn apply(&self, tags: &mut Vec<(String, String)>) -> Result<()> {
        match self {
            Self::Put(new) => {
                for (key, value) in new {
                    match tags.iter_mut().find(|(k, _)| k == key) {
                        Some((_, old)) => old.clone_from(value),
                        None => tags.push((key.clone(), value.clone())),
                    }
                }
                if tags.len() > MOST {
                    return Err(LauncherError::TooManyTags);
                }
            }
            Self::Take(gone) if gone.is_empty() => tags.clear(),
            Self::Take(gone) => tags.retain(|(key, value)| {
                !gone.iter().any(|(k, v)| k == key && v.as_ref().is_none_or(|v| v == value))
            }),
        }
        Ok(())
    }
}

/// Refuses tags that no resource can bear.
pub(crate) fn check_all(tags: &[(String, String)]) -> Result<()> {
    if tags.len() > MOST {
        return Err(LauncherError::TooManyTags);
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        check(key, value)?;
        if tags[..at].iter().any(|(k, _)| k == key) {
            return Err(LauncherError::BadTag { problem: format!("`{key}` is there twice") });
        }
    }
    Ok(())
}

fn check(key: &str, value: &str) -> Result<()> {
    let bad = |problem: &str| Err(LauncherError::BadTag { problem: problem.to_owned() });
    if !(1..=127).contains(&key.chars().count()) {
        return bad("a key has 1 to 127 characters");
    }
    if key.starts_with("aws:") || key.starts_with("vmint:") {
        return bad("keys beginning with `aws:` or `vmint:` are reserved");
    }
    if value.chars().count() > 255 {
        return bad("a value has at most 255 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn tags_are_put_over_and_taken_by_value() {
        let mut tags = vec![pair("a", "1"), pair("b", "2")];
        Change::Put(vec![pair("b", "3"), pair("c", "")]).apply(&mut tags).unwrap();
        assert_eq!(tags, [pair("a", "1"), pair("b", "3"), pair("c", "")]);
        let take = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let gone =
            vec![take("a", Some("9")), take("b", Some("3")), take("c", None), take("d", None)];
        Change::Take(gone).apply(&mut tags).unwrap();
        assert_eq!(tags, [pair("a", "1")]);
        Change::Take(vec![]).apply(&mut tags).unwrap();
        assert!(tags.is_empty());
    }

    #[test]
    fn what_no_resource_can_bear_is_refused() {
        for bad in
            [pair("", "x"), pair("aws:x", ""), pair("vmint:x", ""), pair("k", &"x".repeat(256))]
        {
            assert!(Change::Put(vec![bad.clone()]).check().is_err(), "{bad:?}");
            assert!(check_all(&[bad]).is_err());
        }
        assert!(check_all(&[pair("k", "1"), pair("k", "2")]).is_err());
        let many = (0..51).map(|n| pair(&n.to_string(), "")).collect::<Vec<_>>();
        assert!(Change::Put(many.clone()).apply(&mut vec![]).is_err() && check_all(&many).is_err());
    }
}
