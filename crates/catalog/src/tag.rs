//! Labels that customers put on images.

use std::collections::BTreeMap;

use crate::{CatalogError, Result};

/// An image has this many tags at most.
pub const MAX_TAGS: usize = 50;
/// What all tags of an image may take together, so that its record fits.
const MAX_BYTES: usize = 32 << 10;

/// That the tags of an image keep the rules: at most 50, keys of 1 to 127
/// characters that begin with no reserved prefix, values of at most 255.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let refuse =
        |key: &str, why| Err(CatalogError::Tag { key: key.chars().take(140).collect(), why });
    for (key, value) in tags {
        let lower = key.to_ascii_lowercase();
        if key.is_empty() || key.chars().count() > 127 {
            return refuse(key, "must be 1 to 127 characters long");
        }
        if lower.starts_with("aws:") || lower.starts_with("vmint:") {
            return refuse(key, "begins with a reserved prefix: choose another");
        }
        if value.chars().count() > 255 {
            return refuse(key, "has a value of more than 255 characters");
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return refuse(key, "has a control character");
        }
    }
    let last = tags.keys().next_back().map_or("", String::as_str);
    if tags.len() > MAX_TAGS {
        return Err(CatalogError::TooManyTags { limit: MAX_TAGS });
    }
    if tags.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_BYTES {
        return refuse(last, "makes the image's tags longer than 32 KiB together");
    }
    Ok(())
}

/// `tags` without the keys `remove` and then with `put`, which names no key
/// twice.
pub(crate) fn changed_tags(
    tags: &BTreeMap<String, String>,
    put: &[(String, String)],
    remove: &[String],
) -> Result<BTreeMap<String, String>> {
    let mut next = tags.clone();
    for key in remove {
        next.remove(key);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in put {
        if !seen.insert(key) {
            return Err(CatalogError::Tag { key: key.clone(), why: "is given twice" });
        }
        next.insert(key.clone(), value.clone());
    }
    check_tags(&next)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
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
        assert!(check_tags(&tags(&[(&"k".repeat(128), "")])).is_err());
        let many = |n| (0..n).map(|n| (format!("k{n}"), String::new())).collect();
        assert!(check_tags(&many(50)).is_ok());
        assert!(check_tags(&many(51)).is_err());
        let wide = (0..50).map(|n| (format!("k{n}"), "語".repeat(255))).collect();
        assert!(check_tags(&wide).is_err());
    }

    #[test]
    fn a_change_removes_and_then_puts() {
        let before = tags(&[("a", "1"), ("b", "2")]);
        let put = [("b".to_owned(), "3".to_owned()), ("c".to_owned(), "4".to_owned())];
        let after = changed_tags(&before, &put, &["a".into(), "b".into(), "z".into()]).unwrap();
        assert_eq!(after, tags(&[("b", "3"), ("c", "4")]));
        let twice = [put[0].clone(), put[0].clone()];
        assert!(changed_tags(&before, &twice, &[]).is_err());
    }
}
