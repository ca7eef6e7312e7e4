//! Ingest beside its limits, in interleaved rounds of one run: `cargo bench -p vmint-blocks`.
//!
//! The data are files of this machine (libraries and programs) put together in one that is in the
//! page cache, the limits BLAKE3 and zstd 1 of 64 KiB pieces in memory on all cores without any
//! disk, and BLAKE3 alone for a content that is known.

// Rates and sizes of a bench need no exact numbers.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use vmint_blocks::{BlockStore, Domain, Options};

const WANTED: usize = 512 << 20;
const PIECE: usize = 64 << 10;
const ROUNDS: usize = 5;

fn main() {
    let data = data();
    let mib = data.len() as f64 / f64::from(1 << 20);
    let cores = thread::available_parallelism().map_or(2, usize::from);
    println!("{mib:.0} MiB of files, {cores} cores, load {}", load());
    let domain = Domain::derive(b"bench", "bench");
    let mut times: [Vec<(f64, f64)>; 5] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(measure(|| limit(&data, cores, true)));
        let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a place");
        let source = dir.path().join("source");
        fs::write(&source, &data).expect("room");
        let source = Arc::new(File::open(source).expect("written above"));
        source.sync_all().expect("room");
        let store = BlockStore::open(&dir.path().join("store"), Options::default());
        let store = store.expect("a store");
        let ingest = || {
            let (size, source) = (data.len() as u64, source.clone());
            let read = move |at: u64, out: &mut [u8]| source.read_exact_at(out, at);
            let all = [Ok(0..size)];
            let done = store.ingest_from(domain, size, all, Arc::new(read), &mut |_| true);
            done.expect("durable")
        };
        times[1].push(measure(|| drop(ingest())));
        times[2].push(measure(|| limit(&data, cores, false)));
        times[3].push(measure(|| assert_eq!(ingest().new_bytes, 0)));
        let sealed = ingest();
        drop(store);
        let store = BlockStore::open(&dir.path().join("store"), Options::default());
        let store = store.expect("a store");
        let tree = store.tree(domain, sealed.root, sealed.size_bytes);
        let mut out = vec![0; 1 << 20];
        times[4].push(measure(|| {
            for at in (0..sealed.size_bytes).step_by(1 << 20) {
                let length = (sealed.size_bytes - at).min(1 << 20) as usize;
                tree.read_at(at, &mut out[..length]).expect("readable");
            }
        }));
    }
    let [hash_and_compress, new, hash, known, read] = times.map(|mut times| {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spread = times[ROUNDS - 1].0 / times[0].0;
        let rate = mib / times[ROUNDS / 2].0;
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        (rate, times[ROUNDS / 2].1, spread)
    });
    let line = |name: &str, (rate, cpu, spread): (f64, f64, f64)| {
        println!("{name:<40}{rate:>7.0} MiB/s {cpu:>6.2} CPU-s  (slowest/fastest {spread:.2})");
    };
    line("limit: BLAKE3 + zstd 1, all cores", hash_and_compress);
    line("ingest of new data, durable", new);
    line("limit: BLAKE3, all cores", hash);
    line("ingest of known data, durable", known);
    line("sequential read, one thread, verified", read);
    let ratio = |ours: (f64, f64, f64), limit: (f64, f64, f64)| {
        format!("{:.2} of the limit's rate, {:.2} of its CPU", ours.0 / limit.0, ours.1 / limit.1)
    };
    println!("new data: {}", ratio(new, hash_and_compress));
    println!("known data: {}", ratio(known, hash));
    println!("load {}", load());
}

/// Seconds of wall time and of CPU.
fn measure(work: impl FnOnce()) -> (f64, f64) {
    let (begun, before) = (Instant::now(), cpu());
    work();
    (begun.elapsed().as_secs_f64(), cpu() - before)
}

/// CPU seconds of this process so far, in steps of 10 ms.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = |at| after_name.split_whitespace().nth(at).and_then(|field| field.parse().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

fn limit(data: &[u8], cores: usize, compress: bool) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut zstd = zstd::bulk::Compressor::new(1).expect("zstd");
                let mut out = Vec::with_capacity(2 * PIECE);
                loop {
                    let at = next.fetch_add(PIECE, Ordering::Relaxed);
                    let Some(piece) = data.get(at..(at + PIECE).min(data.len())) else { break };
                    black_box(blake3::keyed_hash(&[7; 32], piece));
                    if compress {
                        out.clear();
                        zstd.compress_to_buffer(piece, &mut out).expect("room");
                    }
                }
            });
        }
    });
}

/// Files of this machine one after the other, each from a 4 KiB boundary like on a disk.
fn data() -> Vec<u8> {
    let mut data = Vec::with_capacity(WANTED);
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/bin", "/usr/share"].map(Into::into).into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(Path::new(&folder)) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(bytes) = fs::read(entry.path())
            {
                data.extend(&bytes[..bytes.len().min(16 << 20)]);
                data.resize(data.len().next_multiple_of(4096), 0);
            }
            if data.len() >= WANTED {
                data.truncate(WANTED);
                return data;
            }
        }
    }
    data
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}
