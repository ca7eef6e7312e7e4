//! Lost chunks brought back from bytes of their disk.

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};
use vmint_blocks::{BlockStore, Domain, Ingest, Lost};
use vmint_ids::{SnapshotId, VolumeId};

use crate::{
    Content, Result, Storage, StorageError,
    store::{snapshots, volumes},
};

/// The largest piece.
const PIECE: usize = 1 << 20;

/// Whose content is to be repaired.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Snapshot(SnapshotId),
    Volume(VolumeId),
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repaired {
    pub(crate) repaired: u64,
    /// Still lost.
    pub(crate) lost: u64,
}

/// A repair that takes pieces.
#[derive(Debug)]
pub(crate) struct Repair {
    pieces: mpsc::Sender<(u64, Bytes)>,
    work: JoinHandle<Result<()>>,
    storage: Storage,
    content: Content,
    lost: usize,
    size_bytes: u64,
    /// Where the next piece begins at the earliest.
    at: u64,
}

impl Storage {
    /// The content to repair and what it has lost.
    pub(super) async fn damaged(&self, target: Target) -> Result<(Content, Vec<Lost>)> {
        let store = self.records.store();
        let content = match target {
            Target::Snapshot(id) => {
                let found = snapshots::find(store, id)?.ok_or(StorageError::NoSuchSnapshot { id });
                found?.content().ok_or(StorageError::NotCompleted { id })?
            }
            Target::Volume(id) => {
                let found = volumes::find(store, id)?.ok_or(StorageError::NoSuchVolume { id })?;
                found.base.ok_or_else(|| StorageError::Invalid {
                    field: "volume_id",
                    what: "volume",
                    value: id.to_string(),
                    rule: "name one that was made of a snapshot".to_owned(),
                })?
            }
        };
        let storage = self.clone();
        Self::blocking(move || Ok((content, storage.lost_of(&content)?))).await
    }

    /// Begins to take bytes of a disk that has lost some.
    pub(crate) async fn begin_repair(&self, target: Target) -> Result<Repair> {
        let (content, lost) = self.damaged(target).await?;
        self.repair_with(content, lost)
    }

    pub(super) fn repair_with(&self, content: Content, lost: Vec<Lost>) -> Result<Repair> {
        let domain = self.domain(content.domain, content.lineage)?;
        let (pieces, receive) = mpsc::channel(8);
        let (blocks, count, size_bytes) = (self.blocks.clone(), lost.len(), content.size_bytes);
        let lists = lost.iter().any(|lost| lost.node);
        let work = self.tasks.spawn_blocking(move || {
            if lists {
                anew(blocks.ingest(domain, size_bytes)?, receive)
            } else {
                Mender { blocks, domain, lost, open: Vec::new() }.run(receive)
            }
        });
        let storage = self.clone();
        Ok(Repair { pieces, work, storage, content, lost: count, size_bytes, at: 0 })
    }
}

impl Repair {
    /// Takes a piece; what lies between pieces is zero.
    pub(crate) async fn write(&mut self, offset: u64, content: Bytes) -> Result<()> {
        if offset < self.at {
            return Err(StorageError::Sequence("the pieces do not come in ascending order"));
        }
        if content.len() > PIECE {
            return Err(StorageError::Sequence("a piece is larger than 1 MiB"));
        }
        self.at = offset.saturating_add(content.len() as u64);
        if self.at > self.size_bytes {
            return Err(StorageError::Sequence("the pieces reach over the end of the disk"));
        }
        // Nobody listens after a failure, which `finish` tells of.
        let _ = self.pieces.send((offset, content)).await;
        Ok(())
    }

    /// Waits until what came is stored.
    pub(crate) async fn finish(self) -> Result<Repaired> {
        let Self { pieces, work, storage, content, lost, .. } = self;
        drop(pieces);
        work.await??;
        let left = Storage::blocking(move || storage.lost_of(&content)).await?.len();
        let repaired = lost.saturating_sub(left) as u64;
        Ok(Repaired { repaired, lost: left as u64 })
    }
}

/// Where lists are lost: cut and listed again, the same bytes make the same
/// chunks and lists.
fn anew(mut ingest: Ingest, mut pieces: mpsc::Receiver<(u64, Bytes)>) -> Result<()> {
    while let Some((offset, bytes)) = pieces.blocking_recv() {
        ingest.write(offset, &bytes)?;
    }
    ingest.finish()?;
    Ok(())
}

/// Puts lost chunks together from pieces.
struct Mender {
    blocks: BlockStore,
    domain: Domain,
    /// Those that no piece has reached yet, by their place.
    lost: Vec<Lost>,
    /// Those of which bytes have come.
    open: Vec<(Lost, Vec<u8>)>,
}

impl Mender {
    fn run(mut self, mut pieces: mpsc::Receiver<(u64, Bytes)>) -> Result<()> {
        self.lost.reverse();
        while let Some((offset, bytes)) = pieces.blocking_recv() {
            let end = offset + bytes.len() as u64;
            while self.lost.last().is_some_and(|next| next.offset < end) {
                let Some(next) = self.lost.pop() else { break };
                let room = usize::try_from(next.length).map_err(|_| StorageError::Damaged)?;
                self.open.push((next, vec![0; room]));
            }
            for (lost, out) in &mut self.open {
                fill(out, lost.offset, &bytes, offset);
            }
            self.close(end)?;
        }
        self.close(u64::MAX)
    }

    /// Brings back what no further piece can reach.
    fn close(&mut self, before: u64) -> Result<()> {
        for (lost, bytes) in std::mem::take(&mut self.open) {
            if lost.offset.saturating_add(lost.length) <= before {
                self.blocks.repair(self.domain, &lost, &bytes)?;
            } else {
                self.open.push((lost, bytes));
            }
        }
        Ok(())
    }
}

/// Copies what `from` (at `from_at`) and `to` (at `to_at`) have in common.
fn fill(to: &mut [u8], to_at: u64, from: &[u8], from_at: u64) {
    let (start, end) =
        (to_at.max(from_at), (to_at + to.len() as u64).min(from_at + from.len() as u64));
    if start < end {
        // Both lie within slices.
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let (into, out) = (within(start - to_at), within(start - from_at));
        let count = within(end - start);
        to[into..into + count].copy_from_slice(&from[out..out + count]);
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn only_what_is_common_is_copied() {
        let mut out = [0; 4];
        fill(&mut out, 10, &[1, 2, 3], 8);
        assert_eq!(out, [3, 0, 0, 0]);
        fill(&mut out, 10, &[4, 5, 6], 13);
        assert_eq!(out, [3, 0, 0, 4]);
        fill(&mut out, 10, &[9; 9], 14);
        fill(&mut out, 10, &[9; 9], 1);
        assert_eq!(out, [3, 0, 0, 4]);
        fill(&mut out, 10, &[7; 9], 8);
        assert_eq!(out, [7; 4]);
    }
}
