//! The conditions of a listing, under EC2's names.

use time::{OffsetDateTime, macros::format_description};

use crate::{Snapshot, Volume, pattern::matches, snapshot::gib, tag::Tags};

const MAX_FILTERS: usize = 50;
const MAX_VALUES: usize = 200;
const MAX_VALUE_BYTES: usize = 1024;

/// What a snapshot is looked for by.
const SNAPSHOT_NAMES: &[&str] = &[
    "description",
    "encrypted",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "volume-id",
    "volume-size",
];

/// What a volume is looked for by.
const VOLUME_NAMES: &[&str] = &[
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "create-time",
    "encrypted",
    "modification-state",
    "size",
    "snapshot-id",
    "status",
    "volume-id",
    "volume-type",
];

/// A filter that can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter `{name}` {problem}")]
pub struct BadFilter {
    pub name: String,
    pub problem: String,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(Vec<Filter>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    name: String,
    /// One of them must match.
    values: Vec<String>,
}

impl Filters {
    pub(crate) fn of_snapshots(
        given: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Self, BadFilter> {
        Self::read(given, SNAPSHOT_NAMES)
    }

    pub(crate) fn of_volumes(
        given: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Self, BadFilter> {
        Self::read(given, VOLUME_NAMES)
    }

    fn read(
        given: impl IntoIterator<Item = (String, Vec<String>)>,
        known: &[&str],
    ) -> Result<Self, BadFilter> {
        let mut filters = Vec::new();
        for (name, values) in given {
            let bad =
                |problem: String| BadFilter { name: name.chars().take(140).collect(), problem };
            if filters.len() == MAX_FILTERS {
                return Err(bad(format!("is one too many: give at most {MAX_FILTERS}")));
            }
            let is_tag =
                name == "tag-key" || name.strip_prefix("tag:").is_some_and(|key| !key.is_empty());
            if !is_tag && !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(bad(format!("is not known; use one of {known}, tag-key, tag:KEY")));
            }
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err(bad(format!("must have 1 to {MAX_VALUES} values")));
            }
            if values.iter().any(|value| value.len() > MAX_VALUE_BYTES) {
                return Err(bad(format!("has a value longer than {MAX_VALUE_BYTES} bytes")));
            }
            filters.push(Filter { name, values });
        }
        Ok(Self(filters))
    }

    /// Whether a snapshot, as it is shown to whoever asks, passes.
    pub(crate) fn pass_snapshot(&self, snapshot: &Snapshot) -> bool {
        self.0.iter().all(|filter| {
            filter.tags(&snapshot.tags).unwrap_or_else(|| match filter.name.as_str() {
                "description" => filter.is(&snapshot.description),
                "encrypted" => filter.is(&snapshot.seal.is_some().to_string()),
                "owner-id" => filter.is(&snapshot.account.to_string()),
                "progress" => filter.is(&format!("{}%", snapshot.progress())),
                "snapshot-id" => filter.is(&snapshot.id.to_string()),
                "start-time" => filter.is(&timestamp(snapshot.created_ms)),
                "status" => filter.is(snapshot.state.as_str()),
                "volume-id" => snapshot.volume.is_some_and(|id| filter.is(&id.to_string())),
                "volume-size" => filter.is(&gib(snapshot.size_bytes).to_string()),
                _ => false,
            })
        })
    }

    /// Whether a volume passes.
    pub(crate) fn pass_volume(&self, volume: &Volume) -> bool {
        self.0.iter().all(|filter| {
            let at = volume.attachment.as_ref();
            filter.tags(&volume.tags).unwrap_or_else(|| match filter.name.as_str() {
                "attachment.attach-time" => {
                    at.is_some_and(|at| filter.is(&timestamp(at.attached_ms)))
                }
                "attachment.delete-on-termination" => {
                    at.is_some_and(|at| filter.is(&at.delete_on_termination.to_string()))
                }
                "attachment.device" => at.is_some_and(|at| filter.is(&at.device)),
                "attachment.instance-id" => {
                    at.is_some_and(|at| filter.is(&at.instance.to_string()))
                }
                "attachment.status" => at.is_some_and(|at| filter.is(at.plug.as_str())),
                "availability-zone" => filter.is(&volume.zone),
                "create-time" => filter.is(&timestamp(volume.created_ms)),
                "encrypted" => filter.is(&volume.seal.is_some().to_string()),
                "modification-state" => volume.modification.is_some() && filter.is("completed"),
                "size" => filter.is(&gib(volume.size_bytes).to_string()),
                "snapshot-id" => volume.snapshot.is_some_and(|id| filter.is(&id.to_string())),
                "status" => filter.is(if at.is_some() { "in-use" } else { "available" }),
                "volume-id" => filter.is(&volume.id.to_string()),
                "volume-type" => filter.is(volume.performance.kind.as_str()),
                _ => false,
            })
        })
    }
}

impl Filter {
    fn is(&self, text: &str) -> bool {
        self.values.iter().any(|value| matches(value, text))
    }

    /// Whether the tags pass, if it is tags that are asked about.
    fn tags(&self, tags: &Tags) -> Option<bool> {
        if self.name == "tag-key" {
            return Some(tags.keys().any(|key| self.is(key)));
        }
        let key = self.name.strip_prefix("tag:")?;
        Some(tags.get(key).is_some_and(|value| self.is(value)))
    }
}

/// A time as EC2 writes it, such as `2026-01-31T08:00:00.000Z`.
fn timestamp(ms: u64) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&form).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vmint_ids::SnapshotId;

    use super::*;
    use crate::snapshot::Consistency;

    fn one(name: &str, value: &str) -> Filters {
        Filters::of_snapshots([(name.to_owned(), vec![value.to_owned()])]).unwrap()
    }

    #[test]
    fn each_name_looks_at_its_field() {
        let account = "100000000001".parse().unwrap();
        let mut snapshot =
            Snapshot::pending(SnapshotId::random(), account, (2 << 30) + 1, Consistency::Crash);
        snapshot.description = "nightly".to_owned();
        snapshot.created_ms = 1_769_846_400_123;
        snapshot.volume = Some("vol-00000000000000001".parse().unwrap());
        snapshot.tags.insert("Stage".to_owned(), "test".to_owned());
        for (name, yes, no) in [
            ("description", "night*", "day*"),
            ("encrypted", "false", "true"),
            ("owner-id", "100000000001", "100000000002"),
            ("progress", "0%", "100%"),
            ("snapshot-id", "snap-*", "vol-*"),
            ("start-time", "2026-01-31T*", "2026-02-*"),
            ("status", "pending", "completed"),
            ("volume-id", "vol-?0000000000000001", "vol-2*"),
            ("volume-size", "3", "2"),
            ("tag:Stage", "te?t", "prod"),
            ("tag-key", "Stage", "stage"),
        ] {
            assert!(one(name, yes).pass_snapshot(&snapshot), "{name}={yes}");
            assert!(!one(name, no).pass_snapshot(&snapshot), "{name}={no}");
        }
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let read = |name: &str, values: Vec<String>| {
            Filters::of_volumes([(name.to_owned(), values)]).unwrap_err().to_string()
        };
        let error = read("colour", vec!["x".into()]);
        assert!(VOLUME_NAMES.iter().all(|name| error.contains(name)), "{error}");
        read("tag:", vec!["x".into()]);
        read("size", vec![]);
        read("size", vec!["x".into(); 201]);
        read("size", vec!["x".repeat(1025)]);
        let many = (0..51).map(|_| ("size".to_owned(), vec!["1".to_owned()]));
        assert!(Filters::of_volumes(many).is_err());
    }
}
