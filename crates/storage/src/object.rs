//! Files by name: buckets, objects and the parts that objects come in.

use std::{collections::BTreeMap, fmt, str::FromStr};

use vmint_ids::AccountId;

use crate::ObjectError;

/// Parts of one object.
pub(crate) const MAX_PARTS: usize = 1000;
/// Buckets of one account.
pub(crate) const MAX_BUCKETS: usize = 1000;
/// Every part but the last has this much at least.
pub(crate) const MIN_PART_BYTES: u64 = 5 << 20;
/// One part, or an object in one piece.
pub(crate) const MAX_PIECE_BYTES: u64 = 5 << 30;
/// Multipart uploads of one account that are open.
pub(crate) const MAX_MULTIPARTS: usize = 1000;
/// What is put beside an object.
const MAX_METADATA_BYTES: usize = 2048;
/// So that keys fit into the store.
const MAX_KEY_BYTES: usize = 400;

/// A bucket's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BucketName(String);

impl FromStr for BucketName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        let word = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let ends = word(text.bytes().next()) && word(text.bytes().last());
        let address = text.parse::<std::net::Ipv4Addr>().is_ok();
        let legal = (3..=63).contains(&text.len()) && text.bytes().all(allowed) && ends;
        if legal && !text.contains("..") && !address {
            Ok(Self(text.to_owned()))
        } else {
            Err("use 3 to 63 lower-case letters, digits, dots and hyphens, not an address")
        }
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's name in its bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ObjectKey(String);

impl FromStr for ObjectKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err("use 1 to 400 bytes of UTF-8")
        }
    }
}

impl ObjectKey {
    /// A name that a bundle's location has made: shorter than a key may be.
    pub(crate) fn of_bundle(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: BucketName,
    pub(crate) account: AccountId,
    pub(crate) created_ms: u64,
}

/// What a writer says of an object before its content comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) content_type: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Beside {
    /// Whether it is small enough.
    pub(crate) fn fits(&self) -> bool {
        let metadata = self.metadata.iter().map(|(name, value)| name.len() + value.len());
        self.content_type.len() <= 256 && metadata.sum::<usize>() <= MAX_METADATA_BYTES
    }
}

/// A file of the object area.
pub(crate) type FileId = [u8; 16];

/// One file that an object's content is in, in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) file: FileId,
    pub(crate) bytes: u64,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) segments: Vec<Segment>,
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) beside: Beside,
    /// As it was declared, such as `crc32`; empty if none was.
    pub(crate) checksum_algorithm: String,
    pub(crate) checksum: String,
}

impl Object {
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// What must be in an object's place for it to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Only {
    /// Whatever is.
    #[default]
    Always,
    IfAbsent,
    /// An object with this etag.
    IfMatch(String),
}

impl Only {
    /// Refuses to write `key` where `there` is what is in its place.
    pub(crate) fn hold(&self, there: Option<&Object>, key: &ObjectKey) -> Result<(), ObjectError> {
        let key = || key.to_string();
        match (self, there) {
            (Self::Always, _) | (Self::IfAbsent, None) => Ok(()),
            (Self::IfAbsent, Some(_)) => Err(ObjectError::AlreadyThere { key: key() }),
            (Self::IfMatch(_), None) => Err(ObjectError::NoSuchObject { key: key() }),
            (Self::IfMatch(etag), Some(there)) if there.etag == *etag => Ok(()),
            (Self::IfMatch(_), Some(_)) => Err(ObjectError::OtherThere { key: key() }),
        }
    }
}

/// A part that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectPart {
    pub(crate) number: u32,
    pub(crate) segment: Segment,
    pub(crate) md5: [u8; 16],
    pub(crate) modified_ms: u64,
}

/// An object that comes in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Multipart {
    pub(crate) id: String,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) account: AccountId,
    pub(crate) created_ms: u64,
    pub(crate) beside: Beside,
}

/// Which part of an object is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    /// So many bytes from the end.
    pub(crate) suffix: Option<u64>,
}

impl Wanted {
    /// Where it begins in an object of `size` bytes, and how long it is; none
    /// if it has nothing of it.
    pub(crate) fn of(self, size: u64) -> Option<(u64, u64)> {
        let (first, end) = match (self.first, self.last, self.suffix) {
            (None, None, None) => return Some((0, size)),
            (None, _, Some(suffix)) => (size.saturating_sub(suffix), size),
            (first, last, _) => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                (first.unwrap_or_default(), end)
            }
        };
        (first < end).then(|| (first, end - first))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_keep_their_rules() {
        for good in ["abc", "a-b.c", "123"] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in ["ab", "Abc", "-abc", "abc-", "a..b", "1.2.3.4", "a_b", &"a".repeat(64)] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
        assert!("".parse::<ObjectKey>().is_err() && "a\0".parse::<ObjectKey>().is_err());
        assert!("../../etc/passwd".parse::<ObjectKey>().is_ok(), "it is no path");
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let wanted = |first, last, suffix| Wanted { first, last, suffix };
        for (wanted, is) in [
            (wanted(None, None, None), Some((0, 10))),
            (wanted(Some(2), None, None), Some((2, 8))),
            (wanted(Some(2), Some(2), None), Some((2, 1))),
            (wanted(Some(2), Some(99), None), Some((2, 8))),
            (wanted(None, None, Some(3)), Some((7, 3))),
            (wanted(None, None, Some(99)), Some((0, 10))),
            (wanted(Some(10), None, None), None),
            (wanted(Some(5), Some(4), None), None),
            (wanted(None, None, Some(0)), None),
        ] {
            assert_eq!(wanted.of(10), is, "{wanted:?}");
        }
        assert_eq!(wanted(None, None, None).of(0), Some((0, 0)));
    }
}
