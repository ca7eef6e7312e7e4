//! Instance-store bundles: disks on their way into one, and where one lies.

use std::{collections::BTreeSet, fmt, str::FromStr};

use vmint_ids::{AccountId, BundleTaskId, KmsKeyId, ProductCode, SnapshotId, VolumeId};
use vmint_images::instance_bundle::{MAX_PREFIX_BYTES, Manifest, Mapping, SUFFIX, part_name};

use crate::{
    Content,
    object::{BucketName, ObjectKey},
};

/// Bundle tasks of one account that are under way at a time.
pub(crate) const MAX_BUNDLES: usize = 20;

/// Where a bundle lies: a bucket, and what its objects' names begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) bucket: BucketName,
    /// Empty, or ends in a slash.
    folder: String,
    name: String,
}

/// Why a text is not where a bundle lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadLocation(&'static str);

impl Location {
    /// Of a bundle with this prefix.
    pub(crate) fn new(bucket: BucketName, prefix: &str) -> Result<Self, BadLocation> {
        let at = prefix.rfind('/').map_or(0, |slash| slash + 1);
        let (folder, name) = prefix.split_at(at);
        let named = !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let folders = folder.bytes().all(|b| b.is_ascii_graphic());
        if !named || !folders || prefix.len() > MAX_PREFIX_BYTES {
            let why = "a prefix is folders with slashes, if any, and a name of A-Za-z0-9._-, \
                       200 bytes at most";
            return Err(BadLocation(why));
        }
        Ok(Self { bucket, folder: folder.to_owned(), name: name.to_owned() })
    }

    pub(crate) fn prefix(&self) -> String {
        format!("{}{}", self.folder, self.name)
    }

    /// What the names of parts begin with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn manifest_key(&self) -> ObjectKey {
        ObjectKey::of_bundle(format!("{}{}{SUFFIX}", self.folder, self.name))
    }

    /// The object of part `index` of a bundle called `name` in the manifest.
    pub(crate) fn part_key(&self, name: &str, index: usize) -> ObjectKey {
        ObjectKey::of_bundle(format!("{}{}", self.folder, part_name(name, index)))
    }

    /// What the objects of all parts begin with.
    pub(crate) fn parts_begin(&self) -> String {
        format!("{}.part.", self.prefix())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}{SUFFIX}", self.bucket, self.folder, self.name)
    }
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let parts = text.strip_suffix(SUFFIX).and_then(|text| text.split_once('/'));
        let (bucket, prefix) = parts.ok_or(BadLocation("use BUCKET/PREFIX.manifest.xml"))?;
        Self::new(bucket.parse().map_err(BadLocation)?, prefix)
    }
}

/// What a bundle is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Snapshot(SnapshotId),
    Volume(VolumeId),
}

/// What a bundle says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) architecture: String,
    pub(crate) platform: String,
    pub(crate) mappings: Vec<Mapping>,
}

/// The disk as it is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Kept while the task is under way, whatever becomes of the snapshot.
    pub(crate) content: Content,
    pub(crate) product_codes: BTreeSet<ProductCode>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BundleState {
    Pending,
    Bundling,
    Storing,
    Cancelling,
    Complete,
    Failed,
}

impl BundleState {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// A bundle on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleTask {
    pub(crate) id: BundleTaskId,
    pub(crate) account: AccountId,
    pub(crate) origin: Origin,
    /// Made of a volume, until the disk is held.
    pub(crate) between: Option<SnapshotId>,
    pub(crate) held: Option<Held>,
    pub(crate) machine: Machine,
    pub(crate) location: Location,
    /// What its data key lies under.
    pub(crate) key: KmsKeyId,
    pub(crate) state: BundleState,
    /// Why it failed.
    pub(crate) message: String,
    /// Of a failed one, a `StorageErrorReason` without its prefix.
    pub(crate) reason: String,
    /// Of a complete one, what its parts have together.
    pub(crate) bundled_bytes: u64,
    pub(crate) parts: u64,
    pub(crate) created_ms: u64,
    /// 0 until it has ended.
    pub(crate) ended_ms: u64,
}

impl BundleTask {
    /// What it reads while it is under way.
    pub(crate) fn content(&self) -> Option<Content> {
        self.held.as_ref().filter(|_| !self.state.is_over()).map(|held| held.content)
    }

    /// The manifest as far as it is known before there are parts.
    pub(crate) fn head(&self, wrapped_key: Vec<u8>) -> Manifest {
        let content = self.held.as_ref().map(|held| held.content);
        let codes = self.held.iter().flat_map(|held| &held.product_codes);
        Manifest {
            id: self.id.to_string(),
            account: self.account.to_string(),
            name: self.location.name.clone(),
            architecture: self.machine.architecture.clone(),
            platform: self.machine.platform.clone(),
            mappings: self.machine.mappings.clone(),
            product_codes: codes.map(ToString::to_string).collect(),
            encrypted: content.is_some_and(|content| content.lineage.is_some()),
            size_bytes: content.map_or(0, |content| content.size_bytes),
            key_id: self.key.to_string(),
            wrapped_key,
            ..Manifest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_read_back_and_name_their_objects() {
        let location: Location = "disks/images/2026/web.manifest.xml".parse().unwrap();
        assert_eq!(location.to_string(), "disks/images/2026/web.manifest.xml");
        assert_eq!(location.prefix(), "images/2026/web");
        assert_eq!(location.manifest_key().to_string(), "images/2026/web.manifest.xml");
        assert_eq!(location.part_key("web", 7).to_string(), "images/2026/web.part.07");
        assert_eq!(location.part_key("web", 123).to_string(), "images/2026/web.part.123");
        for bad in [
            "disks/web",
            "disks/.manifest.xml",
            "disks/a/.manifest.xml",
            "web.manifest.xml",
            "A/web.manifest.xml",
            "disks/w b.manifest.xml",
            "disks/a b/web.manifest.xml",
            "disks/w&b.manifest.xml",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
        let long = "x".repeat(MAX_PREFIX_BYTES + 1);
        assert!(format!("disks/{long}.manifest.xml").parse::<Location>().is_err());
    }
}
