//! What a manifest says, held to its rules.

use std::collections::BTreeSet;

use super::{BundleError, MAX_DISK_BYTES, MAX_PARTS, PART_BYTES, TAG_BYTES};

/// The most devices and the most product codes of a machine.
const MAX_LIST: usize = 64;
/// Instance-store disks of one machine, `ephemeral0` and so on.
const MAX_EPHEMERAL: u8 = 24;

/// What a bundle's manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What the bundle is called: 1 to 64 of `a-z0-9-`.
    pub id: String,
    /// Whose it is: 12 digits.
    pub account: String,
    /// What the parts' names begin with: 1 to 200 of `A-Za-z0-9._-`, no dot first.
    pub name: String,
    /// "x86_64", "i386" or "arm64".
    pub architecture: String,
    /// "windows", or empty.
    pub platform: String,
    /// Which device is what; `ami` and `root` are among them.
    pub mappings: Vec<Mapping>,
    /// What the disk's data are sold under: 1 to 25 of `a-z0-9` each.
    pub product_codes: Vec<String>,
    /// The disk was encrypted at rest where it came from.
    pub encrypted: bool,
    /// The disk's size: a multiple of 512, at most 64 GiB.
    pub size_bytes: u64,
    /// SHA-256 of the disk.
    pub digest: [u8; 32],
    /// What the data key is wrapped with: 1 to 64 of `a-z0-9-`.
    pub key_id: String,
    /// The data key, wrapped: 1 to 256 bytes.
    pub wrapped_key: Vec<u8>,
    /// Every part in its order.
    pub parts: Vec<Part>,
}

/// One device of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// `ami`, `root`, `swap` or `ephemeral0` to `ephemeral23`.
    pub virtual_name: String,
    /// 1 to 32 of `A-Za-z0-9/`.
    pub device_name: String,
}

/// One part as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// At most 10 MiB and a tag.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub digest: [u8; 32],
}

impl Manifest {
    /// What all parts have together, bytes.
    #[must_use]
    pub fn bundled_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Holds everything but the parts to its rules: what can be told before there are any.
    ///
    /// Errors: [`BundleError::Manifest`].
    pub fn check_head(&self) -> Result<(), BundleError> {
        let odd = |what| Err(BundleError::Manifest(what));
        if !is_label(&self.id) || !is_label(&self.key_id) {
            return odd("the bundle's or the key's id is not 1 to 64 of a-z, 0-9 and -");
        }
        if self.account.len() != 12 || !self.account.bytes().all(|b| b.is_ascii_digit()) {
            return odd("an account is 12 digits");
        }
        if !is_name(&self.name) {
            return odd("a bundle's name is 1 to 200 letters, digits, dots, dashes or underscores");
        }
        if !matches!(self.architecture.as_str(), "x86_64" | "i386" | "arm64") {
            return odd("an architecture is x86_64, i386 or arm64");
        }
        if !matches!(self.platform.as_str(), "" | "windows") {
            return odd("a platform is windows, or not said");
        }
        self.check_mappings()?;
        let code = |code: &String| {
            (1..=25).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if self.product_codes.len() > MAX_LIST || !self.product_codes.iter().all(code) {
            return odd("product codes are at most 64, each 1 to 25 of a-z and 0-9");
        }
        let size = self.size_bytes;
        if size == 0 || !size.is_multiple_of(512) || size > MAX_DISK_BYTES {
            return odd("the disk is not a multiple of 512 bytes, empty or larger than 64 GiB");
        }
        if !(1..=256).contains(&self.wrapped_key.len()) {
            return odd("a wrapped key has 1 to 256 bytes");
        }
        Ok(())
    }

    fn check_mappings(&self) -> Result<(), BundleError> {
        let odd = |what| Err(BundleError::Manifest(what));
        let known = |mapping: &Mapping| is_virtual(&mapping.virtual_name);
        if self.mappings.len() > MAX_LIST || !self.mappings.iter().all(known) {
            return odd("devices are ami, root, swap or ephemeral0 to ephemeral23, at most 64");
        }
        let device = |mapping: &Mapping| {
            let name = &mapping.device_name;
            (1..=32).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/')
        };
        if !self.mappings.iter().all(device) {
            return odd("a device name is 1 to 32 letters, digits or slashes");
        }
        let virtuals: BTreeSet<&str> =
            self.mappings.iter().map(|m| m.virtual_name.as_str()).collect();
        if virtuals.len() != self.mappings.len()
            || !virtuals.contains("ami")
            || !virtuals.contains("root")
        {
            return odd("a device is named twice, or ami or root is missing");
        }
        Ok(())
    }

    /// Holds all of it to its rules.
    pub(super) fn check(&self) -> Result<(), BundleError> {
        self.check_head()?;
        let odd = |what| Err(BundleError::Manifest(what));
        let full = (PART_BYTES + TAG_BYTES) as u64;
        match self.parts.split_last() {
            Some(_) if self.parts.len() > MAX_PARTS => odd("a bundle has at most 10,000 parts"),
            Some((last, others))
                if others.iter().all(|part| part.bytes == full)
                    && (TAG_BYTES as u64 + 1..=full).contains(&last.bytes) =>
            {
                Ok(())
            }
            _ => odd("every part but the last has 10 MiB, and the last has something"),
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=super::MAX_PREFIX_BYTES).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_virtual(text: &str) -> bool {
    if matches!(text, "ami" | "root" | "swap") {
        return true;
    }
    let number = text.strip_prefix("ephemeral");
    let number = number.filter(|digits| *digits == "0" || !digits.starts_with(['0', '+']));
    number.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|n| n < MAX_EPHEMERAL)
}
