//! Ten thousand imports, registrations, copies, launches, freezes and deletions beside
//! collections and scrubs, with crashes, held to a model: nothing needed is collected, all
//! else is.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use harness::{
    ANN, Place, Running, assert_same, from, header, image, instance, nbd::Nbd, noise, pieces,
    reason, saga, snap, volume,
};
use tokio::task::JoinSet;
use vmint_api::storage::v1 as pb;
use vmint_storage::Quota;

/// Operations of each of the four parts.
const OPERATIONS: usize = 2_500;
/// Under way at a time.
const AT_ONCE: usize = 8;
/// The most snapshots that the account may have.
const MOST: u64 = 60;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 8) as usize % n
    }

    /// One of them, which is then taken.
    fn pick<K: Clone + Ord>(&mut self, from: &mut BTreeSet<K>) -> Option<K> {
        let n = from.len();
        let picked = from.iter().nth(self.below(n.max(1))).cloned()?;
        from.remove(&picked);
        Some(picked)
    }
}

/// A disk of few, so that contents come again.
fn disk(seed: u64) -> Vec<u8> {
    noise(seed % 50, 40_000 + (seed % 7) as usize * 9_000)
}

/// What there must be.
#[derive(Debug, Clone, Default)]
struct Model {
    /// By id: what it holds, and the image that needs it.
    snapshots: BTreeMap<String, (u64, Option<u64>)>,
    /// By number: what lies under it.
    volumes: BTreeMap<u64, u64>,
    next: u64,
}

/// What an operation did.
enum Did {
    Made(String, u64, Option<u64>),
    Refused,
    Gone(String),
    Launched(u64, u64),
    Ended(u64),
}

impl Model {
    fn take(&mut self, did: Did) {
        match did {
            Did::Made(id, seed, image) => drop(self.snapshots.insert(id, (seed, image))),
            Did::Gone(id) => drop(self.snapshots.remove(&id)),
            Did::Launched(n, seed) => drop(self.volumes.insert(n, seed)),
            Did::Ended(n) => drop(self.volumes.remove(&n)),
            Did::Refused => {}
        }
    }
}

fn over(status: &tonic::Status) -> Did {
    assert_eq!(reason(status), "QUOTA_EXCEEDED", "{status:?}");
    Did::Refused
}

/// Begins operations on snapshots and volumes that no other one of them is about.
fn begin(running: &Running, model: &mut Model, random: &mut Random, work: &mut JoinSet<Did>) {
    let free = |needed: bool| {
        let all = model.snapshots.iter().filter(|(_, (_, image))| image.is_some() == needed);
        all.map(|(id, _)| id.clone()).collect::<BTreeSet<_>>()
    };
    let (mut loose, mut needed) = (free(false), free(true));
    let mut volumes: BTreeSet<u64> = model.volumes.keys().copied().collect();
    for _ in 0..AT_ONCE {
        model.next += 1;
        let n = model.next;
        let (mut users, mut internal) = (running.users.clone(), running.internal.clone());
        let seed_of = |id: &String| model.snapshots[id].0;
        match random.below(100) {
            0..30 => {
                let seed = random.next() % 350;
                let disk = disk(seed);
                let parts = tokio_stream::iter(pieces(header("raw", disk.len()), &disk));
                work.spawn(async move {
                    match users.import_snapshot(from(ANN, parts)).await {
                        Ok(made) => {
                            let made = made.into_inner().snapshot.unwrap();
                            Did::Made(made.snapshot_id, seed, None)
                        }
                        Err(status) => over(&status),
                    }
                });
            }
            30..45 => {
                let Some(id) = random.pick(&mut loose) else { continue };
                let seed = seed_of(&id);
                work.spawn(async move {
                    let request = pb::EnsureSnapshotUseRequest {
                        saga: saga(1),
                        image_id: image(n),
                        snapshot_ids: vec![id.clone()],
                        account_id: ANN.to_owned(),
                    };
                    internal.ensure_snapshot_use(request).await.unwrap();
                    Did::Made(id, seed, Some(n))
                });
            }
            45..58 => {
                let Some(source) = random.pick(&mut needed) else { continue };
                let seed = seed_of(&source);
                work.spawn(async move {
                    let request = pb::EnsureSnapshotCopyRequest {
                        saga: saga(1),
                        account_id: ANN.to_owned(),
                        copies: vec![pb::SnapshotCopy {
                            source_snapshot_id: source,
                            snapshot_id: snap(n),
                        }],
                        image_id: image(n),
                        ..Default::default()
                    };
                    match internal.ensure_snapshot_copy(request).await {
                        Ok(_) => Did::Made(snap(n), seed, Some(n)),
                        Err(status) => over(&status),
                    }
                });
            }
            58..66 => {
                let Some(source) = random.pick(&mut needed) else { continue };
                if model.volumes.len() > 12 {
                    continue;
                }
                let seed = seed_of(&source);
                work.spawn(async move {
                    internal.ensure_volumes(harness::volumes(n, &source)).await.unwrap();
                    Did::Launched(n, seed)
                });
            }
            66..72 => {
                let Some(from) = random.pick(&mut volumes) else { continue };
                let seed = model.volumes[&from];
                work.spawn(async move {
                    match internal.ensure_volume_snapshots(harness::freeze(&[(from, n)])).await {
                        Ok(_) => Did::Made(snap(n), seed, Some(n)),
                        Err(status) => over(&status),
                    }
                });
            }
            72..78 => {
                let Some(n) = random.pick(&mut volumes) else { continue };
                work.spawn(async move {
                    let request = pb::ReleaseVolumesRequest {
                        saga: saga(1),
                        instance_ids: vec![instance(n)],
                        undo: false,
                    };
                    let gone = internal.release_volumes(request).await.unwrap().into_inner();
                    assert_eq!(gone.deleted_volume_ids, [volume(n)]);
                    Did::Ended(n)
                });
            }
            78..90 => {
                let Some(id) = random.pick(&mut needed) else { continue };
                let n = model.snapshots[&id].1.unwrap();
                work.spawn(async move {
                    let request = pb::ReleaseSnapshotUseRequest {
                        saga: saga(1),
                        image_id: image(n),
                        delete_snapshots: true,
                        dry_run: false,
                    };
                    let gone = internal.release_snapshot_use(request).await.unwrap().into_inner();
                    assert_eq!(gone.deleted_snapshot_ids, std::slice::from_ref(&id));
                    Did::Gone(id)
                });
            }
            _ => {
                let Some(id) = random.pick(&mut loose) else { continue };
                work.spawn(async move {
                    let request =
                        pb::DeleteSnapshotRequest { snapshot_id: id.clone(), ..Default::default() };
                    users.delete_snapshot(from(ANN, request)).await.unwrap();
                    Did::Gone(id)
                });
            }
        }
    }
}

/// Collects and scrubs until told to stop.
fn tend(running: &Running) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (storage, stopped, mut upkeep) =
        (running.storage.clone(), stop.clone(), running.upkeep.clone());
    let tending = tokio::spawn(async move {
        let mut rounds = 0;
        while !stopped.load(Ordering::Acquire) {
            storage.collect().await.unwrap();
            let request = pb::StartScrubRequest { bytes_per_second: 1 << 40, ..Default::default() };
            upkeep.start_scrub(from(ANN, request)).await.unwrap();
            rounds += 1;
        }
        rounds
    });
    (stop, tending)
}

/// Holds what is listed to the model.
async fn listed(running: &mut Running, model: &Model) {
    let request = pb::ListSnapshotsRequest { page_size: 900, ..Default::default() };
    let all = running.users.list_snapshots(from(ANN, request)).await.unwrap().into_inner();
    let ids: BTreeSet<_> = all.snapshots.into_iter().map(|found| found.snapshot_id).collect();
    assert_eq!(ids, model.snapshots.keys().cloned().collect());
    assert!(ids.len() as u64 <= MOST, "the quota was passed");
    let request = pb::ListVolumesRequest { page_size: 900, ..Default::default() };
    let all = running.users.list_volumes(from(ANN, request)).await.unwrap().into_inner();
    let ids: BTreeSet<_> = all.volumes.into_iter().map(|found| found.volume_id).collect();
    assert_eq!(ids, model.volumes.keys().map(|n| volume(*n)).collect());
}

/// The files as they are at this moment: what a kill leaves.
fn killed(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            killed(&entry.path(), &target);
        } else if kind.is_file() {
            match std::fs::copy(entry.path(), target) {
                // Removed or renamed since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

async fn model(seed: u64) {
    let quota = Quota { snapshots: MOST, ..Quota::default() };
    let mut place = Place::new();
    let mut running = place.start_with(quota).await;
    let (mut random, mut model) = (Random(seed), Model::default());
    let (mut done, mut refused, mut rounds) = (0, 0, 0);
    let mut tending = Some(tend(&running));
    while done < OPERATIONS {
        let mut work = JoinSet::new();
        begin(&running, &mut model, &mut random, &mut work);
        while let Some(did) = work.join_next().await {
            let did = did.unwrap();
            refused += usize::from(matches!(did, Did::Refused));
            model.take(did);
            done += 1;
        }
        if random.below(60) == 0 {
            let (stop, tended) = tending.take().unwrap();
            stop.store(true, Ordering::Release);
            rounds += tended.await.unwrap();
            let next = Place::new();
            killed(place.path(), next.path());
            running.stop().await;
            place = next;
            running = place.start_with(quota).await;
            listed(&mut running, &model).await;
            tending = Some(tend(&running));
        }
    }
    let (stop, tended) = tending.take().unwrap();
    stop.store(true, Ordering::Release);
    rounds += tended.await.unwrap();
    println!("{done} operations, {refused} of them over quota, {rounds} collections");
    assert!(rounds > 10 && refused > 0, "{rounds} collections, {refused} over quota");
    listed(&mut running, &model).await;
    let stats = running.collect().await;
    assert_eq!((stats.damaged, stats.trash_reads), (0, 0));
    for (id, (seed, _)) in model.snapshots.clone() {
        let disk = disk(seed);
        assert_same(&running.content(&id).await[..disk.len()], &disk);
    }
    for (n, seed) in &model.volumes {
        let at = running.attach(*n, "", true).await;
        let disk = disk(*seed);
        assert_same(&Nbd::connect(&at.export_path).read_all()[..disk.len()], &disk);
    }
    // With everything given back nothing is left.
    for n in model.volumes.keys() {
        running.release(*n, true).await;
    }
    let snapshot_ids = model.snapshots.keys().cloned().collect();
    let request = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids };
    running.internal.release_snapshots(request).await.unwrap();
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_ten_thousand_operations() {
    model(42).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_part_of_ten_thousand_operations() {
    model(1_000_003).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_part_of_ten_thousand_operations() {
    model(77).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_part_of_ten_thousand_operations() {
    model(123_456_789).await;
}
