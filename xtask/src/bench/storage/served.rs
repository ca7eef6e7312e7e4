//! Row 9: a volume is read and written at random over NBD.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use vmint_blocks::{BlockStore, Options};
use vmint_disk::{Export, Volume};

use super::{
    Bench, images,
    ingest::{domain, take_in},
    peers::found,
    table::{Goal, Row},
};
use crate::{
    Result,
    bench::clock::{cpu, median, ran},
};

/// What fits any cache.
const FEW_MIB: u64 = 32;
/// Memory for chunks that holds little of the image.
const SMALL_MIB: usize = 64;
const DEPTH: &str = "16";

/// What is measured of a server.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// As fio calls it.
    kind: &'static str,
    mib: u64,
}

/// One who serves a disk.
struct Server {
    name: &'static str,
    socket: PathBuf,
    /// Ours is this process.
    process: Option<Child>,
    work: Vec<Work>,
    /// A second and CPU microseconds, by what is done.
    rates: Vec<Vec<f64>>,
    costs: Vec<Vec<f64>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Server {
    fn new(name: &'static str, socket: PathBuf, work: &[Work]) -> Self {
        let none = || work.iter().map(|_| Vec::new()).collect();
        Self { name, socket, process: None, work: work.to_vec(), rates: none(), costs: none() }
    }

    /// One that `command` starts.
    fn start(mut self, command: &mut Command) -> Result<Self> {
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let until = Instant::now() + Duration::from_secs(10);
        while !self.socket.exists() {
            if Instant::now() > until {
                return Err(format!("{} did not start", self.name).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Measures it once; the first round only warms up.
    fn round(&mut self, first: bool, seconds: u32) -> Result {
        let pid = self.process.as_ref().map_or_else(|| "self".to_owned(), |of| of.id().to_string());
        for (n, work) in self.work.iter().enumerate() {
            let before = cpu(&pid);
            let rate = fio(&self.socket, *work, seconds)?;
            if !first {
                self.rates[n].push(rate);
                self.costs[n].push(1e6 * (cpu(&pid) - before) / (rate * f64::from(seconds)));
            }
        }
        Ok(())
    }

    fn rate(&self, n: usize) -> f64 {
        median(&self.rates[n])
    }

    fn shown(&self) -> String {
        let one = |(n, work): (usize, &Work)| {
            let (rate, cost) = (self.rate(n) / 1000.0, median(&self.costs[n]));
            format!("{} of {} MiB {rate:.0} k/s, {cost:.0} CPU-µs", work.kind, work.mib)
        };
        self.work.iter().enumerate().map(one).collect::<Vec<_>>().join("; ")
    }
}

pub(super) fn measure(bench: &Bench, image: &Path) -> Result<Row> {
    const WHAT: &str = "4 KiB at random over NBD, 16 at once, warm";
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
    let few = FEW_MIB.min(mib);
    let reads = [few, mib].map(|mib| Work { kind: "randread", mib });
    let writes = [Work { kind: "randwrite", mib }];
    let ours = Options::default();
    let small = Options { cache_bytes: SMALL_MIB << 20, ..Options::default() };
    let mut exports = Vec::new();
    let mut serve = |name: &'static str, place: &str, options: Options, work: &[Work]| {
        let place = dir.join(place);
        fs::create_dir_all(&place)?;
        let server = Server::new(name, place.join("sock"), work);
        exports.push(export(&place, &raw, options)?);
        Ok::<_, Box<dyn std::error::Error>>(server)
    };
    let mut servers = vec![
        serve("vmint", "r", ours.clone(), &reads)?,
        serve("vmint", "w", ours.clone(), &writes)?,
        serve("vmint with little memory", "s", small, &reads[1..])?,
    ];
    let nbdkit = found("nbdkit");
    if nbdkit {
        // Of its own, as what is written would be read otherwise.
        let copy = dir.join("written.raw");
        fs::copy(&raw, &copy)?;
        for (file, work) in [(&raw, &reads[..]), (&copy, &writes[..])] {
            let socket = file.with_extension("sock");
            let mut command = Command::new("nbdkit");
            command.args(["-f", "-U"]).arg(&socket).arg("file").arg(file);
            servers.push(Server::new("nbdkit", socket, work).start(&mut command)?);
        }
    }
    let qemu = found("qemu-img") && found("qemu-nbd");
    if qemu {
        let packed = dir.join("data.qcow2");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"]);
        ran(convert.arg(&raw).arg(&packed))?;
        let socket = dir.join("qemu.sock");
        let mut command = Command::new("qemu-nbd");
        command.args(["-r", "-t", "-f", "qcow2", "-k"]).arg(&socket).arg(&packed);
        servers.push(Server::new("qemu-nbd", socket, &reads).start(&mut command)?);
    }
    for round in 0..=bench.rounds {
        for server in &mut servers {
            server.round(round == 0, if bench.quick { 1 } else { 2 })?;
        }
    }
    drop(exports);
    row(WHAT, &servers, mib, ours.cache_bytes >> 20, (nbdkit, qemu))
}

/// `there` says whether nbdkit and qemu-nbd are among the servers.
fn row(
    what: &str,
    servers: &[Server],
    mib: u64,
    memory_mib: usize,
    there: (bool, bool),
) -> Result<Row> {
    let ((nbdkit, qemu), few) = (there, FEW_MIB.min(mib));
    let [read, written, little, others @ ..] = servers else { return Err("servers".into()) };
    let mut row = Row {
        number: "9",
        what: what.to_owned(),
        ours: format!(
            "memory for {memory_mib} MiB of chunks: {}; {}; for {SMALL_MIB} MiB: {}",
            read.shown(),
            written.shown(),
            little.shown()
        ),
        ..Row::default()
    };
    match others {
        [nbd_read, nbd_written, ..] if nbdkit => {
            row.limit =
                format!("nbdkit on a plain file, {}; {}", nbd_read.shown(), nbd_written.shown());
            let goal = |of: String, ours: f64, theirs: f64| Goal::at_least(of, ours / theirs, 0.8);
            let in_memory = "each request goes through the volume's layers and the tree before the \
                             cache, where nbdkit copies out of the page cache; the client has a \
                             core of the two";
            row.goals.extend([
                goal(format!("× nbdkit, {few} MiB"), read.rate(0), nbd_read.rate(0))
                    .because(in_memory),
                goal(format!("× nbdkit, all {mib} MiB"), read.rate(1), nbd_read.rate(1)).because(
                    "a read outside the cache unpacks and verifies a whole chunk of 64 KiB on \
                     average for 4 KiB",
                ),
                goal("× nbdkit, writes".to_owned(), written.rate(0), nbd_written.rate(0))
                    .because("a block's first write also goes into the map's log"),
            ]);
        }
        _ => row.peers.push("nbdkit is not installed".to_owned()),
    }
    match others.last() {
        Some(last) if qemu => {
            row.peers.push(format!("qemu-nbd on qcow2 -c, {}", last.shown()));
            row.goals.extend([
                Goal::at_least("× qemu-nbd, all", read.rate(1) / last.rate(1), 1.0)
                    .because("a read outside the cache unpacks and verifies a whole chunk"),
                Goal::at_least(
                    "× qemu-nbd, all, with little memory",
                    little.rate(0) / last.rate(1),
                    1.0,
                )
                .because(
                    "qemu-nbd unpacks a cluster of 64 KiB and verifies nothing; ours unpacks and \
                     verifies a chunk, and a read at random meets the larger ones most often",
                ),
            ]);
        }
        _ => row.peers.push("qemu-nbd is not installed".to_owned()),
    }
    Ok(row)
}

/// A volume over what `raw` holds, served in `place`.
fn export(place: &Path, raw: &Path, options: Options) -> Result<Export> {
    let store = BlockStore::open(&place.join("blocks"), options)?;
    let sealed = take_in(&store, domain(), raw)?;
    let tree = Arc::new(store.tree(domain(), sealed.root, sealed.size_bytes));
    let volume = Volume::create(&place.join("volume"), sealed.size_bytes, Some(("image", tree)))?;
    Ok(Export::start(&place.join("sock"), 0o600, Arc::new(volume))?)
}

/// How many a second are done for so many seconds.
fn fio(socket: &Path, work: Work, seconds: u32) -> Result<f64> {
    let mut fio = Command::new("fio");
    fio.args(["--name=r", "--ioengine=nbd", "--bs=4k", "--norandommap", "--randrepeat=0"]);
    fio.args(["--time_based", "--output-format=json"]).arg(format!("--rw={}", work.kind));
    fio.arg(format!("--uri=nbd+unix:///?socket={}", socket.display()));
    fio.args([&format!("--size={}M", work.mib), &format!("--runtime={seconds}")]);
    fio.arg(format!("--iodepth={DEPTH}"));
    let said = ran(&mut fio)?;
    let json = said.find('{').map_or("", |at| &said[at..]);
    let report: serde_json::Value = serde_json::from_str(json)?;
    let done = if work.kind == "randread" { "read" } else { "write" };
    let rate = report["jobs"][0][done]["iops"].as_f64();
    Ok(rate.ok_or("fio reports no rate")?)
}
