//! Rows 6 and 10: a volume is made and imaged.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tonic::Request;
use vmint_api::storage::v1::{
    self as pb, block_service_server::BlockService as _,
    storage_service_server::StorageService as _, volume_service_server::VolumeService as _,
};
use vmint_blocks::{BlockStore, Options};
use vmint_daemon::ServiceConfig;
use vmint_disk::Volume;
use vmint_rpc::Caller;
use vmint_storage::{Blocks, Config, Quota, Storage, Volumes};
use vmint_store::Store;

use super::{
    Bench, images,
    ingest::{domain, take_in},
    limits,
    peers::found,
    table::{Goal, Row, Series},
};
use crate::{
    Result,
    bench::clock::{Took, clock, median, ran},
};

pub(super) const ACCOUNT: &str = "100000000001";
/// Of one block of EBS direct, bytes.
pub(super) const SENT: usize = 512 << 10;

fn from<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::account(ACCOUNT.to_owned(), "bench"));
    request
}

/// Row 6.
pub(super) fn making(bench: &Bench, image: &Path) -> Result<Row> {
    eprintln!("row 6");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let storage = open(dir.path())?;
    let mut made = [Series::default(), Series::default()];
    let (mut commit, mut overlay) = (Series::default(), Series::default());
    runtime.block_on(async {
        storage.restore().await?;
        // A GiB with some data.
        let some = |n| Ok((i32::from(n), images::xorshift(u64::from(n) + 1, SENT)));
        let blocks = (0..16_u8).map(some);
        let snapshot = send(&storage, 1, blocks).await?;
        let volumes = Volumes(storage.clone());
        for round in 0..bench.rounds * 8 {
            for took in limits::commits(dir.path(), 4)? {
                commit.add(took);
            }
            // Who was first comes last in the next round.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for n in order {
                let request = pb::CreateVolumeRequest {
                    snapshot_id: snapshot.clone(),
                    size_gib: [1, 64 << 10][n],
                    request_id: vmint_rpc::new_request_id(),
                    ..Default::default()
                };
                let begun = Instant::now();
                let answer = volumes.create_volume(from(request)).await?.into_inner();
                made[n].add(Took { wall: begun.elapsed().as_secs_f64(), cpu: 0.0 });
                let volume_id = answer.volume.ok_or("no volume")?.volume_id;
                let request =
                    pb::DeleteVolumeRequest { volume_id, request_id: vmint_rpc::new_request_id() };
                volumes.delete_volume(from(request)).await?;
            }
        }
        storage.close().await;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    if found("qemu-img") {
        for _ in 0..bench.rounds {
            let file = dir.path().join("overlay.qcow2");
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(image).arg(&file);
            let ((), took) = clock(|| {
                ran(&mut create)?;
                Ok(fs::File::open(&file)?.sync_all()?)
            })?;
            overlay.add(took);
            fs::remove_file(file)?;
        }
    }
    let [small, large] = made;
    let mut row = Row {
        number: "6",
        what: "a volume of an image, recorded durably (the storage service's own operation)"
            .to_owned(),
        ours: format!("1 GiB {}; 64 TiB {}", small.millis(), large.millis()),
        limit: format!("one journal commit (append and fdatasync) {}", commit.millis()),
        ..Row::default()
    };
    let of = "× one commit";
    row.goals.push(Goal::at_most(of, small.wall() / commit.wall(), 3.0).because(format!(
        "{:.2} ms beyond the one commit in it; a commit alone spread {:.0} %",
        (small.wall() - commit.wall()) * 1000.0,
        commit.spread() * 100.0,
    )));
    let of = "× 1 GiB for 64 TiB";
    row.goals
        .push(Goal::at_most(of, large.wall() / small.wall(), 1.05).because(large.beside(&small)));
    if overlay.0.is_empty() {
        row.peers.push("qemu-img is not installed".to_owned());
    } else {
        row.peers.push(format!("qemu-img create of an overlay, synced {}", overlay.millis()));
        let of = "× qemu-img create";
        row.goals.push(Goal::at_most(of, small.wall() / overlay.wall(), 0.3));
    }
    Ok(row)
}

/// The service without its doors.
fn open(dir: &Path) -> Result<Storage> {
    let mut config = Config::new(ServiceConfig::under("storage", dir, dir, dir));
    config.exports_dir = dir.join("e");
    config.quota = Quota::default();
    let records = Store::open(&dir.join("records"), vmint_store::Options::default())?;
    let blocks = BlockStore::open(&dir.join("blocks"), Options::default())?;
    Ok(Storage::new(records, blocks, &[7; 32], config))
}

/// A completed snapshot that holds these blocks.
pub(super) async fn send(
    storage: &Storage,
    volume_size_gib: i32,
    blocks: impl Iterator<Item = Result<(i32, Vec<u8>)>>,
) -> Result<String> {
    let direct = Blocks(storage.clone());
    let request = pb::StartSnapshotRequest { volume_size_gib, ..Default::default() };
    let started = direct.start_snapshot(from(request)).await?.into_inner();
    let snapshot_id = started.snapshot.ok_or("no snapshot")?.snapshot_id;
    let mut changed_blocks_count = 0;
    for block in blocks {
        let (block_index, content) = block?;
        changed_blocks_count += 1;
        let checksum = Sha256::digest(&content).to_vec().into();
        let block = pb::SnapshotBlock { block_index, content: content.into(), checksum };
        let request = pb::PutSnapshotBlockRequest {
            snapshot_id: snapshot_id.clone(),
            block: Some(block),
            ..Default::default()
        };
        direct.put_snapshot_block(from(request)).await?;
    }
    let request = pb::CompleteSnapshotRequest {
        snapshot_id: snapshot_id.clone(),
        changed_blocks_count,
        ..Default::default()
    };
    direct.complete_snapshot(from(request)).await?;
    let snapshots = vmint_storage::Public(storage.clone());
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        let request = pb::GetSnapshotRequest { snapshot_id: snapshot_id.clone() };
        let found = snapshots.get_snapshot(from(request)).await?.into_inner().snapshot;
        if found.is_some_and(|found| found.state() == pb::SnapshotState::Completed) {
            return Ok(snapshot_id);
        }
        if Instant::now() > until {
            return Err("a snapshot stays pending".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Row 10; `borg` is what reading a whole image again took it, in seconds.
pub(super) fn imaging(bench: &Bench, image: &Path, borg: Option<f64>) -> Result<Row> {
    eprintln!("row 10");
    let dirty_mib = if bench.quick { 16 } else { 64 };
    let data = images::data(image)?;
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let (mut alone, mut of) = (Series::default(), [Series::default(), Series::default()]);
    let mut pauses = Vec::new();
    for round in 0..bench.rounds {
        // Other bytes each time, which compress as well as the image's.
        let written: Vec<u8> = data
            .iter()
            .cycle()
            .take(dirty_mib << 20)
            .map(|byte| byte ^ u8::try_from(round % 255 + 1).unwrap_or(1))
            .collect();
        let place = dir.path().join(format!("{round}"));
        fs::create_dir_all(&place)?;
        let plain = place.join("plain");
        fs::write(&plain, &written)?;
        let store = BlockStore::open(&place.join("alone"), Options::default())?;
        bench.settle()?;
        alone.add(clock(|| take_in(&store, domain(), &plain).map(drop))?.1);
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for n in order {
            let place = place.join(n.to_string());
            let store = BlockStore::open(&place.join("blocks"), Options::default())?;
            let sealed = take_in(&store, domain(), image)?;
            let tree = store.tree(domain(), sealed.root, sealed.size_bytes);
            let size = [sealed.size_bytes, 16 << 40][n];
            let base: Arc<dyn vmint_disk::Base> = Arc::new(tree.clone());
            let volume = Volume::create(&place.join("volume"), size, Some(("image", base)))?;
            for (piece, at) in written.chunks(1 << 20).zip(0_u64..) {
                // Scattered over what the image holds.
                volume.write_at((at * 3 % (sealed.size_bytes >> 20)) << 20, piece)?;
            }
            volume.flush()?;
            bench.settle()?;
            let ((), took) = clock(|| {
                let frozen = volume.freeze()?;
                let dirty = frozen.dirty();
                let read = &mut |range: std::ops::Range<u64>, buffer: &mut [u8]| {
                    frozen.read_at(range.start, buffer)
                };
                store.edit(&tree, frozen.size(), &dirty, read)?;
                Ok(())
            })?;
            of[n].add(took);
            let (_, pause) = clock(|| Ok(volume.freeze()?))?;
            pauses.push(pause.wall * 1000.0);
        }
        fs::remove_dir_all(place)?;
    }
    let mib = f64::from(u32::try_from(dirty_mib)?);
    let [small, large] = of;
    let mut row = Row {
        number: "10",
        what: format!("snapshot of a volume with {dirty_mib} MiB written, durable"),
        ours: format!(
            "{}; of 16 TiB {}; the freeze itself {:.1} ms",
            small.rate(mib),
            large.rate(mib),
            median(&pauses)
        ),
        limit: format!("ingest of as many bytes {}", alone.rate(mib)),
        noisy: alone.noisy(),
        ..Row::default()
    };
    let why = "an edit also lists what is dirty, re-cuts to the next old cut on both sides of each \
               written piece, and rewrites the nodes above; it cuts on one thread";
    row.goals
        .push(Goal::at_most("× ingest of as much", small.wall() / alone.wall(), 1.3).because(why));
    row.goals.push(
        Goal::at_most("× the image's size for 16 TiB", large.wall() / small.wall(), 1.05)
            .because("the walk over the volume's map to find what is dirty, and noise"),
    );
    match borg {
        Some(borg) => {
            row.peers.push(format!("borg reads the whole disk again: {:.0} ms", borg * 1000.0));
            row.goals.push(Goal::at_least("× borg", borg / small.wall(), 10.0));
        }
        None => row.peers.push("borg is not installed".to_owned()),
    }
    Ok(row)
}
