//! Lost chunks brought back from another region's copy of the disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio_stream::StreamExt as _;
use vmint_api::gateway::v1 as peer;
use vmint_blocks::{BLOCK_BYTES, Domain, Names};
use vmint_ids::{ImageId, SnapshotId};

use super::{
    pull_disk::{CHUNK, IDLE, REGION},
    repair::{Repaired, Target},
};
use crate::{Result, Storage, StorageError, store::snapshots};

/// Chunks asked for at once.
const CHUNKS: usize = 256;

/// Where a copy of the disk is.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    pub(crate) region: String,
    /// Unless the account may read the snapshot itself.
    pub(crate) image: Option<ImageId>,
    pub(crate) snapshot: SnapshotId,
}

/// What is wanted of a stretch of the disk: all, or what begins at these
/// blocks.
enum Wanted {
    All,
    Starts(Vec<i32>),
}

impl Storage {
    /// Fetches what a snapshot has lost, and no more; answers how many bytes
    /// came too. The other region is asked with the rights of the snapshot's
    /// account.
    pub(crate) async fn repair_from_region(
        &self,
        id: SnapshotId,
        from: Elsewhere,
    ) -> Result<(Repaired, u64)> {
        let (content, lost) = self.damaged(Target::Snapshot(id)).await?;
        let found = snapshots::find(self.records.store(), id)?;
        let account = found.ok_or(StorageError::NoSuchSnapshot { id })?.account;
        let mut wanted: BTreeMap<u64, Wanted> = BTreeMap::new();
        for lost in &lost {
            let first = lost.offset / REGION;
            if lost.node {
                let end = lost.offset.saturating_add(lost.length).min(content.size_bytes);
                wanted.extend((first..end.div_ceil(REGION)).map(|region| (region, Wanted::All)));
            } else if let Wanted::Starts(starts) =
                wanted.entry(first).or_insert_with(|| Wanted::Starts(Vec::new()))
            {
                let start = (lost.offset % REGION) / BLOCK_BYTES as u64;
                starts.push(i32::try_from(start).map_err(|_| StorageError::Damaged)?);
            }
        }
        // Only places are wanted, so what chunks are called is of no use to anybody.
        let nobodys = Domain::derive(&self.secret, "another region");
        let disk = peer::SourceDisk {
            account_id: account.to_string(),
            image_id: from.image.map(|id| id.to_string()).unwrap_or_default(),
            snapshot_id: from.snapshot.to_string(),
            names: Names::of(nobodys).to_bytes().to_vec().into(),
        };
        let mut repair = self.repair_with(content, lost)?;
        let mut fetched = 0;
        for (region, wanted) in wanted {
            let starts = match wanted {
                Wanted::Starts(starts) => starts,
                Wanted::All => self.places(&from.region, &disk, region).await?,
            };
            for starts in starts.chunks(CHUNKS) {
                let request = peer::ReadSourceChunksRequest {
                    disk: Some(disk.clone()),
                    region: i64::try_from(region).unwrap_or(i64::MAX),
                    start_blocks: starts.to_vec(),
                };
                let mut client = self.regions.client(&from.region)?;
                let chunks = client.read_source_chunks(request);
                let chunks = in_time(&from.region, chunks).await?;
                let mut chunks =
                    chunks.map_err(|why| self.regions.refused(&from.region, &why))?.into_inner();
                while let Some(next) = in_time(&from.region, chunks.next()).await? {
                    let next = next.map_err(|why| self.regions.refused(&from.region, &why))?;
                    let chunk = next.chunk.unwrap_or_default();
                    fetched += chunk.content.len() as u64;
                    let start = u64::try_from(chunk.start_block).unwrap_or_default();
                    let at = region * REGION + start * BLOCK_BYTES as u64;
                    let raw = if chunk.zstd {
                        let unpacked = Self::blocking(move || {
                            Ok(Bytes::from(zstd::bulk::decompress(&chunk.content, CHUNK)?))
                        });
                        unpacked.await?
                    } else {
                        chunk.content
                    };
                    // The last chunk reaches over the disk's end, with zeros.
                    let room = content.size_bytes.saturating_sub(at);
                    let room = usize::try_from(room).unwrap_or(usize::MAX);
                    repair.write(at, raw.slice(..raw.len().min(room))).await?;
                }
            }
        }
        Ok((repair.finish().await?, fetched))
    }

    /// Where the chunks of a stretch begin.
    async fn places(&self, name: &str, disk: &peer::SourceDisk, region: u64) -> Result<Vec<i32>> {
        let request = peer::BatchGetSourceLeavesRequest {
            disk: Some(disk.clone()),
            regions: vec![i64::try_from(region).unwrap_or(i64::MAX)],
        };
        let mut client = self.regions.client(name)?;
        let answer = in_time(name, client.batch_get_source_leaves(request)).await?;
        let leaves =
            answer.map_err(|status| self.regions.refused(name, &status))?.into_inner().leaves;
        let places = leaves.into_iter().next().unwrap_or_default().places;
        Ok(places.iter().map(|place| place.start_block).collect())
    }
}

async fn in_time<T>(region: &str, what: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(IDLE, what).await.map_err(|_| StorageError::RegionAway {
        name: region.to_owned(),
        why: "it says nothing for 30 seconds".to_owned(),
    })
}
