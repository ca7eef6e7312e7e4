//! Rows 6, 9 and 10: a volume is made, read and imaged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
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
use vmint_disk::{Export, Volume};
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
    bench::clock::{Took, clock, cpu, median, ran},
};

const ACCOUNT: &str = "100000000001";
/// Of one block of EBS direct, bytes.
const SENT: usize = 512 << 10;
/// Where a volume is slow to read at random: twice the cache's bytes and more.
const CACHED_MIB: u64 = 32;
const DEPTH: &str = "16";

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
        let snapshot = snapshot(&storage).await?;
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

/// A completed snapshot of a GiB with some data.
async fn snapshot(storage: &Storage) -> Result<String> {
    let direct = Blocks(storage.clone());
    let request = pb::StartSnapshotRequest { volume_size_gib: 1, ..Default::default() };
    let started = direct.start_snapshot(from(request)).await?.into_inner();
    let snapshot_id = started.snapshot.ok_or("no snapshot")?.snapshot_id;
    for block_index in 0..16 {
        let content = images::xorshift(u64::try_from(block_index)? + 1, SENT);
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
        changed_blocks_count: 16,
        ..Default::default()
    };
    direct.complete_snapshot(from(request)).await?;
    let snapshots = vmint_storage::Public(storage.clone());
    let until = Instant::now() + Duration::from_secs(30);
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

/// A server that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Row 9.
pub(super) fn reading(bench: &Bench, image: &Path) -> Result<Row> {
    const WHAT: &str = "4 KiB random reads over NBD, 16 at once, warm";
    if !found("fio") {
        return Ok(Row::absent("9", WHAT, "fio is not installed"));
    }
    eprintln!("row 9");
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let dir = dir.path();
    // Only data, so that no read is of a hole.
    let raw = dir.join("data.raw");
    let mut data = images::data(image)?;
    data.truncate(data.len() / 4096 * 4096);
    fs::write(&raw, &data)?;
    let mib = (data.len() >> 20) as u64;
    drop(data);
    let store = BlockStore::open(&dir.join("blocks"), Options::default())?;
    let sealed = take_in(&store, domain(), &raw)?;
    let tree = Arc::new(store.tree(domain(), sealed.root, sealed.size_bytes));
    let volume = Volume::create(&dir.join("volume"), sealed.size_bytes, Some(("image", tree)))?;
    let export = Export::start(&dir.join("ours.sock"), 0o600, Arc::new(volume))?;
    let mut servers = vec![("vmint", dir.join("ours.sock"), None)];
    let mut absent = Vec::new();
    let nbdkit = dir.join("nbdkit.sock");
    let mut serve = Command::new("nbdkit");
    serve.args(["-f", "-r", "-U"]).arg(&nbdkit).arg("file").arg(&raw);
    start("nbdkit", &mut serve, nbdkit, &mut servers, &mut absent)?;
    let packed = dir.join("data.qcow2");
    if found("qemu-img") && found("qemu-nbd") {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"]);
        ran(convert.arg(&raw).arg(&packed))?;
    }
    let socket = dir.join("qemu.sock");
    let mut serve = Command::new("qemu-nbd");
    serve.args(["-r", "-t", "-f", "qcow2", "-k"]).arg(&socket).arg(&packed);
    start("qemu-nbd", &mut serve, socket, &mut servers, &mut absent)?;
    let seconds = if bench.quick { "1" } else { "2" };
    let mut rates = vec![[Vec::new(), Vec::new()]; servers.len()];
    let mut costs = vec![[Vec::new(), Vec::new()]; servers.len()];
    for round in 0..=bench.rounds {
        for (n, (_, socket, server)) in servers.iter().enumerate() {
            for (which, span) in [CACHED_MIB.min(mib), mib].into_iter().enumerate() {
                let pid = server.as_ref().map(|server: &Server| server.0.id().to_string());
                let pid = pid.as_deref().unwrap_or("self");
                let before = cpu(pid);
                let rate = fio(socket, span, seconds)?;
                // The first round only warms up.
                if round > 0 {
                    rates[n][which].push(rate);
                    costs[n][which]
                        .push(1e6 * (cpu(pid) - before) / (rate * seconds.parse::<f64>()?));
                }
            }
        }
    }
    drop(export);
    let show = |n: usize, which: usize| {
        let (rate, cost) = (median(&rates[n][which]), median(&costs[n][which]));
        format!("{:.0} k/s, {cost:.0} CPU-µs", rate / 1000.0)
    };
    let both = |n: usize| format!("{CACHED_MIB} MiB {}; all {mib} MiB {}", show(n, 0), show(n, 1));
    let mut row = Row { number: "9", what: WHAT.to_owned(), ours: both(0), ..Row::default() };
    for (n, (name, ..)) in servers.iter().enumerate().skip(1) {
        let ratio = |which: usize| median(&rates[0][which]) / median(&rates[n][which]);
        if *name == "nbdkit" {
            row.limit = format!("nbdkit on the plain file, {}", both(n));
            let of = format!(
                "× nbdkit, what fits {} MiB of cache",
                Options::default().cache_bytes >> 20
            );
            row.goals.push(Goal::at_least(of, ratio(0), 0.8).because(
                "each request goes through the volume's layers and the tree before the cache, \
                 where nbdkit copies out of the page cache; the client has a core of the two",
            ));
            row.goals.push(Goal::at_least("× nbdkit, all", ratio(1), 0.8).because(
                "a read outside the cache unpacks and verifies a whole chunk of 64 KiB on average \
                 for 4 KiB",
            ));
        } else {
            row.peers.push(format!("{name} on qcow2 -c, {}", both(n)));
            row.goals.push(Goal::at_least(format!("× {name}, all"), ratio(1), 1.0));
        }
    }
    row.peers.extend(absent);
    Ok(row)
}

type Serving = (&'static str, PathBuf, Option<Server>);

fn start(
    name: &'static str,
    command: &mut Command,
    socket: PathBuf,
    servers: &mut Vec<Serving>,
    absent: &mut Vec<String>,
) -> Result {
    if !found(name) {
        absent.push(format!("{name} is not installed"));
        return Ok(());
    }
    let server = Server(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let until = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        if Instant::now() > until {
            return Err(format!("{name} did not start").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    servers.push((name, socket, Some(server)));
    Ok(())
}

/// Reads a second at random of the first `mib` MiB.
fn fio(socket: &Path, mib: u64, seconds: &str) -> Result<f64> {
    let mut fio = Command::new("fio");
    fio.args(["--name=r", "--ioengine=nbd", "--rw=randread", "--bs=4k", "--norandommap"]);
    fio.args(["--randrepeat=0", "--time_based", "--output-format=json"]);
    fio.arg(format!("--uri=nbd+unix:///?socket={}", socket.display()));
    fio.args([&format!("--size={mib}M"), &format!("--runtime={seconds}")]);
    fio.arg(format!("--iodepth={DEPTH}"));
    let said = ran(&mut fio)?;
    let json = said.find('{').map_or("", |at| &said[at..]);
    let report: serde_json::Value = serde_json::from_str(json)?;
    let rate = report["jobs"][0]["read"]["iops"].as_f64();
    Ok(rate.ok_or("fio reports no rate")?)
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
