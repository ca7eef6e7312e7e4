//! Records as they lie on disk. Fields are only ever added.

use std::collections::{BTreeMap, BTreeSet};

use vmint_ids::AccountId;
use vmint_performance::VolumeType;

use super::images::Hint;
use crate::{Architecture, BootMode, CatalogError, Disk, Image, Name, Performance, Result, State};

/// What an event says: an image that was touched.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TouchedRecord {
    #[prost(string, tag = "1")]
    pub(super) image: String,
    /// Only this account's tags on it were; empty: the image itself.
    #[prost(string, tag = "2")]
    pub(super) viewer: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PinRecord {
    #[prost(uint64, tag = "1")]
    pub(super) expires_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HintRecord {
    #[prost(bool, tag = "1")]
    pub(super) public: bool,
    #[prost(fixed64, repeated, tag = "2")]
    pub(super) accounts: Vec<u64>,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DiskRecord {
    #[prost(string, tag = "1")]
    pub(super) device: String,
    #[prost(string, optional, tag = "2")]
    pub(super) snapshot: Option<String>,
    #[prost(uint32, optional, tag = "3")]
    pub(super) size_gib: Option<u32>,
    #[prost(bool, tag = "4")]
    pub(super) delete_on_termination: bool,
    #[prost(bool, tag = "5")]
    pub(super) encrypted: bool,
    /// Empty: gp3.
    #[prost(string, tag = "6")]
    pub(super) volume_type: String,
    #[prost(uint32, tag = "7")]
    pub(super) iops: u32,
    #[prost(uint32, tag = "8")]
    pub(super) throughput: u32,
}

/// An account's tags on another's image.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ViewerTagsRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(string, tag = "4")]
    pub(super) owner: String,
    /// 1 pending, 2 available, 3 failed, 4 deregistered.
    #[prost(uint32, tag = "5")]
    pub(super) state: u32,
    #[prost(string, tag = "6")]
    pub(super) state_reason: String,
    #[prost(uint32, tag = "7")]
    pub(super) progress: u32,
    /// 1 x86_64, 2 i386, 3 arm64.
    #[prost(uint32, tag = "8")]
    pub(super) architecture: u32,
    /// 1 legacy-bios, 2 uefi.
    #[prost(uint32, tag = "9")]
    pub(super) boot_mode: u32,
    #[prost(string, tag = "10")]
    pub(super) root_device: String,
    #[prost(message, repeated, tag = "11")]
    pub(super) disks: Vec<DiskRecord>,
    #[prost(bool, tag = "12")]
    pub(super) windows: bool,
    #[prost(string, repeated, tag = "13")]
    pub(super) product_codes: Vec<String>,
    #[prost(string, optional, tag = "14")]
    pub(super) source_image: Option<String>,
    #[prost(string, optional, tag = "15")]
    pub(super) source_instance: Option<String>,
    #[prost(btree_map = "string, string", tag = "16")]
    pub(super) tags: BTreeMap<String, String>,
    #[prost(uint64, tag = "17")]
    pub(super) created_ms: u64,
    #[prost(uint64, optional, tag = "18")]
    pub(super) deregistered_ms: Option<u64>,
    #[prost(uint64, tag = "19")]
    pub(super) version: u64,
    /// The saga that made it.
    #[prost(string, tag = "20")]
    pub(super) made_by: String,
    #[prost(bool, tag = "21")]
    pub(super) ena_support: bool,
    #[prost(bool, tag = "22")]
    pub(super) imds_v2_required: bool,
    #[prost(string, tag = "23")]
    pub(super) state_reason_code: String,
}

impl ImageRecord {
    pub(super) fn is_ended(&self) -> bool {
        self.state >= 3
    }

    pub(super) fn new(it: &Image, made_by: String) -> Self {
        Self {
            id: it.id.to_string(),
            name: it.name.as_str().to_owned(),
            description: it.description.clone(),
            owner: it.owner.to_string(),
            state: match it.state {
                State::Pending => 1,
                State::Available => 2,
                State::Failed => 3,
                State::Deregistered => 4,
            },
            state_reason: it.state_reason.clone(),
            state_reason_code: it.state_reason_code.clone(),
            progress: it.progress.into(),
            architecture: match it.architecture {
                Architecture::X86_64 => 1,
                Architecture::I386 => 2,
                Architecture::Arm64 => 3,
            },
            boot_mode: match it.boot_mode {
                BootMode::LegacyBios => 1,
                BootMode::Uefi => 2,
            },
            root_device: it.root_device.clone(),
            disks: it.disks.iter().map(Into::into).collect(),
            windows: it.windows,
            product_codes: it.product_codes.iter().map(ToString::to_string).collect(),
            source_image: it.source_image.map(|id| id.to_string()),
            source_instance: it.source_instance.map(|id| id.to_string()),
            tags: it.tags.clone(),
            created_ms: it.created_ms,
            deregistered_ms: it.deregistered_ms,
            version: it.version,
            made_by,
            ena_support: it.ena_support,
            imds_v2_required: it.imds_v2_required,
        }
    }
}

impl TryFrom<ImageRecord> for Image {
    type Error = CatalogError;

    fn try_from(it: ImageRecord) -> Result<Self> {
        let codes = it.product_codes.iter().map(|code| parse(code, "product code"));
        Ok(Self {
            id: parse(&it.id, "id")?,
            name: Name::parse(&it.name).map_err(|_| damaged("name"))?,
            description: it.description,
            owner: parse(&it.owner, "owner")?,
            state: match it.state {
                1 => State::Pending,
                2 => State::Available,
                3 => State::Failed,
                4 => State::Deregistered,
                _ => return Err(damaged("state")),
            },
            state_reason: it.state_reason,
            state_reason_code: it.state_reason_code,
            progress: u8::try_from(it.progress).map_err(|_| damaged("progress"))?,
            architecture: match it.architecture {
                1 => Architecture::X86_64,
                2 => Architecture::I386,
                3 => Architecture::Arm64,
                _ => return Err(damaged("architecture")),
            },
            boot_mode: match it.boot_mode {
                1 => BootMode::LegacyBios,
                2 => BootMode::Uefi,
                _ => return Err(damaged("boot mode")),
            },
            root_device: it.root_device,
            disks: it.disks.into_iter().map(TryInto::try_into).collect::<Result<_>>()?,
            windows: it.windows,
            product_codes: codes.collect::<Result<_>>()?,
            source_image: it.source_image.map(|id| parse(&id, "source")).transpose()?,
            source_instance: it.source_instance.map(|id| parse(&id, "source")).transpose()?,
            tags: it.tags,
            ena_support: it.ena_support,
            imds_v2_required: it.imds_v2_required,
            created_ms: it.created_ms,
            deregistered_ms: it.deregistered_ms,
            version: it.version,
        })
    }
}

impl From<&Disk> for DiskRecord {
    fn from(it: &Disk) -> Self {
        Self {
            device: it.device.clone(),
            snapshot: it.snapshot.map(|id| id.to_string()),
            size_gib: it.size_gib,
            delete_on_termination: it.delete_on_termination,
            encrypted: it.encrypted,
            volume_type: it.performance.kind.as_str().to_owned(),
            iops: it.performance.iops,
            throughput: it.performance.throughput,
        }
    }
}

impl TryFrom<DiskRecord> for Disk {
    type Error = CatalogError;

    fn try_from(it: DiskRecord) -> Result<Self> {
        Ok(Self {
            device: it.device,
            snapshot: it.snapshot.map(|id| parse(&id, "snapshot")).transpose()?,
            size_gib: it.size_gib,
            delete_on_termination: it.delete_on_termination,
            encrypted: it.encrypted,
            performance: Performance {
                kind: VolumeType::parse(&it.volume_type).map_err(|_| damaged("volume type"))?,
                iops: it.iops,
                throughput: it.throughput,
            },
        })
    }
}

impl From<&Hint> for HintRecord {
    fn from(it: &Hint) -> Self {
        // Twelve digits always fit.
        let number = |a: &AccountId| a.to_string().parse().unwrap_or_default();
        let accounts = it.accounts.iter().map(number).collect();
        Self { public: it.public, accounts, revision: it.revision }
    }
}

impl TryFrom<HintRecord> for Hint {
    type Error = CatalogError;

    fn try_from(it: HintRecord) -> Result<Self> {
        let accounts = it.accounts.iter().map(|n| parse(&format!("{n:012}"), "account"));
        let accounts = accounts.collect::<Result<BTreeSet<_>>>()?;
        Ok(Self { public: it.public, accounts, revision: it.revision })
    }
}

pub(super) fn parse<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T> {
    text.parse().map_err(|_| damaged(what))
}

fn damaged(what: &'static str) -> CatalogError {
    CatalogError::Damaged { what }
}
