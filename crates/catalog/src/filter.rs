//! The conditions of a listing, under EC2's names.

use time::{OffsetDateTime, macros::format_description};

use crate::{CatalogError, Image, Pattern, Result, store::Tags};

/// A listing has this many filters at most.
pub const MAX_FILTERS: usize = 50;
/// A filter has this many values at most.
pub const MAX_VALUES: usize = 200;
/// A value has this many bytes at most.
const MAX_VALUE_BYTES: usize = 1024;

/// Every name a filter may have.
const NAMES: [(&str, Field); 33] = [
    ("architecture", Field::Architecture),
    ("block-device-mapping.delete-on-termination", Field::DeleteOnTermination),
    ("block-device-mapping.device-name", Field::DeviceName),
    ("block-device-mapping.encrypted", Field::Encrypted),
    ("block-device-mapping.snapshot-id", Field::SnapshotId),
    ("block-device-mapping.volume-size", Field::VolumeSize),
    ("block-device-mapping.volume-type", Field::VolumeType),
    ("boot-mode", Field::BootMode),
    ("creation-date", Field::CreationDate),
    ("description", Field::Description),
    ("ena-support", Field::EnaSupport),
    ("hypervisor", Field::Always("xen")),
    ("image-id", Field::ImageId),
    ("image-type", Field::Always("machine")),
    ("is-public", Field::IsPublic),
    ("kernel-id", Field::Never),
    ("manifest-location", Field::Location),
    ("name", Field::Name),
    ("owner-id", Field::OwnerId),
    ("platform", Field::Platform),
    ("product-code", Field::ProductCode),
    ("product-code.type", Field::ProductCodeType),
    ("ramdisk-id", Field::Never),
    ("root-device-name", Field::RootDeviceName),
    ("root-device-type", Field::Always("ebs")),
    ("source-image-id", Field::SourceImageId),
    ("source-instance-id", Field::SourceInstanceId),
    ("sriov-net-support", Field::Never),
    ("state", Field::State),
    ("state-reason-code", Field::StateReasonCode),
    ("state-reason-message", Field::StateReason),
    ("tag-key", Field::TagKey),
    ("virtualization-type", Field::Always("hvm")),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// The same of every image.
    Always(&'static str),
    Architecture,
    BootMode,
    CreationDate,
    DeleteOnTermination,
    Description,
    DeviceName,
    EnaSupport,
    Encrypted,
    ImageId,
    IsPublic,
    /// `owner/name`.
    Location,
    Name,
    /// Something no image has.
    Never,
    OwnerId,
    Platform,
    ProductCode,
    ProductCodeType,
    RootDeviceName,
    SnapshotId,
    SourceImageId,
    SourceInstanceId,
    State,
    StateReason,
    StateReasonCode,
    Tag(String),
    TagKey,
    VolumeSize,
    VolumeType,
}

/// An image as whoever lists it sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) image: &'a Image,
    /// As the hints say.
    pub(crate) public: bool,
    /// The tags of who does not own it, to whom the owner's do not show.
    pub(crate) viewer_tags: Option<&'a Tags>,
}

/// One condition: any of the values fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    field: Field,
    values: Vec<Pattern>,
}

impl Filter {
    pub fn parse(name: &str, values: &[String]) -> Result<Self> {
        let shown: String = name.chars().take(140).collect();
        let refuse = |why: String| CatalogError::Filter { filter: shown.clone(), why };
        let field = match name.strip_prefix("tag:") {
            Some("") => return Err(refuse("names no tag: write tag:KEY".into())),
            Some(key) => Field::Tag(key.to_owned()),
            None => NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, field)| field.clone())
                .ok_or_else(|| refuse(format!("is not known; use one of {}", names())))?,
        };
        if values.is_empty() || values.len() > MAX_VALUES {
            return Err(refuse(format!("must have 1 to {MAX_VALUES} values")));
        }
        if values.iter().any(|value| value.len() > MAX_VALUE_BYTES) {
            return Err(refuse(format!("has a value longer than {MAX_VALUE_BYTES} bytes")));
        }
        let flag = |value: &String| value == "true" || value == "false";
        if field == Field::IsPublic && !values.iter().all(flag) {
            return Err(refuse("takes `true` or `false`".into()));
        }
        Ok(Self { field, values: values.iter().map(|value| Pattern::new(value)).collect() })
    }

    /// The ids that alone can pass, if this filter names them without wildcards.
    #[must_use]
    pub fn image_ids(&self) -> Option<Vec<String>> {
        let named = self.field == Field::ImageId;
        named.then(|| self.values.iter().map(Pattern::literal).collect()).flatten()
    }

    /// Whether an image passes.
    pub(crate) fn passes(&self, seen: &Seen<'_>) -> bool {
        let Seen { image, public, viewer_tags } = *seen;
        let tags = viewer_tags.unwrap_or(&image.tags);
        let flag = |flag| self.any(if flag { "true" } else { "false" });
        match &self.field {
            Field::Always(text) => self.any(text),
            Field::Architecture => self.any(image.architecture.as_str()),
            Field::BootMode => self.any(image.boot_mode.as_str()),
            Field::CreationDate => self.any(&timestamp(image.created_ms)),
            Field::DeleteOnTermination => {
                image.disks.iter().any(|disk| flag(disk.delete_on_termination))
            }
            Field::Description => self.any(&image.description),
            Field::Encrypted => image.disks.iter().any(|disk| flag(disk.encrypted)),
            Field::DeviceName => image.disks.iter().any(|disk| self.any(&disk.device)),
            Field::EnaSupport => flag(image.ena_support),
            Field::ImageId => self.any(&image.id.to_string()),
            Field::IsPublic => flag(public),
            Field::Location => self.any(&format!("{}/{}", image.owner, image.name.as_str())),
            Field::Never => false,
            Field::Name => self.any(image.name.as_str()),
            Field::OwnerId => self.any(&image.owner.to_string()),
            Field::Platform => image.windows && self.any("windows"),
            Field::ProductCode => image.product_codes.iter().any(|code| self.any(code.as_str())),
            Field::ProductCodeType => !image.product_codes.is_empty() && self.any("marketplace"),
            Field::RootDeviceName => self.any(&image.root_device),
            Field::SnapshotId => {
                image.disks.iter().filter_map(|d| d.snapshot).any(|id| self.any(&id.to_string()))
            }
            Field::SourceImageId => image.source_image.is_some_and(|id| self.any(&id.to_string())),
            // Its owner's business.
            Field::SourceInstanceId => {
                viewer_tags.is_none()
                    && image.source_instance.is_some_and(|id| self.any(&id.to_string()))
            }
            Field::State => self.any(image.state.as_str()),
            Field::StateReasonCode => {
                !image.state_reason_code.is_empty() && self.any(&image.state_reason_code)
            }
            Field::StateReason => !image.state_reason.is_empty() && self.any(&image.state_reason),
            Field::Tag(key) => tags.get(key).is_some_and(|value| self.any(value)),
            Field::TagKey => tags.keys().any(|key| self.any(key)),
            Field::VolumeType => {
                image.disks.iter().any(|disk| self.any(disk.performance.kind.as_str()))
            }
            Field::VolumeSize => {
                let sizes = image.disks.iter().filter_map(|disk| disk.size_gib);
                sizes.into_iter().any(|size| self.any(&size.to_string()))
            }
        }
    }

    fn any(&self, text: &str) -> bool {
        self.values.iter().any(|value| value.matches(text))
    }
}

fn names() -> String {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).chain(["tag:KEY"]).collect();
    names.join(", ")
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
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = Filter::parse("nmae", &["x".into()]).unwrap_err().to_string();
        for (name, _) in NAMES {
            assert!(error.contains(name), "{error}");
        }
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn values_are_bounded() {
        for (name, values) in [
            ("name", vec![]),
            ("name", vec!["x".to_owned(); 201]),
            ("name", vec!["x".repeat(1025)]),
            ("is-public", vec!["yes".to_owned()]),
            ("tag:", vec!["x".to_owned()]),
        ] {
            assert!(Filter::parse(name, &values).is_err(), "{name}");
        }
        assert!(Filter::parse("name", &vec!["x".to_owned(); 200]).is_ok());
    }

    #[test]
    fn times_read_as_elsewhere() {
        assert_eq!(timestamp(1_769_846_400_123), "2026-01-31T08:00:00.123Z");
    }
}
