//! Row 8: a real guest boots from a disk of which it needs a part: what is fetched for it, beside
//! what the guest touches and what the disk holds.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tonic::Request;
use vmint_api::{
    storage::v1::{self as pb, storage_internal_service_server::StorageInternalService as _},
    types::v1::SagaStep,
};
use vmint_blocks::{BlockStore, ExtentKind, Options, Tree};
use vmint_daemon::ServiceConfig;
use vmint_disk::{Base, Export, Span, Volume};
use vmint_images::Source as _;
use vmint_storage::{Config, Internal, Quota, Storage};
use vmint_store::Store;

use super::{
    Bench,
    ingest::{domain, take_in},
    peers::found,
    table::{Goal, Row, Series},
    volumes::{ACCOUNT, SENT, send},
};
use crate::{
    Result,
    bench::{
        clock::{clock, median, ran},
        launch::{Ends, now, until_marker},
        stack::binary,
    },
};

const MIB: f64 = 1_048_576.0;
const GRAIN: u64 = 4096;
/// What a boot may take, emulated on a busy host.
const BOOT: Duration = Duration::from_mins(3);
/// Of the disk; what a boot needs lies in the first part of it.
const SIZE_GIB: u64 = 3;
const BEHIND: u64 = 512 << 20;

/// One boot: milliseconds to user space, and what it cost.
#[derive(Debug, Clone, Copy, Default)]
struct Boot {
    millis: f64,
    /// MiB of chunks that were fetched, as the guest sees them and as they lie in packs.
    chunks: f64,
    packs: f64,
}

/// What the guest reads of its disk.
#[derive(Debug, Clone, Copy)]
struct Touched {
    /// MiB of data, each block once.
    once: f64,
    /// MiB of all reads, of holes too.
    all: f64,
}

/// `image` is what else lies on the disk; `accelerator` is what launches use here.
pub(super) fn measure(bench: &Bench, image: &Path, accelerator: &str) -> Result<Row> {
    eprintln!("row 8");
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let dir = dir.path();
    let disk = disk(bench, image, &dir.join("disk"))?;
    let data = data_mib(&disk)?;
    let touched = touched(&dir.join("t"), &disk, accelerator)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let place = Place { dir: dir.to_owned(), accelerator: accelerator.to_owned() };
    let (mut cold, mut warm, mut ahead) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let mut service = place.open(0).await?;
        let snapshot =
            send(&service.storage, i32::try_from(SIZE_GIB)?, sent(&File::open(&disk)?)).await?;
        service.close().await;
        // The first boot, which is written down.
        service = place.open(600).await?;
        service.boot(&place, &snapshot, 1).await?;
        service.close().await;
        for round in 0..bench.rounds.min(3) as u64 {
            service = place.open(0).await?;
            cold.push(service.boot(&place, &snapshot, 10 * round + 2).await?);
            warm.push(service.boot(&place, &snapshot, 10 * round + 3).await?);
            service.close().await;
            service = place.open(600).await?;
            ahead.push(service.boot(&place, &snapshot, 10 * round + 4).await?);
            service.close().await;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let copied = copy(bench, &disk, dir)?;
    Ok(row(accelerator, data, touched, [&cold, &warm, &ahead], copied.as_ref()))
}

fn row(
    accelerator: &str,
    data: f64,
    touched: Touched,
    boots: [&[Boot]; 3],
    copied: Option<&Series>,
) -> Row {
    let of = |boots: &[Boot], what: fn(&Boot) -> f64| {
        median(&boots.iter().map(what).collect::<Vec<_>>())
    };
    let millis = boots.map(|boots| of(boots, |boot| boot.millis));
    let chunks = boots.map(|boots| of(boots, |boot| boot.chunks));
    let packs = boots.map(|boots| of(boots, |boot| boot.packs));
    let [cold, warm, ahead] = millis;
    let mut row = Row {
        number: "8",
        what: format!("boot to user space with nothing in memory, {}", accelerator.to_uppercase()),
        ours: format!(
            "{cold:.0} ms, {:.1} MiB of chunks fetched ({:.1} MiB of packs read); read ahead as an \
             earlier boot read {ahead:.0} ms, {:.1} MiB ({:.1})",
            chunks[0], packs[0], chunks[2], packs[2]
        ),
        limit: format!(
            "all in memory {warm:.0} ms; the guest touches {:.1} MiB of data (and reads {:.1} MiB \
             in all) of the {data:.0} MiB that a disk of {SIZE_GIB} GiB holds",
            touched.once, touched.all
        ),
        ..Row::default()
    };
    row.goals.push(
        Goal::at_most("× warm", cold / warm, 1.15)
            .because("reading, unpacking and verifying chunks while the guest waits for them"),
    );
    row.goals.push(
        Goal::at_most("× warm, read ahead", ahead / warm, 1.15)
            .because("what is read ahead competes with an emulated guest for the cores"),
    );
    row.goals.push(
        Goal::at_most("× what the guest touches, fetched", chunks[0] / touched.once, 1.3)
            .because("a chunk is fetched whole: 64 KiB on average"),
    );
    row.goals.push(
        Goal::at_most("× what the guest touches, read ahead", chunks[2] / touched.once, 1.3)
            .because("the same chunks"),
    );
    row.goals.push(Goal::at_most("of the disk's data", chunks[0] / data, 0.1));
    match copied {
        Some(copied) => row.peers.push(format!(
            "qemu-img convert copies the whole disk before a boot may begin: {data:.0} MiB in {}",
            copied.millis()
        )),
        None => row.peers.push("qemu-img is not installed".to_owned()),
    }
    row
}

/// Our demo system, and behind its partitions what `image` holds.
fn disk(bench: &Bench, image: &Path, path: &Path) -> Result<PathBuf> {
    let mut build = Command::new(binary(bench.quick)?);
    build.args(["image", "build", "--size-gib", &SIZE_GIB.to_string()]).arg(path);
    ran(&mut build)?;
    let (from, to) = (File::open(image)?, File::options().write(true).open(path)?);
    let (mut at, mut piece) = (0, vec![0; 1 << 20]);
    while let Some(range) = from.next_data(at)? {
        at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at)?.min(piece.len());
            from.read_exact_at(&mut piece[..len], at)?;
            // What does not fit is left out; nobody reads it.
            if at + (len as u64) < (SIZE_GIB << 30) - BEHIND {
                to.write_all_at(&piece[..len], BEHIND + at)?;
            }
            at += len as u64;
        }
    }
    to.sync_all()?;
    Ok(path.to_owned())
}

fn data_mib(disk: &Path) -> Result<f64> {
    let (file, mut at, mut bytes) = (File::open(disk)?, 0, 0);
    while let Some(range) = file.next_data(at)? {
        bytes += range.end - range.start;
        at = range.end;
    }
    Ok(mib(bytes))
}

/// The blocks of a disk that hold something.
fn sent(disk: &File) -> impl Iterator<Item = Result<(i32, Vec<u8>)>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let mut next = || {
            let Some(range) = disk.next_data(at)? else { return Ok(None) };
            let index = range.start / SENT as u64;
            at = (index + 1) * SENT as u64;
            let mut block = vec![0; SENT];
            // A disk is a whole number of blocks long.
            disk.read_exact_at(&mut block, at - SENT as u64)?;
            Ok(Some((i32::try_from(index)?, block)))
        };
        next().transpose()
    })
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// A tree that counts what is read of it.
struct Counted {
    tree: Tree,
    grains: Mutex<HashSet<u64>>,
    all: AtomicU64,
}

impl Base for Counted {
    fn size(&self) -> u64 {
        Base::size(&self.tree)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let end = offset + buf.len() as u64;
        self.all.fetch_add(buf.len() as u64, Ordering::Relaxed);
        for extent in self.tree.extents(offset..end) {
            if let (range, ExtentKind::Data) = extent? {
                let grains = range.start / GRAIN..range.end.div_ceil(GRAIN);
                self.grains.lock().unwrap_or_else(PoisonError::into_inner).extend(grains);
            }
        }
        Base::read_at(&self.tree, offset, buf)
    }

    fn span(&self, offset: u64) -> std::io::Result<Span> {
        self.tree.span(offset)
    }
}

/// Boots once, and counts what the guest reads.
fn touched(dir: &Path, disk: &Path, accelerator: &str) -> Result<Touched> {
    let store = BlockStore::open(&dir.join("blocks"), Options::default())?;
    let sealed = take_in(&store, domain(), disk)?;
    let tree = store.tree(domain(), sealed.root, sealed.size_bytes);
    let counted = Counted { tree, grains: Mutex::default(), all: AtomicU64::new(0) };
    let counted = Arc::new(counted);
    let base: Arc<dyn Base> = counted.clone();
    let volume = Volume::create(&dir.join("volume"), sealed.size_bytes, Some(("disk", base)))?;
    let export = Export::start(&dir.join("sock"), 0o600, Arc::new(volume))?;
    boot(accelerator, export.path())?;
    let grains = counted.grains.lock().unwrap_or_else(PoisonError::into_inner);
    let once = grains.len() as u64 * GRAIN;
    Ok(Touched { once: mib(once), all: mib(counted.all.load(Ordering::Relaxed)) })
}

/// Where the service's directory is, and how machines run.
struct Place {
    dir: PathBuf,
    accelerator: String,
}

/// The service without its doors, and what it reads from.
struct Service {
    storage: Storage,
    blocks: BlockStore,
}

impl Place {
    /// Opens it with nothing in memory.
    async fn open(&self, trace_seconds: u64) -> Result<Service> {
        let dir = &self.dir;
        let packs = dir.join("blocks/packs");
        for pack in fs::read_dir(packs).into_iter().flatten() {
            let pack = File::open(pack?.path())?;
            pack.sync_all()?;
            rustix::fs::fadvise(&pack, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let mut config = Config::new(ServiceConfig::under("storage", dir, dir, dir));
        config.exports_dir = dir.join("e");
        config.quota = Quota::default();
        config.boot_trace_seconds = trace_seconds;
        let options = Options { cache_bytes: config.cache_bytes, ..Options::default() };
        let records = Store::open(&dir.join("records"), vmint_store::Options::default())?;
        let blocks = BlockStore::open(&dir.join("blocks"), options)?;
        let storage = Storage::new(records, blocks.clone(), &[7; 32], config);
        storage.restore().await?;
        Ok(Service { storage, blocks })
    }
}

impl Service {
    /// Boots a machine from a new volume.
    async fn boot(&self, place: &Place, snapshot: &str, n: u64) -> Result<Boot> {
        let before = (self.blocks.stats().loaded_bytes, read_so_far());
        let request = pb::EnsureVolumesRequest {
            saga: Some(SagaStep { epoch: 1, ..Default::default() }),
            account_id: ACCOUNT.to_owned(),
            volumes: vec![pb::NewVolume {
                volume_id: format!("vol-{n:017x}"),
                snapshot_id: snapshot.to_owned(),
                instance_id: format!("i-{n:017x}"),
                device_name: "/dev/sda1".to_owned(),
                delete_on_termination: true,
                boot: true,
                ..Default::default()
            }],
        };
        let internal = Internal(self.storage.clone());
        let made = internal.ensure_volumes(Request::new(request)).await?.into_inner();
        let socket = made.volumes.into_iter().next().ok_or("no volume")?.export_path;
        let accelerator = place.accelerator.clone();
        let booted = tokio::task::spawn_blocking(move || {
            boot(&accelerator, Path::new(&socket)).map_err(|error| error.to_string())
        });
        let millis = booted.await??;
        let after = (self.blocks.stats().loaded_bytes, read_so_far());
        Ok(Boot { millis, chunks: mib(after.0 - before.0), packs: mib(after.1 - before.1) })
    }

    async fn close(self) {
        self.storage.close().await;
    }
}

/// Bytes that this process has read: of packs, and little else while a machine boots.
fn read_so_far() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let read = text.lines().find_map(|line| line.strip_prefix("rchar:"));
    read.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Boots from the disk at a socket; milliseconds to user space.
fn boot(accelerator: &str, socket: &Path) -> Result<f64> {
    let disk = json!({
        "driver": "nbd",
        "node-name": "root",
        "server": {"type": "unix", "path": socket},
    });
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-machine", "q35", "-display", "none"]);
    command.args([
        "-accel",
        accelerator,
        "-cpu",
        if accelerator == "kvm" { "host" } else { "max" },
    ]);
    command.args(["-m", "256M", "-serial", "stdio", "-blockdev", &disk.to_string()]);
    command.args(["-device", "nvme,drive=root,serial=vol"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let began = now();
    let mut qemu = Ends(command.spawn()?);
    let output = qemu.0.stdout.take().ok_or("QEMU has no output")?;
    let read = thread::spawn(move || until_marker(output));
    let until = Instant::now() + BOOT;
    while !read.is_finished() {
        if Instant::now() > until {
            return Err("a machine did not boot in time".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let (_, marker) = read.join().map_err(|_| "reading the console failed")??;
    Ok(marker - began)
}

/// The whole disk copied, from a cold page cache.
fn copy(bench: &Bench, disk: &Path, dir: &Path) -> Result<Option<Series>> {
    if !found("qemu-img") {
        return Ok(None);
    }
    let (mut copied, to) = (Series::default(), dir.join("copied"));
    for _ in 0..bench.rounds.min(3) {
        rustix::fs::fadvise(&File::open(disk)?, 0, None, rustix::fs::Advice::DontNeed)?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "raw"]).arg(disk).arg(&to);
        copied.add(clock(|| ran(&mut convert))?.1);
        fs::remove_file(&to)?;
    }
    Ok(Some(copied))
}
