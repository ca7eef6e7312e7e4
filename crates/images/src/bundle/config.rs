//! What a bundle says of its image and disks.

use serde::{Deserialize, Serialize};

use super::MAX_DISKS;

/// The version of the config's text.
const VERSION: u32 = 1;
/// The longest text in it, bytes.
const LONGEST: usize = 4096;
/// The most mappings of an image.
const MAX_MAPPINGS: usize = 128;

/// A bundle's config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    version: u32,
    /// The image's registration; a bundle of a mere disk has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Registration>,
    /// In the order of the manifest's maps.
    pub disks: Vec<DiskNote>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskNote {
    /// The disk's size: a multiple of 512, at least 512.
    pub size_bytes: u64,
    /// The Merkle root of its bytes, 64 hexadecimal digits.
    pub root: String,
}

/// What an image is registered as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// "x86_64", "i386" or "arm64".
    pub architecture: String,
    /// "legacy-bios" or "uefi".
    pub boot_mode: String,
    /// "windows", or empty.
    #[serde(default)]
    pub platform: String,
    pub root_device_name: String,
    #[serde(default)]
    pub ena_support: bool,
    #[serde(default)]
    pub imds_v2_required: bool,
    pub mappings: Vec<Mapping>,
}

/// One device of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mapping {
    pub device_name: String,
    /// Which disk it begins as; without one it begins empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<usize>,
    /// 0: as large as the disk.
    #[serde(default)]
    pub size_gib: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// EC2's word, such as "io2"; empty for the default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume_type: String,
    /// 0: the type's default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub iops: i32,
    /// In MiB a second; 0: the type's default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub throughput_mibps: i32,
    /// The disk was encrypted at rest: whoever loads it keeps it so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
    /// The key it lay under; of use only where the same key is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kms_key_id: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl DiskNote {
    /// A disk of this size and root.
    #[must_use]
    pub fn new(size_bytes: u64, root: [u8; 32]) -> Self {
        Self { size_bytes, root: crate::write::hex(&root) }
    }

    /// The root, if it is one.
    #[must_use]
    pub fn root(&self) -> Option<[u8; 32]> {
        unhex(&self.root)
    }
}

impl Note {
    /// What is said of these disks and perhaps of their image.
    #[must_use]
    pub fn new(image: Option<Registration>, disks: Vec<DiskNote>) -> Self {
        Self { version: VERSION, image, disks }
    }

    /// Holds it to its rules; whose business the texts are checks what they say.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.version != VERSION {
            return Err("the config has a version that is not known");
        }
        if self.disks.is_empty() || self.disks.len() > MAX_DISKS {
            return Err("the config names no disk, or too many");
        }
        let odd = |disk: &DiskNote| {
            disk.size_bytes == 0 || !disk.size_bytes.is_multiple_of(512) || disk.root().is_none()
        };
        if self.disks.iter().any(odd) {
            return Err("a disk has no size or no root");
        }
        let Some(image) = &self.image else { return Ok(()) };
        let texts = [
            &image.name,
            &image.description,
            &image.architecture,
            &image.boot_mode,
            &image.platform,
            &image.root_device_name,
        ];
        let devices =
            image.mappings.iter().flat_map(|m| [&m.device_name, &m.volume_type, &m.kms_key_id]);
        if texts.into_iter().chain(devices).any(|text| text.len() > LONGEST) {
            return Err("a text of the config is longer than 4096 bytes");
        }
        if image.mappings.len() > MAX_MAPPINGS {
            return Err("the image has too many devices");
        }
        let mut used: Vec<usize> = image.mappings.iter().filter_map(|m| m.disk).collect();
        used.sort_unstable();
        if used != (0..self.disks.len()).collect::<Vec<_>>() {
            return Err("the image does not use each disk once");
        }
        let mut names: Vec<&str> = image.mappings.iter().map(|m| m.device_name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let root = image.mappings.iter().find(|m| m.device_name == image.root_device_name);
        if names.len() != image.mappings.len() || root.is_none_or(|root| root.disk.is_none()) {
            return Err("two devices have one name, or the root device is no disk");
        }
        Ok(())
    }
}

/// 64 lower-case hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}
