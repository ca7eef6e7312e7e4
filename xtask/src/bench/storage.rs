//! `cargo xtask bench storage`: what the block store, volumes and copies cost, each beside what
//! the machine allows and what others take for the same.

mod boots;
mod collecting;
mod cuts;
mod deployment;
mod images;
mod ingest;
mod lazy;
mod limits;
mod peers;
mod served;
mod space;
mod table;
mod volumes;

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    clock::{load, ran},
    publish,
    stack::binary,
};
use crate::{Result, root};
use images::Images;
use peers::Peer;

/// Between two measurements, for what the one before left to do.
const PAUSE: Duration = Duration::from_millis(200);

/// How it is measured.
struct Bench {
    rounds: usize,
    /// Of those, with programs that take ten times as long as ours and more.
    peers: usize,
    quick: bool,
    /// On the disk that is measured.
    dir: PathBuf,
}

impl Bench {
    /// Waits until the disk has nothing left to write.
    fn settle(&self) -> Result {
        if !self.quick {
            thread::sleep(PAUSE);
            ran(&mut Command::new("sync"))?;
        }
        Ok(())
    }
}

/// Runs all of it, prints the table, and adds it to `docs/benchmarks.md` unless `quick`.
pub(crate) fn run(quick: bool) -> Result {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let images = Images::obtain(&target.join("bench-images"), quick)?;
    // Nothing is built once time is taken.
    binary(quick)?;
    // Short, because unix sockets lie in it.
    let dir = tempfile::Builder::new().prefix("vms-").tempdir_in("/tmp")?;
    let (rounds, peers) = if quick { (2, 1) } else { (5, 3) };
    let bench = Bench { rounds, peers, quick, dir: dir.path().to_owned() };
    let first = !quick && ahead();
    let (before, begun) = (load(), Instant::now());
    let image = images.path("v3");
    let ingested = ingest::measure(&bench, &image)?;
    let mut rows = ingested.rows;
    let space = space::measure(&bench, &images)?;
    rows.push(space.row);
    rows.push(volumes::making(&bench, &image)?);
    rows.push(served::measure(&bench, &image)?);
    rows.push(volumes::imaging(&bench, &image, ingested.borg_again)?);
    rows.push(collecting::measure(&bench, &image)?);
    rows.extend(deployment::measure(
        &bench,
        &images,
        (ingested.new, ingested.data_mib),
        &space.second,
    )?);
    rows.extend(boots::measure(&bench, &image)?);
    let number = |row: &table::Row| row.number.parse::<u32>().unwrap_or_default();
    rows.sort_by_key(number);
    let mut out = String::from("\n## Storage (`cargo xtask bench storage`)\n\n");
    writeln!(
        out,
        "{} cores, load {before} before and {} after{}; {rounds} interleaved rounds, \
         {peers} of them with the peers, medians (spread); {:.0} minutes. Everyone's time ends when what was written is durable \
         (`syncfs`). Peers: {}; qemu-img and qemu-nbd with zstd. Glance is not compared: it is \
         not among what the tests install.\n\nImages, from Debian packages — {}.\n",
        limits::cores(),
        load(),
        if first { ", in an autogroup of its own at -20" } else { "" },
        begun.elapsed().as_secs_f64() / 60.0,
        Peer::ALL.map(Peer::told).join(", "),
        images.made_of,
    )?;
    table::write(&rows, &mut out)?;
    if cfg!(debug_assertions) {
        out += "\nNot optimised: these figures say only that it works.\n";
    }
    publish(&out, quick)
}

/// Puts this process and its children before others; whether that was allowed.
fn ahead() -> bool {
    rustix::process::setsid().is_ok() && fs::write("/proc/self/autogroup", "-20").is_ok()
}
