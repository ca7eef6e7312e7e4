//! The bodies of EBS direct, under the names of its model.

use serde::{Deserialize, Serialize};

use super::{BLOCK_BYTES, EbsError, Route};
use crate::Reply;

/// A tag, under the names of its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockTag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// What `POST /snapshots` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartSnapshot {
    /// In GiB, 1 to 65,536.
    pub volume_size: i64,
    pub parent_snapshot_id: Option<String>,
    #[serde(default)]
    pub tags: Vec<BlockTag>,
    #[serde(default)]
    pub description: String,
    pub client_token: Option<String>,
    pub encrypted: Option<bool>,
    pub kms_key_arn: Option<String>,
    /// In minutes without a block before it is given up, 10 to 4,320.
    pub timeout: Option<i64>,
}

impl StartSnapshot {
    /// Reads and bounds a body of at most 64 KiB.
    pub fn read(body: &[u8]) -> Result<Self, EbsError> {
        let bad = |text: String| EbsError::validation("INVALID_PARAMETER_VALUE", text);
        if body.len() > 65_536 {
            return Err(bad("The request is longer than 64 KiB.".to_owned()));
        }
        let read: Self = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
        if !(1..=65_536).contains(&read.volume_size) {
            let text = "VolumeSize must be between 1 and 65536 GiB.";
            return Err(EbsError::validation("INVALID_VOLUME_SIZE", text));
        }
        if read.timeout.is_some_and(|minutes| !(10..=4_320).contains(&minutes)) {
            return Err(bad("Timeout must be between 10 and 4320 minutes.".to_owned()));
        }
        Ok(read)
    }
}

/// The answer to it, with status 201.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartedSnapshot {
    pub snapshot_id: String,
    pub owner_id: String,
    /// `pending`, `completed` or `error`.
    pub status: String,
    /// Seconds since 1970.
    pub start_time: f64,
    pub volume_size: i64,
    pub block_size: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<BlockTag>,
}

/// The answer to a completion, with status 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Completed {
    /// `pending`, `completed` or `error`.
    pub status: String,
}

/// One block of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Block {
    pub block_index: u32,
    pub block_token: String,
}

/// One page of a snapshot's blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapshotBlocks {
    pub blocks: Vec<Block>,
    /// Until when the tokens serve, in seconds since 1970.
    pub expiry_time: f64,
    pub volume_size: i64,
    pub block_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One block that differs between two snapshots; a token is missing where the
/// snapshot has no such block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangedBlock {
    pub block_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_block_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_block_token: Option<String>,
}

/// One page of what differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangedBlocks {
    pub changed_blocks: Vec<ChangedBlock>,
    pub expiry_time: f64,
    pub volume_size: i64,
    pub block_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Route {
    /// The status of its answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::StartSnapshot | Self::PutSnapshotBlock { .. } => 201,
            Self::CompleteSnapshot { .. } => 202,
            Self::ListSnapshotBlocks { .. }
            | Self::GetSnapshotBlock { .. }
            | Self::ListChangedBlocks { .. } => 200,
        }
    }

    /// The JSON answer to it.
    #[must_use]
    pub fn reply(&self, request_id: &str, answer: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(answer).unwrap_or_default();
        Reply::new(self.status(), "application/json", body).with("x-amzn-requestid", request_id)
    }
}

impl Reply {
    /// A block's bytes; `checksum` is their SHA-256 in base64.
    #[must_use]
    pub fn ebs_block(request_id: &str, checksum: String, block: Vec<u8>) -> Self {
        Self::new(200, "application/octet-stream", block)
            .with("x-amzn-requestid", request_id)
            .with("x-amz-data-length", BLOCK_BYTES.to_string())
            .with("x-amz-checksum", checksum)
            .with("x-amz-checksum-algorithm", "SHA256")
    }

    /// The answer to a block that is stored; `checksum` as it was sent.
    #[must_use]
    pub fn ebs_stored(request_id: &str, checksum: String) -> Self {
        Self::new(201, "application/json", "{}")
            .with("x-amzn-requestid", request_id)
            .with("x-amz-checksum", checksum)
            .with("x-amz-checksum-algorithm", "SHA256")
    }
}
