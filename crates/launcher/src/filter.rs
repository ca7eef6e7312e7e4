//! Which instances a listing shows, by EC2's names.

use crate::Instance;

const MAX_FILTERS: usize = 50;
const MAX_VALUES: usize = 200;
const MAX_VALUE: usize = 256;

/// A filter that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter `{name}` {problem}")]
pub struct BadFilter {
    pub name: String,
    pub problem: String,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Filter>);

#[derive(Debug, Clone)]
struct Filter {
    field: Field,
    /// One of them must match; `*` and `?` are wildcards, `\` makes them plain.
    values: Vec<String>,
}

#[derive(Debug, Clone)]
enum Field {
    State,
    Id,
    Image,
    Type,
    KeyName,
    Reservation,
    PrivateIp,
    ProductCode,
    LaunchIndex,
    Name,
    TagKey,
    Tag(String),
}

impl Filters {
    /// Reads names and their values.
    pub fn read<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, BadFilter> {
        let mut filters = Vec::new();
        for (name, values) in given {
            let bad = |problem: &str| BadFilter {
                name: name.chars().take(64).collect(),
                problem: problem.to_owned(),
            };
            if filters.len() == MAX_FILTERS {
                return Err(bad("is one too many: give at most 50"));
            }
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err(bad("needs 1 to 200 values"));
            }
            if values.iter().any(|v| v.len() > MAX_VALUE) {
                return Err(bad("has a value of more than 256 bytes"));
            }
            let field = Field::named(name).ok_or_else(|| {
                bad("is not known; use instance-state-name, instance-id, image-id, \
                     instance-type, key-name, reservation-id, private-ip-address, \
                     product-code, launch-index, name, tag-key or tag:<key>")
            })?;
            filters.push(Filter { field, values: values.to_vec() });
        }
        Ok(Self(filters))
    }

    /// Whether `instance` is to be shown.
    #[must_use]
    pub fn admit(&self, instance: &Instance) -> bool {
        self.0.iter().all(|filter| filter.admits(instance))
    }

    /// Whether the caller asks by state or id, and so for ended ones too.
    #[must_use]
    pub fn ask_for_the_ended(&self) -> bool {
        self.0.iter().any(|f| matches!(f.field, Field::State | Field::Id))
    }
}

impl Filter {
    fn admits(&self, i: &Instance) -> bool {
        let is = |text: &str| self.values.iter().any(|v| matches(v.as_bytes(), text.as_bytes()));
        match &self.field {
            Field::State => is(i.state.as_str()),
            Field::Id => is(&i.id.to_string()),
            Field::Image => is(&i.image),
            Field::Type => is(&i.instance_type),
            Field::KeyName => is(&i.key_name),
            Field::Reservation => is(&i.reservation),
            Field::PrivateIp => i.identity.as_ref().is_some_and(|d| is(&d.private_ip.to_string())),
            Field::ProductCode => i.product_codes.iter().any(|code| is(code)),
            Field::LaunchIndex => is(&i.launch_index.to_string()),
            Field::Name => is(&i.name),
            Field::TagKey => i.tags.iter().any(|(key, _)| is(key)),
            Field::Tag(key) => i.tags.iter().any(|(k, value)| k == key && is(value)),
        }
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "instance-state-name" => Self::State,
            "instance-id" => Self::Id,
            "image-id" => Self::Image,
            "instance-type" => Self::Type,
            "key-name" => Self::KeyName,
            "reservation-id" => Self::Reservation,
            "private-ip-address" => Self::PrivateIp,
            "product-code" => Self::ProductCode,
            "launch-index" => Self::LaunchIndex,
            "name" => Self::Name,
            "tag-key" => Self::TagKey,
            other => Self::Tag(other.strip_prefix("tag:").filter(|k| !k.is_empty())?.to_owned()),
        })
    }
}

/// Whether `text` is what `pattern` says; takes time of at most their product.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not fit.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                continue;
            }
            Some(b'\\') if pattern.get(p + 1) == Some(&text[t]) => {
                p += 2;
                t += 1;
                continue;
            }
            Some(b) if *b == text[t] && *b != b'\\' => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((at, from)) = star else { return false };
        star = Some((at, from + 1));
        p = at + 1;
        t = from + 1;
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::sample;

    fn admits(name: &str, value: &str) -> bool {
        let values = [value.to_owned()];
        Filters::read([(name, values.as_slice())]).unwrap().admit(&sample())
    }

    #[test]
    fn each_name_looks_at_its_field() {
        for (name, yes, no) in [
            ("instance-state-name", "pending", "running"),
            ("instance-id", "i-0123*", "i-1*"),
            ("image-id", "ami-0123456789abcdef0", "ami-1"),
            ("instance-type", "v1.*", "t3.*"),
            ("key-name", "me", "you"),
            ("reservation-id", "r-*", "q-*"),
            ("private-ip-address", "172.31.0.?", "10.*"),
            ("product-code", "abc", "abd"),
            ("launch-index", "0", "1"),
            ("name", "web", "db"),
            ("tag-key", "Stage", "stage"),
            ("tag:Stage", "te?t", "prod"),
        ] {
            assert!(admits(name, yes), "{name}={yes}");
            assert!(!admits(name, no), "{name}={no}");
        }
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let one = ["x".to_owned()];
        let none: [String; 0] = [];
        let long = ["x".repeat(257)];
        for (name, values) in
            [("colour", &one[..]), ("tag:", &one), ("name", &none), ("name", &long)]
        {
            assert!(Filters::read([(name, values)]).is_err(), "{name}");
        }
    }

    #[test]
    fn stars_go_back_where_they_must() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("", "a", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }
}
