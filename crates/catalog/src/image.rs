//! What an image is, and the rules it keeps whoever asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use vmint_ids::{AccountId, ImageId, InstanceId, ProductCode};

use crate::{CatalogError, Disk, Result, disk::check_disks, tag::check_tags};

/// An image has this many product codes at most.
pub const MAX_PRODUCT_CODES: usize = 20;

/// A name as an account may give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// 3 to 128 letters, digits, spaces and `()[]./-'@_`.
    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c);
        if (3..=128).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CatalogError::NameInvalid { name: text.chars().take(160).collect() })
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The processor an image boots on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    I386,
    Arm64,
}

/// The firmware an image boots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMode {
    LegacyBios,
    Uefi,
}

/// Where an image stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Available,
    Failed,
    Deregistered,
}

impl Architecture {
    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::Arm64 => "arm64",
        }
    }
}

impl BootMode {
    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
        }
    }
}

impl State {
    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
            Self::Deregistered => "deregistered",
        }
    }

    /// Whether it will never be launched again; its name is free then.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Deregistered)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A machine image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    pub name: Name,
    /// At most 255 characters.
    pub description: String,
    pub owner: AccountId,
    pub state: State,
    /// Why it failed.
    pub state_reason: String,
    /// EC2's word for it, or empty.
    pub state_reason_code: String,
    /// 0 to 100.
    pub progress: u8,
    pub architecture: Architecture,
    pub boot_mode: BootMode,
    /// Names one of the disks.
    pub root_device: String,
    pub disks: Vec<Disk>,
    pub windows: bool,
    /// Follow the data, so they are only ever added.
    pub product_codes: BTreeSet<ProductCode>,
    pub source_image: Option<ImageId>,
    pub source_instance: Option<InstanceId>,
    pub tags: BTreeMap<String, String>,
    /// Drives fast networking by itself.
    pub ena_support: bool,
    /// Machines of it must use tokens at the metadata service; stays once set.
    pub imds_v2_required: bool,
    /// Milliseconds since 1970, as is the next.
    pub created_ms: u64,
    pub deregistered_ms: Option<u64>,
    /// Grows with every change, from 1.
    pub version: u64,
}

impl Image {
    /// That everything an account may say of an image keeps the rules.
    pub fn check(&self) -> Result<()> {
        check_description(&self.description)?;
        check_disks(&self.disks, &self.root_device)?;
        check_codes(&self.product_codes)?;
        check_tags(&self.tags)
    }

    /// What a caller sends back to change only what it has read.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("v{}", self.version)
    }

    pub(crate) fn not_available(&self) -> CatalogError {
        CatalogError::NotAvailable { image: self.id.to_string(), state: self.state }
    }

    /// Adds codes; says whether any was new.
    pub(crate) fn add_codes(&mut self, codes: BTreeSet<ProductCode>) -> Result<bool> {
        let before = self.product_codes.len();
        self.product_codes.extend(codes);
        check_codes(&self.product_codes)?;
        Ok(self.product_codes.len() != before)
    }
}

pub(crate) fn check_description(text: &str) -> Result<()> {
    if text.chars().count() > 255 {
        return Err(CatalogError::field("description", "may have 255 characters at most"));
    }
    Ok(())
}

fn check_codes(codes: &BTreeSet<ProductCode>) -> Result<()> {
    if codes.len() > MAX_PRODUCT_CODES {
        return Err(CatalogError::field("product_codes", "may have 20 entries at most"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        for good in ["abc", "Debian 12 (x86_64) [v1.2]/a-b'c@d_e", &"x".repeat(128)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", &"x".repeat(129), "a\0b", "a\nbc", "näme", "a*bc", "a+b c"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }
}
