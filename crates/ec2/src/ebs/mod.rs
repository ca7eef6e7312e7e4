//! EBS direct: snapshots block by block, REST with JSON bodies.

mod body;
mod error;
#[cfg(test)]
mod tests;

pub use body::{
    Block, BlockTag, ChangedBlock, ChangedBlocks, Completed, SnapshotBlocks, StartSnapshot,
    StartedSnapshot,
};
pub use error::{EbsError, EbsKind};

use vmint_ids::SnapshotId;

use crate::query::decode_component;

/// The one block size there is, in bytes.
pub const BLOCK_BYTES: usize = 524_288;

/// What a request asks for, read from its method, path, query and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST /snapshots`; the body is a [`StartSnapshot`].
    StartSnapshot,
    /// `PUT /snapshots/{id}/blocks/{index}`; the body is the block.
    PutSnapshotBlock {
        snapshot: SnapshotId,
        index: u32,
        /// SHA-256 of the block.
        checksum: [u8; 32],
        /// 0 to 100.
        progress: Option<u8>,
    },
    /// `POST /snapshots/completion/{id}`.
    CompleteSnapshot {
        snapshot: SnapshotId,
        changed_blocks: u32,
        /// SHA-256 over the blocks' SHA-256s in the order of their indexes.
        checksum: Option<[u8; 32]>,
    },
    /// `GET /snapshots/{id}/blocks`.
    ListSnapshotBlocks { snapshot: SnapshotId, paging: Paging },
    /// `GET /snapshots/{id}/blocks/{index}?blockToken=…`.
    GetSnapshotBlock { snapshot: SnapshotId, index: u32, token: String },
    /// `GET /snapshots/{id}/changedblocks`; without a first snapshot all of
    /// the second's blocks have changed.
    ListChangedBlocks { first: Option<SnapshotId>, second: SnapshotId, paging: Paging },
}

/// Which part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// 100 to 10,000.
    pub max_results: u32,
    pub page_token: Option<String>,
    pub starting_index: u32,
}

impl Route {
    /// Reads a request. `header` gives a header's value by its lower-case name;
    /// `path` and `query` are as on the wire.
    pub fn parse<'h>(
        method: &str,
        path: &str,
        query: &str,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<Self, EbsError> {
        let parts = path
            .trim_matches('/')
            .split('/')
            .map(decode_component)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(EbsError::no_route)?;
        let parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
        match (method, parts.as_slice()) {
            ("POST", ["snapshots"]) => Ok(Self::StartSnapshot),
            ("POST", ["snapshots", "completion", id]) => Self::complete(id, header),
            ("PUT", ["snapshots", id, "blocks", index]) => Self::put(id, index, header),
            ("GET", ["snapshots", id, "blocks"]) => Ok(Self::ListSnapshotBlocks {
                snapshot: snapshot(id)?,
                paging: Query::read(query)?.paging()?,
            }),
            ("GET", ["snapshots", id, "blocks", index]) => Ok(Self::GetSnapshotBlock {
                snapshot: snapshot(id)?,
                index: number("BlockIndex", index)?,
                token: Query::read(query)?.take("blockToken").ok_or_else(|| {
                    EbsError::validation("INVALID_BLOCK_TOKEN", "Give the block's blockToken.")
                })?,
            }),
            ("GET", ["snapshots", id, "changedblocks"]) => {
                let mut query = Query::read(query)?;
                let first = query.take("firstSnapshotId");
                Ok(Self::ListChangedBlocks {
                    first: first.map(|id| snapshot(&id)).transpose()?,
                    second: snapshot(id)?,
                    paging: query.paging()?,
                })
            }
            _ => Err(EbsError::no_route()),
        }
    }

    fn put<'h>(
        id: &str,
        index: &str,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<Self, EbsError> {
        let length = header("x-amz-data-length").unwrap_or_default();
        if number("DataLength", length)? as usize != BLOCK_BYTES {
            let text = format!("x-amz-Data-Length must be {BLOCK_BYTES}.");
            return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
        }
        let progress = header("x-amz-progress").map(|text| number("Progress", text)).transpose()?;
        let progress = progress.map(|percent| u8::try_from(percent).unwrap_or(u8::MAX));
        if progress.is_some_and(|percent| percent > 100) {
            let text = "x-amz-Progress must be between 0 and 100.";
            return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
        }
        Ok(Self::PutSnapshotBlock {
            snapshot: snapshot(id)?,
            index: number("BlockIndex", index)?,
            checksum: checksum(&header)?.ok_or_else(|| {
                let text = "Give the block's SHA-256 in x-amz-Checksum, in base64.";
                EbsError::validation("INVALID_PARAMETER_VALUE", text)
            })?,
            progress,
        })
    }

    fn complete<'h>(id: &str, header: impl Fn(&str) -> Option<&'h str>) -> Result<Self, EbsError> {
        let sum = checksum(&header)?;
        let method = header("x-amz-checksum-aggregation-method");
        if sum.is_some() && method != Some("LINEAR") {
            let text = "x-amz-Checksum-Aggregation-Method must be LINEAR.";
            return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
        }
        let changed = header("x-amz-changedblockscount").unwrap_or_default();
        Ok(Self::CompleteSnapshot {
            snapshot: snapshot(id)?,
            changed_blocks: number("ChangedBlocksCount", changed)?,
            checksum: sum,
        })
    }
}

/// The checksum a request declares, if it declares one.
fn checksum<'h>(header: &impl Fn(&str) -> Option<&'h str>) -> Result<Option<[u8; 32]>, EbsError> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    let Some(text) = header("x-amz-checksum") else { return Ok(None) };
    if header("x-amz-checksum-algorithm") != Some("SHA256") {
        let text = "x-amz-Checksum-Algorithm must be SHA256.";
        return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
    }
    let sum = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    sum.map(Some).ok_or_else(|| {
        let text = "x-amz-Checksum must be 32 bytes in base64.";
        EbsError::validation("INVALID_PARAMETER_VALUE", text)
    })
}

fn snapshot(text: &str) -> Result<SnapshotId, EbsError> {
    text.parse().map_err(|_| {
        let text = "The snapshot's id must be \"snap-\" and 17 hexadecimal digits.";
        EbsError::validation("INVALID_SNAPSHOT_ID", text)
    })
}

fn number(name: &str, text: &str) -> Result<u32, EbsError> {
    let number = text.parse::<u32>().ok().filter(|n| i32::try_from(*n).is_ok());
    number.ok_or_else(|| {
        let text = format!("{name} must be a whole number from 0 to 2147483647.");
        EbsError::validation("INVALID_PARAMETER_VALUE", text)
    })
}

/// A query string's pairs, each name at most once.
struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Result<Self, EbsError> {
        let bad = |text: &str| EbsError::validation("INVALID_PARAMETER_VALUE", text);
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()).take(64) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = (decode_component(name), decode_component(value));
            let (Some(name), Some(value)) = read else {
                return Err(bad("The query string is malformed."));
            };
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(bad("A parameter of the query string is given twice."));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_empty())
    }

    fn paging(&mut self) -> Result<Paging, EbsError> {
        let max_results = match self.take("maxResults") {
            Some(text) => number("MaxResults", &text)?,
            None => 10_000,
        };
        if !(100..=10_000).contains(&max_results) {
            let text = "maxResults must be between 100 and 10000.";
            return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
        }
        let start = self.take("startingBlockIndex");
        Ok(Paging {
            max_results,
            page_token: self.take("pageToken"),
            starting_index: start.map_or(Ok(0), |text| number("StartingBlockIndex", &text))?,
        })
    }
}
