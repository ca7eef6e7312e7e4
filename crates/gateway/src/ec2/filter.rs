//! Filters over what is held in memory.

use vmint_ec2::query::Filter;

/// Whether what has these `facts` passes every filter: any of its facts of the
/// filter's name fits any of the filter's values.
pub(crate) fn all(filters: &[Filter], facts: impl Fn(&str) -> Vec<String>) -> bool {
    filters.iter().all(|filter| {
        let facts = facts(&filter.name);
        filter.values.iter().any(|value| facts.iter().any(|fact| fits(value, fact)))
    })
}

/// Whether `text` is as `pattern` says: `*` stands for any characters, `?` for
/// one, and a backslash takes the next one literally.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let pattern = parse(pattern);
    let text = text.chars().collect::<Vec<_>>();
    let (mut p, mut t) = (0, 0);
    // Where to go on if what was matched since the last star proves wrong.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Sign::Any) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(sign) if sign.is(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, at)) = retry else { return false };
                retry = Some((after, at + 1));
                (p, t) = (after, at + 1);
            }
        }
    }
    pattern[p..].iter().all(|sign| matches!(sign, Sign::Any))
}

enum Sign {
    Any,
    One,
    Char(char),
}

impl Sign {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
        }
    }
}

fn parse(pattern: &str) -> Vec<Sign> {
    let mut signs = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        signs.push(match c {
            '*' => Sign::Any,
            '?' => Sign::One,
            '\\' => Sign::Char(chars.next().unwrap_or('\\')),
            c => Sign::Char(c),
        });
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_and_escape() {
        for (pattern, text, wanted) in [
            ("web", "web", true),
            ("web", "Web", false),
            ("w*", "web", true),
            ("*e*b", "web", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*", "", true),
            ("?", "", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(fits(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn filters_are_joined_by_and_their_values_by_or() {
        let filter = |name: &str, values: &[&str]| Filter {
            name: name.into(),
            values: values.iter().map(|v| (*v).into()).collect(),
        };
        let facts = |name: &str| match name {
            "state" => vec!["running".to_owned()],
            "device" => vec!["sda".to_owned(), "sdb".to_owned()],
            _ => Vec::new(),
        };
        assert!(all(&[], facts));
        assert!(all(&[filter("state", &["stopped", "run*"]), filter("device", &["sdb"])], facts));
        assert!(!all(&[filter("state", &["running"]), filter("device", &["sdc"])], facts));
        assert!(!all(&[filter("none", &["*"])], facts));
    }
}
