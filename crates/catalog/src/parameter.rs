//! Named values that accounts keep, and the rules they keep whoever asks.

use std::{collections::BTreeMap, fmt};

use crate::{CatalogError as E, Pattern, Result, tag::check_tags};

/// Versions of a parameter that are kept; older ones go.
pub(crate) const MAX_VERSIONS: u64 = 80;
/// Labels of one version.
pub(crate) const MAX_LABELS: usize = 10;
/// Parameters of one account.
pub(crate) const MAX_PARAMETERS: u64 = 10_000;
/// Bytes of a value.
const MAX_VALUE_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 384;
const MAX_LEVELS: usize = 15;
const MAX_PATTERN: usize = 1024;
/// What a compiled pattern may take.
const PATTERN_MEMORY: usize = 256 << 10;

/// Names under these are for everybody to read and for the operator to change.
const PUBLIC: [&str; 2] = ["/aws/service/", "/vmint/service/"];

/// A name, such as `base-image` or `/team/base-image`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParameterName(String);

impl ParameterName {
    /// Up to 384 letters, digits and `.-_`, in up to 15 levels that each begin
    /// with a slash; not one that begins with `aws` or `ssm`, but for those
    /// that everybody may read.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &'static str| {
            let name = text.chars().take(400).collect();
            Err(E::ParameterNameInvalid { name, why })
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/');
        if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(allowed) {
            return refuse("must be 1 to 384 letters, digits and ._-/");
        }
        let path = text.strip_prefix('/');
        if path.is_none() && text.contains('/') {
            return refuse("must be fully qualified: begin it with a slash");
        }
        let levels = path.unwrap_or(text).split('/').collect::<Vec<_>>();
        if levels.len() > MAX_LEVELS {
            return refuse("has more than 15 levels");
        }
        if levels.iter().any(|level| level.is_empty()) {
            return refuse("has an empty level");
        }
        let name = Self(text.to_owned());
        let first = levels.first().map(|level| level.to_ascii_lowercase()).unwrap_or_default();
        let reserved = ["aws", "ssm", "vmint"].iter().any(|word| first.starts_with(word));
        if reserved && !name.is_public() {
            return refuse("begins with a reserved word: not aws, ssm or vmint");
        }
        Ok(name)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Everybody may read it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        PUBLIC.iter().any(|start| self.0.starts_with(start))
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A level of the hierarchy, without a slash behind it; empty for its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterPath(String);

impl ParameterPath {
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_NAME_BYTES || !text.starts_with('/') {
            return Err(E::field("path", "must begin with a slash"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// Every name below it begins with this.
    #[must_use]
    pub fn start(&self) -> String {
        format!("{}/", self.0)
    }

    /// Everybody may read what is below it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        PUBLIC.iter().any(|start| self.start().starts_with(start))
    }

    /// Whether `name` is below it, and right below it unless `recursive`.
    #[must_use]
    pub fn holds(&self, name: &str, recursive: bool) -> bool {
        name.strip_prefix(&self.start()).is_some_and(|rest| recursive || !rest.contains('/'))
    }
}

/// Which version of a parameter is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Current,
    Version(u64),
    Label(String),
}

/// `NAME`, `NAME:VERSION` or `NAME:LABEL`.
pub(crate) fn parse_reference(text: &str) -> Result<(ParameterName, Selector)> {
    let (name, selector) = match text.rsplit_once(':') {
        None => (text, Selector::Current),
        Some((name, selector)) => match selector.parse() {
            Ok(version) => (name, Selector::Version(version)),
            Err(_) => (name, Selector::Label(selector.to_owned())),
        },
    };
    Ok((ParameterName::parse(name)?, selector))
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    String,
    StringList,
}

impl ParameterKind {
    /// As SSM writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
        }
    }
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    Text,
    /// The id of an image that the account can see when it puts it.
    Image,
}

impl DataType {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "text" => Ok(Self::Text),
            "aws:ec2:image" => Ok(Self::Image),
            _ => Err(E::field("parameter.data_type", "must be `text` or `aws:ec2:image`")),
        }
    }

    /// As SSM writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "aws:ec2:image",
        }
    }
}

/// One version of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: ParameterName,
    pub kind: ParameterKind,
    pub data_type: DataType,
    pub value: String,
    pub description: String,
    pub allowed_pattern: String,
    pub version: u64,
    pub modified_ms: u64,
    pub modified_by: String,
    pub labels: Vec<String>,
    /// Of all versions.
    pub tags: BTreeMap<String, String>,
}

impl Parameter {
    /// That its value, description, tags and pattern keep the rules.
    pub(crate) fn check(&self) -> Result<()> {
        if self.value.is_empty() || self.value.len() > MAX_VALUE_BYTES {
            return Err(E::field("parameter.value", "must be 1 to 4096 bytes long"));
        }
        if self.description.chars().count() > 1024 {
            return Err(E::field("parameter.description", "must be at most 1024 characters"));
        }
        if self.data_type == DataType::Image {
            let image = self.value.parse::<vmint_ids::ImageId>().is_ok();
            if self.kind != ParameterKind::String || !image {
                let why = "must be one `ami-` and 17 hexadecimal digits for this data type";
                return Err(E::field("parameter.value", why));
            }
        }
        check_tags(&self.tags)?;
        check_pattern(&self.allowed_pattern, self.kind, &self.value)
    }
}

/// That `value`, or each of its parts, matches `pattern`.
fn check_pattern(pattern: &str, kind: ParameterKind, value: &str) -> Result<()> {
    if pattern.is_empty() {
        return Ok(());
    }
    let invalid = || E::ParameterPatternInvalid { pattern: pattern.chars().take(200).collect() };
    if pattern.len() > MAX_PATTERN {
        return Err(invalid());
    }
    // The engine's time is linear in the value's length.
    let whole = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN_MEMORY)
        .dfa_size_limit(PATTERN_MEMORY)
        .build()
        .map_err(|_| invalid())?;
    let fits = match kind {
        ParameterKind::String => whole.is_match(value),
        ParameterKind::StringList => value.split(',').all(|part| whole.is_match(part)),
    };
    if fits { Ok(()) } else { Err(E::ParameterPatternMismatch { pattern: pattern.to_owned() }) }
}

/// Whether a version may have this label: up to 100 letters, digits and `.-_`;
/// no digit first, and not `aws` or `ssm`.
#[must_use]
pub(crate) fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = text.bytes().next();
    let lower = text.to_ascii_lowercase();
    (1..=100).contains(&text.len())
        && text.bytes().all(allowed)
        && first.is_some_and(|b| !b.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}

/// One condition of a listing: any of the values fits.
#[derive(Debug, Clone)]
pub struct ParameterFilter {
    field: Field,
    values: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    DataType,
    Label,
    Name,
    Type,
}

const FIELDS: [(&str, Field); 4] = [
    ("data-type", Field::DataType),
    ("label", Field::Label),
    ("name", Field::Name),
    ("type", Field::Type),
];

impl ParameterFilter {
    pub fn parse(name: &str, values: &[String]) -> Result<Self> {
        let shown: String = name.chars().take(140).collect();
        let refuse = |why: &str| E::Filter { filter: shown.clone(), why: why.to_owned() };
        let field = FIELDS.iter().find(|(known, _)| *known == name);
        let (_, field) =
            field.ok_or_else(|| refuse("is not known; use one of data-type, label, name, type"))?;
        let long = values.iter().any(|value| value.len() > 1024);
        if values.is_empty() || values.len() > 50 || long {
            return Err(refuse("must have 1 to 50 values of at most 1024 bytes"));
        }
        Ok(Self { field: *field, values: values.iter().map(|v| Pattern::new(v)).collect() })
    }

    /// Whether `parameter` passes.
    #[must_use]
    pub fn passes(&self, parameter: &Parameter) -> bool {
        let any = |text: &str| self.values.iter().any(|value| value.matches(text));
        match self.field {
            Field::DataType => any(parameter.data_type.as_str()),
            Field::Label => parameter.labels.iter().any(|label| any(label)),
            Field::Name => any(parameter.name.as_str()),
            Field::Type => any(parameter.kind.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        for good in ["a", "/a", "/team/web.base-image_1", "/aws/service/x", "/vmint/service/a/b"] {
            assert!(ParameterName::parse(good).is_ok(), "{good}");
        }
        let (deep, long) = ("/a".repeat(16), "a".repeat(385));
        for bad in ["", "/", "a/b", "/a//b", "/a/", "aws", "ssm-x", "/AWS/x", "/vmint/x", "a b"] {
            assert!(ParameterName::parse(bad).is_err(), "{bad}");
        }
        assert!(ParameterName::parse(&deep).is_err() && ParameterName::parse(&long).is_err());
    }

    #[test]
    fn a_reference_may_name_a_version_or_a_label() {
        let read = |text| parse_reference(text).unwrap().1;
        assert_eq!(read("/a/b"), Selector::Current);
        assert_eq!(read("/a/b:7"), Selector::Version(7));
        assert_eq!(read("/a/b:prod"), Selector::Label("prod".into()));
        assert!(parse_reference("/a/b:c:7").is_err());
    }

    #[test]
    fn a_path_holds_what_is_below_it() {
        let path = ParameterPath::parse("/a/").unwrap();
        assert!(path.holds("/a/b", false) && !path.holds("/a/b/c", false));
        assert!(path.holds("/a/b/c", true) && !path.holds("/ab", true) && !path.holds("/a", true));
        assert!(ParameterPath::parse("/").unwrap().holds("/a", false));
        assert!(ParameterPath::parse("/aws/service").unwrap().is_public());
        assert!(ParameterPath::parse("a").is_err());
    }

    #[test]
    fn patterns_bind_every_part_and_none_is_too_large() {
        let check = check_pattern;
        assert!(check(r"\d+", ParameterKind::String, "12").is_ok());
        assert!(check(r"\d+", ParameterKind::String, "12a").is_err());
        assert!(check("a|b", ParameterKind::StringList, "a,b").is_ok());
        assert!(check("a|b", ParameterKind::StringList, "a,c").is_err());
        for bad in ["(", "((((a{100}){100}){100}){100})"] {
            let error = check(bad, ParameterKind::String, "a").unwrap_err();
            assert!(matches!(error, E::ParameterPatternInvalid { .. }), "{bad}");
        }
    }

    #[test]
    fn labels_keep_their_rules() {
        assert!(is_label("prod") && is_label("v1.2-x_y"));
        for bad in ["", "1a", "aws-x", "SSM", "a b", &"a".repeat(101)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
