//! `cargo xtask bench launch`: from a request to a booted guest, phase by
//! phase, beside the same machine started by hand on a local raw file; and a
//! disk of 64 GiB beside one of 1 GiB.

mod launches;
mod plain;
mod report;

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::stack::{self, Stack, binary};
use crate::Result;
use plain::Recipe;
pub(super) use plain::{Ends, until_marker};
pub(super) use report::{Boots, Host, Runs};
use report::{Phases, Sample};

/// Of the disks, in GiB.
const SIZES: [u64; 2] = [1, 64];
const ROUNDS: usize = 5;
/// What a guest's kernel prints when the root disk is mounted and user space
/// begins: no network is needed to get there.
const MARKER: &str = "as init process";

/// Runs the comparison, prints it, and adds it to `docs/benchmarks.md`.
pub(crate) fn run() -> Result {
    let (runs, host) = gather(ROUNDS, false)?;
    super::publish(&report::write(&runs, &host)?, false)
}

/// Builds the disks, starts a deployment, and launches `rounds` times each.
pub(super) fn gather(rounds: usize, quick: bool) -> Result<(Runs, Host)> {
    let vmint = binary(quick)?;
    // Short, because unix sockets lie in it.
    let dir = tempfile::Builder::new().prefix("vmb-").tempdir_in("/tmp")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let disks = SIZES.map(|gib| dir.path().join(format!("{gib}.img")));
    for (gib, disk) in SIZES.iter().zip(&disks) {
        eprintln!("building a disk of {gib} GiB");
        let mut build = Command::new(&vmint);
        build.args(["image", "build", "--size-gib", &gib.to_string()]).arg(disk);
        stack::run(&mut build)?;
    }
    let stack = Stack::start(&vmint, &dir.path().join("d"), &[])?;
    let measured = runtime.block_on(measure(&stack, &disks, dir.path(), rounds));
    // Machines outlive the services, so they are ended first.
    let ended = runtime.block_on(stack.end_machines());
    drop(stack);
    let measured = measured?;
    ended?;
    Ok(measured)
}

async fn measure(
    stack: &Stack,
    disks: &[PathBuf; 2],
    dir: &Path,
    rounds: usize,
) -> Result<(Runs, Host)> {
    let mut images = Vec::new();
    for (gib, disk) in SIZES.iter().zip(disks) {
        images.push(stack.import(disk, &format!("bench-{gib}"))?);
    }
    let before = load()?;
    let (mut runs, mut cold, mut accelerator) = (Runs::default(), Vec::new(), String::new());
    for round in 0..=rounds {
        // Who was first comes last in the next round.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for n in order {
            let (launched, recipe) = stack.launch(&images[n]).await?;
            accelerator.clone_from(&launched.accelerator);
            let copied = dir.join("plain.img");
            let copying = Instant::now();
            copy(&disks[n], &copied)?;
            let copying = copying.elapsed().as_secs_f64() * 1000.0;
            let by_hand = plain(&recipe, &copied, dir)?;
            eprintln!(
                "round {round}, {} GiB ({accelerator}): vmint {:.0} ms to the first instruction, \
                 {:.0} ms to the kernel's last word; by hand {:.0} and {:.0} ms",
                SIZES[n],
                launched.phases.first_instruction,
                launched.phases.marker,
                by_hand.first_instruction,
                by_hand.marker,
            );
            if round == 0 {
                cold.push((SIZES[n], launched.phases));
            } else {
                let sample = Sample { vmint: launched.phases, plain: by_hand, copy_ms: copying };
                runs.add(n, sample);
            }
        }
    }
    let booted = boots(stack, &images[0], rounds).await?;
    let (load, commit_ms) = ((before, load()?), commit_ms(dir)?);
    Ok((runs, Host { accelerator, load, commit_ms, cold, boots: booted }))
}

/// Boots an image with nothing of it in memory, and again right after.
async fn boots(stack: &Stack, image: &str, rounds: usize) -> Result<Boots> {
    let mut boots = Boots::default();
    for round in 0..rounds {
        stack.forget_blocks().await?;
        let before = stack.storage_bytes()?;
        let (cold, _) = stack.launch(image).await?;
        let after = stack.storage_bytes()?;
        let (warm, _) = stack.launch(image).await?;
        eprintln!(
            "round {round}: user space after {:.0} ms cold, {:.0} ms warm",
            cold.phases.marker, warm.phases.marker
        );
        boots.cold.push(cold.phases.marker);
        boots.warm.push(warm.phases.marker);
        boots.read.push(after - before);
    }
    Ok(boots)
}

fn plain(recipe: &Recipe, disk: &Path, dir: &Path) -> Result<Phases> {
    let ran = recipe.run(disk, dir);
    fs::remove_file(disk)?;
    ran
}

/// A copy that keeps the holes.
fn copy(from: &Path, to: &Path) -> Result {
    stack::run(Command::new("cp").args(["--sparse=always", "--reflink=never"]).args([from, to]))?;
    Ok(())
}

/// What one journal commit costs here: the median of an append and its fdatasync.
fn commit_ms(dir: &Path) -> Result<f64> {
    let mut file = File::create(dir.join("commits"))?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let mut took = Vec::new();
    for n in 0..60_u64 {
        let at = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 600], n * 600)?;
        file.sync_data()?;
        took.push(at.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(report::median(&took))
}

fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}

/// Milliseconds since 1970.
#[allow(clippy::cast_precision_loss, reason = "microseconds since 1970 fit 53 bits")]
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as f64 / 1000.0
}
