//! The disk fills while disks are imported, scrubbed and collected: what is refused says so,
//! nothing is lost or spoilt, and all goes on when there is room again.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use harness::{ANN, MIB, Place, Running, assert_same, from, header, noise, pieces, reason};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Status, transport::Channel};
use vmint_api::storage::v1 as pb;
use vmint_storage::{Storage, StorageError};

type Users = pb::storage_service_client::StorageServiceClient<Channel>;

/// A file system of memory over a place, gone before it.
struct Small(Place);

impl Small {
    fn mount(size: &str) -> Result<Self, String> {
        let place = Place::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(place.path());
        let out = mount.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if out.status.success() { Ok(Self(place)) } else { Err(said) }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn skipped(why: &str) {
    eprintln!("SKIPPED: a full disk needs root and a tmpfs: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    writeln!(log, "storage on a full disk: {why}").unwrap();
}

/// A quarter of it is the same in all, so that packs are neither all alive nor all dead.
fn disk(seed: u64) -> Vec<u8> {
    [noise(1, MIB), noise(1000 + seed, 3 * MIB)].concat()
}

async fn import(mut users: Users, seed: u64) -> Result<String, Status> {
    let disk = disk(seed);
    let parts = tokio_stream::iter(pieces(header("raw", disk.len()), &disk));
    let made = users.import_snapshot(from(ANN, parts)).await?.into_inner();
    Ok(made.snapshot.unwrap().snapshot_id)
}

/// What a snapshot holds, read without writing anything.
async fn content(running: &mut Running, id: &str) -> Vec<u8> {
    let request = pb::ListSnapshotBlocksRequest {
        snapshot_id: id.to_owned(),
        page_size: 900,
        ..Default::default()
    };
    let page = running.direct.list_snapshot_blocks(from(ANN, request)).await.unwrap();
    let mut all = Vec::new();
    for block in page.into_inner().blocks {
        let request = pb::GetSnapshotBlockRequest {
            snapshot_id: id.to_owned(),
            block_index: block.block_index,
            block_token: block.block_token,
        };
        let block = running.direct.get_snapshot_block(from(ANN, request)).await.unwrap();
        all.extend_from_slice(&block.into_inner().content);
    }
    all
}

/// Collects and scrubs until told to stop; answers how often the disk was too full for it.
fn tend(storage: Storage, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) -> JoinHandle<u64> {
    let full = |done: Result<(), StorageError>| match done {
        Ok(()) => 0,
        Err(StorageError::DiskFull) => 1,
        Err(error) => panic!("{error:?}"),
    };
    tokio::spawn(async move {
        let mut refused = 0;
        while !stop.load(Ordering::Acquire) {
            refused += full(storage.collect().await.map(drop));
            refused += full(storage.tend_scrub().await);
            rounds.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        refused
    })
}

async fn scrub(running: &mut Running) -> pb::Scrub {
    let request = from(ANN, pb::DescribeScrubRequest {});
    running.upkeep.describe_scrub(request).await.unwrap().into_inner().scrub.unwrap()
}

/// When it began, in nanoseconds since 1970.
fn started(scrub: &pb::Scrub) -> i64 {
    let at = scrub.start_time.unwrap();
    at.seconds * 1_000_000_000 + i64::from(at.nanos)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_under_scrub_and_collection_spoils_nothing() {
    let small = match Small::mount("400m") {
        Ok(small) => small,
        Err(why) => return skipped(&why),
    };
    // A scrub a second, each as fast as it goes.
    let periodic = |config: &mut vmint_storage::Config| config.scrub_every_seconds = 1;
    let mut running = small.0.start_as(periodic).await;
    let filler = small.0.path().join("filler");
    fs::write(&filler, vec![1; 200 * MIB]).unwrap();

    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tending = tend(running.storage.clone(), stop.clone(), rounds.clone());
    // Three at a time come and every fourth goes again, until the disk is full, and on.
    let mut book = BTreeMap::new();
    let (mut seed, mut refused) = (0, 0);
    while refused < 6 {
        let mut work = JoinSet::new();
        for _ in 0..3 {
            seed += 1;
            let (users, seed) = (running.users.clone(), seed);
            work.spawn(async move { (seed, import(users, seed).await) });
        }
        while let Some(done) = work.join_next().await {
            match done.unwrap() {
                (seed, Ok(id)) => drop(book.insert(id, seed)),
                (_, Err(status)) => {
                    assert_eq!(reason(&status), "DISK_FULL", "{status:?}");
                    refused += 1;
                }
            }
        }
        assert!(seed < 500, "so small a disk holds less");
        let goes = book.keys().next().cloned().filter(|_| seed % 4 == 0);
        if let Some(id) = goes {
            match running.delete(&id).await {
                Ok(()) => drop(book.remove(&id)),
                Err(status) => assert_eq!(reason(&status), "DISK_FULL", "{status:?}"),
            }
        }
    }
    assert!(book.len() > 10 && rounds.load(Ordering::Relaxed) > 10, "{} made", book.len());
    // Full as it is, all that was answered is read.
    for (id, seed) in &book {
        assert_same(&content(&mut running, id).await, &disk(*seed));
    }
    let before = rounds.load(Ordering::Relaxed);
    while rounds.load(Ordering::Relaxed) < before + 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    // Room again: imports, deletions, collections and scrubs go on by themselves.
    fs::remove_file(&filler).unwrap();
    let again = import(running.users.clone(), 900).await.unwrap();
    book.insert(again, 900);
    let since = started(&scrub(&mut running).await);
    loop {
        let now = scrub(&mut running).await;
        assert_eq!((now.damaged_chunks, now.damaged_packs), (0, 0), "{now:?}");
        if started(&now) > since && now.state() == pb::ScrubState::Completed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Release);
    println!("{} made, {} times too full to tend", book.len(), tending.await.unwrap());
    running.stop().await;
    // And after a restart, with nothing else at work.
    let mut running = small.0.start().await;
    for (id, seed) in &book {
        assert_same(&content(&mut running, id).await, &disk(*seed));
    }
    for id in book.into_keys() {
        running.delete(&id).await.unwrap();
    }
    let left = running.collect().await;
    assert_eq!((left.chunks, left.damaged), (0, 0));
    running.stop().await;
}
