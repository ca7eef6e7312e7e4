//! `cargo xtask bench store`: durable commits a second, beside what the disk
//! allows and what others reach in the same minute.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use vmint_store::{Options, Store, StoreError, Table, TxError};

use crate::root;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const CLIENTS: [usize; 4] = [1, 8, 64, 128];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const SUSTAINED: Duration = Duration::from_secs(10);
/// Between two measurements, for what the one before left to do.
const PAUSE: Duration = Duration::from_millis(300);
/// Bytes; about what an image's record takes.
const RECORD: usize = 600;

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
}

static ROWS: Table<u128, Row> = Table::new("rows");

/// A way to make one record durable.
#[derive(Clone)]
enum Engine {
    Store(Store),
    Queue(mpsc::Sender<Ask>),
}

/// One record for an engine behind a queue.
struct Ask {
    key: u128,
    body: Vec<u8>,
    done: oneshot::Sender<()>,
}

const NAMES: [&str; 5] =
    ["raw log (limit)", "vmint", "SQLite", "SQLite, grouped", "sled flush (not durable)"];

/// Runs the comparison, prints it, and adds it to `docs/benchmarks.md`.
pub(crate) fn run() -> Result {
    let target = root().join("target");
    fs::create_dir_all(&target)?;
    let dir = tempfile::Builder::new().prefix("bench-store").tempdir_in(target)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let engines = (0..NAMES.len()).map(|n| open(n, dir.path())).collect::<Result<Vec<_>>>()?;
    let mut rates = vec![vec![Vec::new(); NAMES.len()]; CLIENTS.len()];
    for round in 0..=ROUNDS {
        for (at, clients) in CLIENTS.into_iter().enumerate() {
            // Each engine comes behind each other one once, and finds a disk
            // that has nothing left to write.
            for n in (0..engines.len()).map(|n| (n + round) % engines.len()) {
                std::thread::sleep(PAUSE);
                Command::new("sync").status()?;
                let rate = runtime.block_on(measure(&engines[n], clients, ROUND))?;
                // The first round only warms up.
                if round > 0 {
                    rates[at][n].push(rate);
                }
            }
        }
    }
    let mut table = report(&rates)?;
    table += &sustain(&runtime, &engines)?;
    println!("{table}");
    let path = root().join("docs/benchmarks.md");
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    write!(file, "{table}")?;
    Ok(())
}

fn report(rates: &[Vec<Vec<f64>>]) -> Result<String> {
    let mut out = String::from("\n## Durable commits a second (`cargo xtask bench store`)\n\n");
    let load = fs::read_to_string("/proc/loadavg")?;
    let cores = std::thread::available_parallelism()?;
    writeln!(
        out,
        "{cores} cores, load {}; {RECORD}-byte records, one a commit; {ROUNDS} interleaved rounds \
         of {} ms, medians. SQLite: WAL, synchronous FULL; grouped: what waits shares one of its \
         transactions.\n",
        load.split(' ').next().unwrap_or_default(),
        ROUND.as_millis()
    )?;
    let names = NAMES.join(" | ");
    writeln!(out, "| clients | {names} | vmint / limit | vmint / SQLite | limit's spread |")?;
    writeln!(out, "|---|{}---|---|---|", "---|".repeat(NAMES.len()))?;
    for (clients, rates) in CLIENTS.iter().zip(rates) {
        let medians: Vec<f64> = rates.iter().map(|r| median(r)).collect();
        write!(out, "| {clients} |")?;
        for rate in &medians {
            write!(out, " {rate:.0} |")?;
        }
        let low = rates[0].iter().copied().fold(f64::INFINITY, f64::min);
        let high = rates[0].iter().copied().fold(0.0, f64::max);
        let spread = (high - low) / medians[0] * 100.0;
        let noisy = if spread > 25.0 { " (noisy)" } else { "" };
        let (limit, sqlite) = (medians[1] / medians[0], medians[1] / medians[2]);
        writeln!(out, " {limit:.2} | {sqlite:.1} | {spread:.0} %{noisy} |")?;
    }
    Ok(out)
}

/// Commits for much longer than memory can hold back from the view, beside the
/// raw log before and after.
fn sustain(runtime: &tokio::runtime::Runtime, engines: &[Engine]) -> Result<String> {
    let clients = CLIENTS[CLIENTS.len() - 1];
    let mut rates = Vec::new();
    for (engine, how_long) in [(0, ROUND * 3), (1, SUSTAINED), (0, ROUND * 3)] {
        std::thread::sleep(PAUSE);
        Command::new("sync").status()?;
        rates.push(runtime.block_on(measure(&engines[engine], clients, how_long))?);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let limit = f64::midpoint(rates[0], rates[2]);
    Ok(format!(
        "\n{clients} clients for {} s without a pause: vmint {:.0} a second, {:.2} of the raw log \
         ({:.0} before, {:.0} after); merging and checkpoints included. The process, with all \
         engines in it, had {} resident at most.\n",
        SUSTAINED.as_secs(),
        rates[1],
        rates[1] / limit,
        rates[0],
        rates[2],
        resident.unwrap_or("?").trim(),
    ))
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Commits a second that `clients` reach, each waiting for its answer.
async fn measure(engine: &Engine, clients: usize, how_long: Duration) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let tasks: Vec<_> =
        (0..clients).map(|_| tokio::spawn(client(engine.clone(), Arc::clone(&stop)))).collect();
    tokio::time::sleep(how_long).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

/// Commits until told to stop; how often.
async fn client(engine: Engine, stop: Arc<AtomicBool>) -> Result<u32, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        // Scattered keys, as ids are.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(n);
        let body = vec![n.to_le_bytes()[0]; RECORD];
        match &engine {
            Engine::Store(store) => {
                let row = Row { body };
                let put: Result<(), TxError<StoreError>> =
                    store.commit(move |tx| Ok(ROWS.put(tx, &key, &row)?)).await;
                put.map_err(|error| error.to_string())?;
            }
            Engine::Queue(queue) => {
                let (to, answer) = oneshot::channel();
                let ask = Ask { key, body, done: to };
                queue.send(ask).await.map_err(|_| "the engine ended")?;
                answer.await.map_err(|_| "the engine failed")?;
            }
        }
        done += 1;
    }
    Ok(done)
}

fn open(n: usize, dir: &Path) -> Result<Engine> {
    let dir = dir.join(n.to_string());
    fs::create_dir_all(&dir)?;
    Ok(match n {
        0 => serve(raw_log(&dir)?, 256),
        1 => Engine::Store(Store::open(&dir, Options::default())?),
        2 => serve(sqlite(&dir)?, 1),
        3 => serve(sqlite(&dir)?, 256),
        _ => serve(raw_sled(&dir)?, 256),
    })
}

/// One thread that makes what waits durable, `group` at most at once.
fn serve(mut write: impl FnMut(&[Ask]) -> Result + Send + 'static, group: usize) -> Engine {
    let (queue, mut asks) = mpsc::channel::<Ask>(1024);
    std::thread::spawn(move || {
        while let Some(first) = asks.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < group
                && let Ok(ask) = asks.try_recv()
            {
                batch.push(ask);
            }
            if let Err(error) = write(&batch) {
                eprintln!("an engine failed: {error}");
                return;
            }
            for ask in batch {
                let _ = ask.done.send(());
            }
        }
    });
    Engine::Queue(queue)
}

/// What the disk allows: preallocated zeros, one write and one sync a group.
fn raw_log(dir: &Path) -> Result<impl FnMut(&[Ask]) -> Result + Send + 'static> {
    const SIZE: u64 = 256 << 20;
    let mut file = File::create(dir.join("log"))?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let (mut at, mut buffer) = (0, Vec::new());
    Ok(move |batch: &[Ask]| {
        buffer.clear();
        for ask in batch {
            buffer.extend_from_slice(&ask.key.to_be_bytes());
            buffer.extend_from_slice(&ask.body);
        }
        if at + buffer.len() as u64 > SIZE {
            at = 0;
        }
        file.write_all_at(&buffer, at)?;
        file.sync_data()?;
        at += buffer.len() as u64;
        Ok(())
    })
}

fn sqlite(dir: &Path) -> Result<impl FnMut(&[Ask]) -> Result + Send + 'static> {
    let db = rusqlite::Connection::open(dir.join("db"))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE rows (key BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID;",
    )?;
    Ok(move |batch: &[Ask]| {
        db.execute_batch("BEGIN IMMEDIATE")?;
        {
            let mut insert = db.prepare_cached("INSERT INTO rows VALUES (?1, ?2)")?;
            for ask in batch {
                insert.execute((ask.key.to_be_bytes(), &ask.body))?;
            }
        }
        db.execute_batch("COMMIT")?;
        Ok(())
    })
}

fn raw_sled(dir: &Path) -> Result<impl FnMut(&[Ask]) -> Result + Send + 'static> {
    let db = sled::Config::new()
        .path(dir.join("db"))
        .cache_capacity(16 << 20)
        .flush_every_ms(None)
        .open()?;
    Ok(move |batch: &[Ask]| {
        let mut writes = sled::Batch::default();
        for ask in batch {
            writes.insert(&ask.key.to_be_bytes(), ask.body.as_slice());
        }
        db.apply_batch(writes)?;
        db.flush()?;
        Ok(())
    })
}
