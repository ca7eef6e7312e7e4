//! One disk from another region: what is missing here is fetched, chunk by
//! chunk, and held to its name.

use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use tonic::Status;
use vmint_api::{
    gateway::v1 as peer,
    storage::v1::{SourceLeaf, SourcePlace},
};
use vmint_blocks::{Domain, Graft, Leaf, Names, Place, Sealed};
use vmint_store::TxError;

use crate::{
    Content, Result, Snapshot, Storage, StorageError,
    boot_set::BootSet,
    snapshot::{Remote, SnapshotState},
    store::{boot_sets, keys, snapshots},
    transfers::Job,
};

/// The span of a stretch.
pub(super) const REGION: u64 = vmint_blocks::REGION_BYTES;
/// The largest chunk.
pub(super) const CHUNK: usize = 64 * vmint_blocks::BLOCK_BYTES;
/// How long another region may say nothing.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// A pending snapshot and what it is to hold.
#[derive(Clone, Copy)]
pub(super) struct Remotely<'a> {
    pub(super) remote: &'a Remote,
    pub(super) snapshot: &'a Snapshot,
    pub(super) job: &'a Job,
    /// Is told how many bytes of the disk are here.
    pub(super) tell: &'a (dyn Fn(u64) + Send + Sync),
}

impl Storage {
    /// Fetches what is missing of a disk and completes its snapshot.
    pub(super) async fn pull_disk(&self, what: Remotely<'_>) -> Result<()> {
        let turn = tokio::select! {
            () = what.job.stop.cancelled() => return Err(StorageError::Cancelled),
            turn = self.pulls.acquire() => turn.map_err(|_| StorageError::Damaged)?,
        };
        let (Remotely { remote, snapshot, .. }, started) = (what, Instant::now());
        if let Some(seal) = snapshot.seal {
            keys::usable(self.records.store(), seal.key)?;
        }
        let lineage = snapshot.seal.map(|seal| seal.lineage);
        let domain = self.domain(snapshot.account, lineage)?;
        let disk = peer::SourceDisk {
            account_id: snapshot.account.to_string(),
            image_id: remote.image.map(|id| id.to_string()).unwrap_or_default(),
            snapshot_id: remote.snapshot.to_string(),
            names: Names::of(domain).to_bytes().to_vec().into(),
        };
        let progress = self.progress.of(snapshot.id);
        progress.whole(snapshot.size_bytes);
        let tell = |bytes: u64| {
            progress.at(bytes);
            (what.tell)(bytes);
        };
        let what = Remotely { tell: &tell, ..what };
        let mut one = One { storage: self, what, disk, domain, moved: 0, boot: None };
        let sealed = one.graft().await?;
        let (moved, seconds) = (one.moved, started.elapsed().as_secs_f64());
        self.keep_pulled(snapshot, sealed, one.boot).await?;
        drop(turn);
        tracing::info!(snapshot = %snapshot.id, region = remote.region, moved, seconds, "copied");
        Ok(())
    }

    /// Records a disk that is there now.
    async fn keep_pulled(
        &self,
        snapshot: &Snapshot,
        sealed: Sealed,
        boot: Option<BootSet>,
    ) -> Result<()> {
        let content = Content {
            domain: snapshot.account,
            lineage: snapshot.seal.map(|seal| seal.lineage),
            root: sealed.root,
            size_bytes: snapshot.size_bytes,
        };
        let (id, new_bytes, stored_bytes) = (snapshot.id, sealed.new_bytes, sealed.stored_bytes);
        let kept = self.records.commit(move |tx| {
            // Undone meanwhile: then it stays away.
            let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
            let pending = found.filter(|found| found.state == SnapshotState::Pending);
            let mut snapshot = pending.ok_or(TxError::Refused(StorageError::Cancelled))?;
            snapshot.state = SnapshotState::Completed(content);
            snapshot.making = None;
            (snapshot.new_bytes, snapshot.stored_bytes) = (new_bytes, stored_bytes);
            snapshots::put(tx, &snapshot)?;
            boot_sets::inherit(tx, &content, boot.as_ref())
        });
        kept.await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        Ok(())
    }
}

/// One disk on its way.
struct One<'a> {
    storage: &'a Storage,
    what: Remotely<'a>,
    disk: peer::SourceDisk,
    domain: Domain,
    /// Bytes of chunks that came, as they came.
    moved: u64,
    /// What machines there read first of it.
    boot: Option<BootSet>,
}

impl One<'_> {
    async fn graft(&mut self) -> Result<Sealed> {
        let snapshot = self.what.snapshot;
        let mut graft = Some(self.storage.blocks.graft(self.domain));
        let mut request =
            peer::ListSourceLeavesRequest { disk: Some(self.disk.clone()), ..Default::default() };
        loop {
            let mut client = self.client()?;
            let page = client.list_source_leaves(request.clone());
            let page = self.answered(page).await?.into_inner();
            // Deleted, so nobody waits for it.
            if snapshots::find(self.storage.records.store(), snapshot.id)?.is_none() {
                return Err(StorageError::Cancelled);
            }
            self.boot = self.boot.take().or_else(|| boot_set(&page.boot_stretches));
            for leaf in page.leaves {
                if self.what.job.stop.is_cancelled() {
                    return Err(StorageError::Cancelled);
                }
                self.region(&mut graft, &leaf).await?;
                let at = number(leaf.region)?.saturating_add(1).saturating_mul(REGION);
                (self.what.tell)(at.min(snapshot.size_bytes));
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let (graft, size) = (graft.take().ok_or(StorageError::Damaged)?, snapshot.size_bytes);
        Storage::blocking(move || Ok(graft.finish(size)?)).await
    }

    /// Takes one stretch over.
    async fn region(&mut self, graft: &mut Option<Graft>, named: &SourceLeaf) -> Result<()> {
        let (region, name) = (number(named.region)?, id(&named.leaf_id)?);
        if region.saturating_mul(REGION) >= self.what.snapshot.size_bytes {
            return Err(StorageError::Sequence("the region sent what lies beyond the disk"));
        }
        let known = with(graft, move |graft| {
            graft.region(region)?;
            Ok(graft.keep_leaf(name)?)
        });
        if known.await? {
            return Ok(());
        }
        let request = peer::BatchGetSourceLeavesRequest {
            disk: Some(self.disk.clone()),
            regions: vec![named.region],
        };
        let mut client = self.client()?;
        let answer = client.batch_get_source_leaves(request);
        let answer = self.answered(answer).await?.into_inner();
        let whole = answer.leaves.into_iter().next().unwrap_or_default();
        let places = whole.places.iter().map(place).collect::<Result<Vec<_>>>()?;
        let leaf = Leaf::of(&Names::of(self.domain), places).filter(|leaf| leaf.id == name);
        let leaf = leaf.ok_or(StorageError::Sequence("the region sent another leaf"))?;
        let missing = with(graft, move |graft| {
            Ok(leaf.places.into_iter().filter(|place| !graft.keep(place)).collect::<Vec<_>>())
        });
        let missing = missing.await?;
        if missing.is_empty() { Ok(()) } else { self.fetch(graft, region, missing).await }
    }

    /// Fetches chunks of the stretch that are not known here.
    async fn fetch(
        &mut self,
        graft: &mut Option<Graft>,
        region: u64,
        missing: Vec<Place>,
    ) -> Result<()> {
        let request = peer::ReadSourceChunksRequest {
            disk: Some(self.disk.clone()),
            region: i64::try_from(region).unwrap_or(i64::MAX),
            start_blocks: missing.iter().map(|place| i32::from(place.start)).collect(),
        };
        let mut client = self.client()?;
        let chunks = client.read_source_chunks(request);
        let mut chunks = self.answered(chunks).await?.into_inner();
        for place in missing {
            let next = tokio::time::timeout(IDLE, chunks.next()).await;
            let next = next.map_err(|_| self.lost("it says nothing for 30 seconds"))?;
            let chunk = match next {
                Some(Ok(answer)) => answer.chunk.unwrap_or_default(),
                Some(Err(status)) => return Err(self.refused(&status)),
                None => return Err(self.lost("it ended early")),
            };
            self.moved += chunk.content.len() as u64;
            with(graft, move |graft| {
                let raw = if chunk.zstd {
                    let raw = zstd::bulk::decompress(&chunk.content, CHUNK);
                    raw.map_err(|_| StorageError::Sequence("the region sent a broken chunk"))?
                } else {
                    chunk.content.to_vec()
                };
                Ok(graft.put(&place, &raw)?)
            })
            .await?;
        }
        Ok(())
    }

    fn client(
        &self,
    ) -> Result<peer::region_service_client::RegionServiceClient<vmint_rpc::Channel>> {
        self.storage.regions.client(&self.what.remote.region)
    }

    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<tonic::Response<T>> {
        tokio::select! {
            () = self.what.job.stop.cancelled() => Err(StorageError::Cancelled),
            done = tokio::time::timeout(IDLE, call) => match done {
                Ok(done) => done.map_err(|status| self.refused(&status)),
                Err(_) => Err(self.lost("it says nothing for 30 seconds")),
            },
        }
    }

    fn refused(&self, status: &Status) -> StorageError {
        self.storage.regions.refused(&self.what.remote.region, status)
    }

    fn lost(&self, why: &str) -> StorageError {
        StorageError::RegionAway { name: self.what.remote.region.clone(), why: why.to_owned() }
    }
}

/// Works on the graft where blocking is allowed.
async fn with<T: Send + 'static>(
    slot: &mut Option<Graft>,
    work: impl FnOnce(&mut Graft) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut graft = slot.take().ok_or(StorageError::Damaged)?;
    let (graft, done) = Storage::blocking(move || {
        let done = work(&mut graft)?;
        Ok((graft, done))
    })
    .await?;
    *slot = Some(graft);
    Ok(done)
}

fn number(n: i64) -> Result<u64> {
    u64::try_from(n).map_err(|_| StorageError::Sequence("the region sent a negative number"))
}

fn id(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| StorageError::Sequence("the region sent a name of no use"))
}

fn place(place: &SourcePlace) -> Result<Place> {
    let bad = || StorageError::Sequence("the region sent a chunk of no use");
    Ok(Place {
        start: u16::try_from(place.start_block).map_err(|_| bad())?,
        blocks: u8::try_from(place.blocks).map_err(|_| bad())?,
        id: id(&place.chunk_id)?,
    })
}

/// What another region says of boots there; none if it says nothing that can be.
fn boot_set(numbers: &[i64]) -> Option<BootSet> {
    let numbers = numbers.iter().map(|n| u64::try_from(*n)).collect::<Result<Vec<_>, _>>();
    BootSet::from_numbers(&numbers.ok()?).filter(|set| set.bytes() > 0)
}
