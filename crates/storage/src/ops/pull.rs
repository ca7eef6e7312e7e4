//! The destination's side of a copy from another region: what is missing here
//! is fetched, chunk by chunk, and held to its name.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::Image,
    gateway::v1 as peer,
    storage::v1::{SourceLeaf, SourcePlace},
};
use vmint_blocks::{Domain, Graft, Leaf, Place, Sealed};
use vmint_ids::{AccountId, ImageId, ProductCode, SnapshotId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Content, Result, Snapshot, Storage, StorageError,
    snapshot::{Consistency, SnapshotState},
    store::{fence, snapshots},
    transfers::Job,
};

/// The span of a stretch.
const REGION: u64 = vmint_blocks::REGION_BYTES;
/// The largest chunk.
const CHUNK: usize = 64 * vmint_blocks::BLOCK_BYTES;
/// How long another region may say nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Disks to copy, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) region: String,
    pub(crate) account: AccountId,
    pub(crate) source_image: ImageId,
    pub(crate) image: ImageId,
    pub(crate) description: String,
    /// Source, destination, exact size.
    pub(crate) disks: Vec<(SnapshotId, SnapshotId, u64)>,
    pub(crate) product_codes: Vec<ProductCode>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulled {
    pub(crate) done: bool,
    pub(crate) percent: u32,
    pub(crate) seconds_left: u64,
}

impl Storage {
    /// An image as another region has it, and the exact sizes of its disks.
    pub(crate) async fn remote_image(
        &self,
        region: &str,
        account: AccountId,
        image: ImageId,
    ) -> Result<(Image, Vec<i64>)> {
        let request = peer::GetSourceImageRequest {
            account_id: account.to_string(),
            image_id: image.to_string(),
        };
        let answer = self.regions.client(region)?.get_source_image(request).await;
        let answer = answer.map_err(|status| remote(region, status))?.into_inner();
        let image = answer.image.ok_or(StorageError::Sequence("the region sent no image"))?;
        Ok((image, answer.disk_bytes))
    }

    /// Copies disks from another region, or says how far that is. What came is
    /// kept through cuts: asked again, only the rest is fetched.
    pub(crate) async fn ensure_pull(&self, step: Step, pull: Pull) -> Result<Pulled> {
        let name = format!("pull {}", pull.image);
        let missing = self.begin_pull(step, &pull).await?;
        if missing.is_empty() {
            return Ok(Pulled { done: true, percent: 100, seconds_left: 0 });
        }
        if let Some(why) = self.transfers.failure(&name) {
            return Err(why);
        }
        if let Some(job) = self.transfers.begin(&name) {
            let (storage, name) = (self.clone(), name.clone());
            self.tasks.spawn(async move {
                let pulled = storage.pull(&pull, &missing, &job).await;
                if let Err(error) = pulled
                    && !storage.transfers.stop.is_cancelled()
                {
                    let error_text = vmint_rpc::chain(&error);
                    tracing::info!(image = %pull.image, error = error_text, "a copy was cut");
                    storage.transfers.failed(&name, error);
                }
                storage.transfers.end(&name);
            });
        }
        let job = self.transfers.get(&name);
        let (percent, seconds_left) = job.map_or((0, 0), |job| (job.percent(), job.seconds_left()));
        Ok(Pulled { done: false, percent, seconds_left })
    }

    /// Makes the pending records; those that are not complete.
    async fn begin_pull(
        &self,
        step: Step,
        pull: &Pull,
    ) -> Result<Vec<(SnapshotId, SnapshotId, u64)>> {
        let pull = pull.clone();
        let begun = self.records.commit(move |tx| {
            fence(tx, step.epoch)?;
            let mut missing = Vec::new();
            for (source, id, size) in pull.disks {
                let there = snapshots::find(tx, id).map_err(TxError::Refused)?;
                if there.as_ref().is_none_or(|there| there.content().is_none()) {
                    missing.push((source, id, size));
                }
                if there.is_some() {
                    continue;
                }
                let mut new = Snapshot::pending(id, pull.account, size, Consistency::Imported);
                new.description.clone_from(&pull.description);
                new.images.insert(pull.image);
                new.product_codes.extend(pull.product_codes.iter().cloned());
                new.created_ms = tx.now_ms();
                snapshots::put(tx, &new)?;
            }
            Ok(missing)
        });
        begun.await
    }

    async fn pull(
        &self,
        pull: &Pull,
        disks: &[(SnapshotId, SnapshotId, u64)],
        job: &Arc<Job>,
    ) -> Result<()> {
        let all = disks.iter().map(|disk| disk.2).sum::<u64>().max(1);
        let mut before = 0;
        for (source, id, size) in disks {
            let disk = peer::SourceDisk {
                account_id: pull.account.to_string(),
                image_id: pull.source_image.to_string(),
                snapshot_id: source.to_string(),
                domain_key: self.domain(pull.account, None)?.to_bytes().to_vec().into(),
            };
            let started = Instant::now();
            let mut one =
                One { storage: self, pull, disk, size: *size, job, before, all, moved: 0 };
            let sealed = one.graft().await?;
            let (moved, seconds) = (one.moved, started.elapsed().as_secs_f64());
            self.keep_pulled(pull, *id, *size, sealed).await?;
            tracing::info!(snapshot = %id, region = pull.region, moved, seconds, "copied");
            before += size;
        }
        Ok(())
    }

    /// Records a disk that is there now.
    async fn keep_pulled(
        &self,
        pull: &Pull,
        id: SnapshotId,
        size_bytes: u64,
        sealed: Sealed,
    ) -> Result<()> {
        let content =
            Content { domain: pull.account, lineage: None, root: sealed.root, size_bytes };
        let (new_bytes, stored_bytes) = (sealed.new_bytes, sealed.stored_bytes);
        let kept = self.records.commit(move |tx| {
            // Undone meanwhile: then it stays away.
            let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
            let mut snapshot = found.ok_or(TxError::Refused(StorageError::Cancelled))?;
            snapshot.state = SnapshotState::Completed(content);
            (snapshot.new_bytes, snapshot.stored_bytes) = (new_bytes, stored_bytes);
            snapshots::put(tx, &snapshot)
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
    pull: &'a Pull,
    disk: peer::SourceDisk,
    size: u64,
    job: &'a Job,
    before: u64,
    all: u64,
    /// Bytes of chunks that came, as they came.
    moved: u64,
}

impl One<'_> {
    async fn graft(&mut self) -> Result<Sealed> {
        let domain = self.storage.domain(self.pull.account, None)?;
        let mut graft = Some(self.storage.blocks.graft(domain));
        let mut request =
            peer::ListSourceLeavesRequest { disk: Some(self.disk.clone()), ..Default::default() };
        loop {
            let mut client = self.client()?;
            let page = client.list_source_leaves(request.clone());
            let page = self.answered(page).await?.into_inner();
            for leaf in page.leaves {
                if self.job.stop.is_cancelled() {
                    return Err(StorageError::Cancelled);
                }
                self.region(&mut graft, domain, &leaf).await?;
                let at = number(leaf.region)?.saturating_add(1).saturating_mul(REGION);
                self.job.at((self.before + at.min(self.size)).saturating_mul(100) / self.all);
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let (graft, size) = (graft.take().ok_or(StorageError::Damaged)?, self.size);
        Storage::blocking(move || Ok(graft.finish(size)?)).await
    }

    /// Takes one stretch over.
    async fn region(
        &mut self,
        graft: &mut Option<Graft>,
        domain: Domain,
        named: &SourceLeaf,
    ) -> Result<()> {
        let (region, name) = (number(named.region)?, id(&named.leaf_id)?);
        if region.saturating_mul(REGION) >= self.size {
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
        let leaf = Leaf::of(domain, places).filter(|leaf| leaf.id == name);
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
                Some(Err(status)) => return Err(remote(&self.pull.region, status)),
                None => return Err(self.lost("it ended early")),
            };
            self.moved += chunk.content.len() as u64;
            with(graft, move |graft| {
                let raw = if chunk.zstd {
                    zstd::bulk::decompress(&chunk.content, CHUNK)?
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
        self.storage.regions.client(&self.pull.region)
    }

    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<tonic::Response<T>> {
        tokio::select! {
            () = self.job.stop.cancelled() => Err(StorageError::Cancelled),
            done = tokio::time::timeout(IDLE, call) => match done {
                Ok(done) => done.map_err(|status| remote(&self.pull.region, status)),
                Err(_) => Err(self.lost("it says nothing for 30 seconds")),
            },
        }
    }

    fn lost(&self, why: &str) -> StorageError {
        StorageError::RegionAway { name: self.pull.region.clone(), why: why.to_owned() }
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

/// What another region's refusal means here.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn remote(region: &str, status: Status) -> StorageError {
    let (name, why) = (region.to_owned(), status.message().to_owned());
    match status.code() {
        Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::Unimplemented => StorageError::RegionRefused { name, why },
        _ => StorageError::RegionAway { name, why },
    }
}
