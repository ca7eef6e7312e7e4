//! A writer in a process of its own, to be killed, and what must be true then.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use vmint_store::{Store, Table, TxError};

use super::Note;

const DIR: &str = "VMINT_STORE_CRASH_DIR";

static LEFT: Table<u64, Note> = Table::new("left");
static RIGHT: Table<u64, Note> = Table::new("right")
    .with_unique("number", |_, note| vec![note.text.split('-').next().unwrap_or_default().into()]);

/// A running writer and the highest number it said was durable.
pub struct Writer {
    pub child: Child,
    acked: Arc<AtomicU64>,
    reader: thread::JoinHandle<()>,
}

impl Writer {
    /// Starts the test named `child`, of this test binary, on `dir`, and waits
    /// until it has committed something.
    pub fn start(dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acked = Arc::new(AtomicU64::new(0));
        let (started, first) = std::sync::mpsc::channel();
        let reader = thread::spawn({
            let acked = Arc::clone(&acked);
            move || {
                for line in lines.map_while(Result::ok) {
                    if let Some(n) = line.strip_prefix("acked ").and_then(|n| n.parse().ok()) {
                        acked.fetch_max(n, Ordering::SeqCst);
                        let _ = started.send(());
                    }
                }
            }
        });
        first.recv().expect("the writer commits something");
        Self { child, acked, reader }
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Kills it; returns the highest number it acknowledged.
    pub fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        self.acked.load(Ordering::SeqCst)
    }
}

/// What the child does: adds numbered pairs for ever, eight at a time, and says
/// of each number when it and all below it are durable.
pub fn write_for_ever() {
    let dir = env::var(DIR).expect("only the tests here start this one");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = super::try_open(Path::new(&dir)).unwrap();
        let mut next = last(&store) + 1;
        loop {
            let group: Vec<_> = (next..next + 8)
                .map(|n| {
                    let store = store.clone();
                    tokio::spawn(async move { pair(&store, n).await })
                })
                .collect();
            for task in group {
                task.await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acked {next}").and_then(|()| out.flush()).unwrap();
                next += 1;
            }
        }
    });
}

async fn pair(store: &Store, n: u64) {
    let done: Result<(), TxError<()>> = store
        .commit(move |tx| {
            LEFT.put(tx, &n, &text(n))?;
            RIGHT.put(tx, &n, &text(n))?;
            // Churn, so that old values are replaced too.
            LEFT.remove(tx, &(n / 2))?;
            Ok(tx.emit("pairs", &text(n))?)
        })
        .await;
    done.unwrap();
}

fn text(n: u64) -> Note {
    Note::of(&format!("{n}-{}", "x".repeat(usize::try_from(n % 700).unwrap())))
}

fn last(store: &Store) -> u64 {
    let mut last = 0;
    RIGHT
        .walk(store, |n, _| {
            last = n;
            Ok::<_, vmint_store::StoreError>(())
        })
        .unwrap();
    last
}

/// Everything acknowledged is there, and nothing is there in half.
pub fn verify(dir: &Path, acked: u64) -> u64 {
    let store = super::try_open(dir).expect("it opens after every crash");
    let last = last(&store);
    assert!(last >= acked, "{acked} was acknowledged, {last} is the last there");
    assert_eq!(store.sequence(), last, "each pair is one transaction");
    // Removed once a number twice as high came.
    let first_left = last / 2 + 1;
    let mut expected = 1;
    RIGHT
        .walk(&store, |n, note| {
            assert_eq!((n, &note), (expected, &text(expected)));
            expected += 1;
            let left = LEFT.get(&store, &n)?;
            assert_eq!(left, (n >= first_left).then(|| text(n)), "left of {n}, last {last}");
            Ok::<_, vmint_store::StoreError>(())
        })
        .unwrap();
    let tail = store.events("pairs", last.saturating_sub(3), 10).unwrap();
    let numbers: Vec<_> = tail.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (last.saturating_sub(3) + 1..=last).collect::<Vec<_>>());
    let report = store.scrub();
    assert_eq!(report.problems, Vec::<String>::new());
    last
}
