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
    Plain(&'static str),
    Tag(String),
}

/// The names that are known, beside `tag:<key>`.
const NAMES: &[&str] = &[
    "architecture",
    "availability-zone",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "hypervisor",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "name",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "product-code",
    "reason",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "state-reason-code",
    "subnet-id",
    "tag-key",
    "tag-value",
    "virtualization-type",
    "vpc-id",
];

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
            let known = || format!("is not known; use {} or tag:<key>", NAMES.join(", "));
            let field = Field::named(name).ok_or_else(|| bad(&known()))?;
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
        let asks = |field: &Field| {
            let names = ["instance-id", "instance-state-name", "instance-state-code"];
            matches!(field, Field::Plain(name) if names.contains(name))
        };
        self.0.iter().any(|f| asks(&f.field))
    }
}

impl Filter {
    fn admits(&self, i: &Instance) -> bool {
        let is = |text: &str| self.values.iter().any(|v| matches(v.as_bytes(), text.as_bytes()));
        let name = match &self.field {
            Field::Plain(name) => *name,
            Field::Tag(key) => return i.tags.iter().any(|(k, value)| k == key && is(value)),
        };
        let volumes = || i.identity.iter().flat_map(|d| &d.volumes);
        let about = &i.particulars;
        match name {
            "architecture" => is(&about.architecture),
            "availability-zone" => is(&about.zone),
            "block-device-mapping.attach-time" => volumes().any(|v| is(&iso(v.attached_at))),
            "block-device-mapping.delete-on-termination" => {
                volumes().any(|v| is(if v.delete_on_termination { "true" } else { "false" }))
            }
            "block-device-mapping.device-name" => volumes().any(|v| is(&v.device)),
            "block-device-mapping.status" => volumes().next().is_some() && is("attached"),
            "block-device-mapping.volume-id" => volumes().any(|v| is(&v.id)),
            "client-token" => is(&about.client_token),
            // What EC2 calls ours: neither of its words is truer.
            "hypervisor" => is("xen"),
            "image-id" => is(&i.image),
            "instance-id" => is(&i.id.to_string()),
            "instance-state-code" => is(&i.state.code().to_string()),
            "instance-state-name" => is(i.state.as_str()),
            "instance-type" => is(&i.instance_type),
            "instance.group-id" => about.security_groups.iter().any(|group| is(group)),
            "ip-address" => {
                i.ssh.filter(|_| i.state.has_machine()).is_some_and(|e| is(&e.address.to_string()))
            }
            "key-name" => is(&i.key_name),
            "launch-index" => is(&i.launch_index.to_string()),
            "launch-time" => is(&iso(i.launched_at)),
            "name" => is(&i.name),
            "owner-id" => is(&i.account),
            "private-dns-name" => i.identity.as_ref().is_some_and(|d| is(&d.host_name())),
            "private-ip-address" => {
                i.identity.as_ref().is_some_and(|d| is(&d.private_ip.to_string()))
            }
            "product-code" => i.product_codes.iter().any(|code| is(code)),
            "reason" => is(&i.reason),
            "reservation-id" => is(&i.reservation),
            "root-device-name" => i.identity.as_ref().is_some_and(|d| is(&d.root_device)),
            "root-device-type" => is("ebs"),
            "state-reason-code" => is(i.reason_code()),
            "subnet-id" => is(&about.subnet),
            "tag-key" => i.tags.iter().any(|(key, _)| is(key)),
            "tag-value" => i.tags.iter().any(|(_, value)| is(value)),
            "virtualization-type" => is("hvm"),
            "vpc-id" => is(&about.vpc),
            _ => false,
        }
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        if let Some(known) = NAMES.iter().find(|known| **known == name) {
            return Some(Self::Plain(known));
        }
        Some(Self::Tag(name.strip_prefix("tag:").filter(|key| !key.is_empty())?.to_owned()))
    }
}

/// A time as EC2 writes it, in UTC to the millisecond.
fn iso(ms: i64) -> String {
    let nanos = i128::from(ms) * 1_000_000;
    let Ok(t) = time::OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
        return String::new();
    };
    let (date, clock) = (t.date(), t.time());
    format!(
        "{date}T{:02}:{:02}:{:02}.{:03}Z",
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}

/// Whether `text` is what `pattern` says; takes time of at most their product.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
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
            ("instance-state-code", "0", "16"),
            ("architecture", "x86_64", "arm64"),
            ("availability-zone", "local-1?", "local-2a"),
            ("block-device-mapping.attach-time", "1970-01-01T00:00:01.000Z", "1971*"),
            ("block-device-mapping.delete-on-termination", "true", "false"),
            ("block-device-mapping.device-name", "/dev/sda1", "/dev/sdb"),
            ("block-device-mapping.status", "attached", "attaching"),
            ("block-device-mapping.volume-id", "vol-0123456789abcdef0", "vol-1"),
            ("client-token", "token", "other"),
            ("hypervisor", "xen", "kvm"),
            ("instance.group-id", "sg-1", "sg-2"),
            ("launch-time", "1970-01-01T00:00:01*", "1970-01-02*"),
            ("owner-id", "111122223333", "self"),
            ("private-dns-name", "ip-172-31-0-4", "ip-10*"),
            ("root-device-name", "/dev/sda1", "/dev/xvda"),
            ("root-device-type", "ebs", "instance-store"),
            ("subnet-id", "subnet-1", "subnet-2"),
            ("tag-value", "test", "Stage"),
            ("virtualization-type", "hvm", "paravirtual"),
            ("vpc-id", "vpc-1", "vpc-2"),
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
    fn every_name_that_is_told_is_applied() {
        let mut i = sample();
        i.began(
            crate::Run {
                started_at: 5,
                accelerator: "tcg".into(),
                sandbox_gaps: vec![],
                ssh: Some(crate::Endpoint { address: [127, 100, 0, 4].into(), port: 22 }),
            },
            6,
        )
        .unwrap();
        let all = ["*".to_owned()];
        for name in NAMES {
            let filters = Filters::read([(*name, &all[..])]).unwrap();
            assert!(filters.admit(&i), "{name}");
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
