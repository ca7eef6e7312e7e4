//! The table.

use std::fmt::Write as _;

use super::{ROUNDS, SIZES};
use crate::Result;

/// Milliseconds since the launch was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phases {
    /// The answer came: the launch is durable and PENDING.
    pub(super) accepted: f64,
    /// The root volume's record was made.
    pub(super) volumes: f64,
    /// The machine's shim ran.
    pub(super) shim: f64,
    /// QEMU was started.
    pub(super) qemu: f64,
    /// QEMU said that the guest runs.
    pub(super) first_instruction: f64,
    /// The console's first byte was read.
    pub(super) first_byte: f64,
    /// The kernel handed over to user space.
    pub(super) marker: f64,
}

/// One launch each way, one right after the other.
pub(super) struct Sample {
    pub(super) vmint: Phases,
    pub(super) plain: Phases,
    /// What copying the disk first cost, which no figure holds.
    pub(super) copy_ms: f64,
}

/// Every sample, by size.
#[derive(Default)]
pub(in crate::bench) struct Runs([Vec<Sample>; SIZES.len()]);

impl Runs {
    pub(super) fn add(&mut self, size: usize, sample: Sample) {
        self.0[size].push(sample);
    }

    /// Milliseconds to the first instruction, of vmint by the sizes, by hand, and by hand after a
    /// copy of the small disk.
    pub(in crate::bench) fn first_instructions(&self) -> (Vec<f64>, f64, f64) {
        let of = |samples: &[Sample], what: fn(&Sample) -> f64| {
            median(&samples.iter().map(what).collect::<Vec<_>>())
        };
        let ours = self.0.iter().map(|all| of(all, |s| s.vmint.first_instruction)).collect();
        let by_hand = of(&self.0[0], |s| s.plain.first_instruction);
        (ours, by_hand, by_hand + of(&self.0[0], |s| s.copy_ms))
    }
}

/// One image booted cold and warm, in milliseconds to user space.
#[derive(Default)]
pub(in crate::bench) struct Boots {
    pub(in crate::bench) cold: Vec<f64>,
    pub(in crate::bench) warm: Vec<f64>,
    /// Bytes that the storage service read for a cold one, of packs and of requests.
    pub(in crate::bench) read: Vec<f64>,
}

/// What it was measured on.
pub(in crate::bench) struct Host {
    pub(in crate::bench) accelerator: String,
    /// Before and after.
    pub(super) load: (String, String),
    pub(in crate::bench) commit_ms: f64,
    pub(in crate::bench) boots: Boots,
    /// The launches of the first round, which read everything for the first time.
    pub(super) cold: Vec<(u64, Phases)>,
}

type Phase = (&'static str, fn(&Phases) -> f64);

const PHASES: [Phase; 7] = [
    ("accepted", |p| p.accepted),
    ("volume made", |p| p.volumes),
    ("shim started", |p| p.shim),
    ("QEMU started", |p| p.qemu),
    ("first guest instruction", |p| p.first_instruction),
    ("first console byte", |p| p.first_byte),
    ("user space", |p| p.marker),
];

/// Launch to first instruction may cost this times the plain machine's …
const RATIO: f64 = 1.1;
/// … and this many commits.
const COMMITS: f64 = 12.0;
/// How much a large disk may cost over a small one.
const SIZE: f64 = 1.05;
const MIB: f64 = 1_048_576.0;
/// A spread above this is noise.
const NOISE: f64 = 0.25;

pub(super) fn write(runs: &Runs, host: &Host) -> Result<String> {
    let mut out = String::from("\n## From request to guest (`cargo xtask bench launch`)\n\n");
    let cores = std::thread::available_parallelism()?;
    writeln!(
        out,
        "{cores} cores, load {} before and {} after; every guest under {}; {ROUNDS} interleaved \
         rounds after one to warm up; milliseconds since the request: median (spread, best). By hand: \
         the same QEMU command on a copy of the raw file, which was made before the clock \
         started. A journal commit (append and fdatasync) took {:.2} ms.\n",
        host.load.0,
        host.load.1,
        host.accelerator.to_uppercase(),
        host.commit_ms,
    )?;
    write!(out, "| |")?;
    for gib in SIZES {
        write!(out, " vmint {gib} GiB | by hand {gib} GiB |")?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(SIZES.len() * 2))?;
    let mut noisy = false;
    for (name, of) in PHASES {
        write!(out, "| {name} |")?;
        for samples in &runs.0 {
            let vmint: Vec<f64> = samples.iter().map(|s| of(&s.vmint)).collect();
            let plain: Vec<f64> = samples.iter().map(|s| of(&s.plain)).collect();
            for values in [vmint, plain] {
                let middle = median(&values);
                if middle == 0.0 {
                    write!(out, " |")?;
                    continue;
                }
                noisy |= name == "first guest instruction" && spread(&values) > NOISE;
                let best = values.iter().copied().fold(f64::INFINITY, f64::min);
                write!(out, " {middle:.0} ({:.0} %, {best:.0}) |", spread(&values) * 100.0)?;
            }
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    goals(&mut out, runs, host)?;
    if noisy {
        writeln!(
            out,
            "- **Noisy:** first instructions spread over {:.0} %; other work ran on the machine.",
            NOISE * 100.0
        )?;
    }
    Ok(out)
}

fn goals(out: &mut String, runs: &Runs, host: &Host) -> Result {
    let middle =
        |n: usize, of: fn(&Sample) -> f64| median(&runs.0[n].iter().map(of).collect::<Vec<_>>());
    let best =
        |n: usize, of: fn(&Sample) -> f64| runs.0[n].iter().map(of).fold(f64::INFINITY, f64::min);
    for (n, gib) in SIZES.iter().enumerate() {
        let vmint = middle(n, |s| s.vmint.first_instruction);
        let plain = middle(n, |s| s.plain.first_instruction);
        let goal = RATIO * plain + COMMITS * host.commit_ms;
        let marker = middle(n, |s| s.vmint.marker / s.plain.marker);
        writeln!(
            out,
            "- {gib} GiB, to the first instruction: {vmint:.0} ms, {:.2} × by hand; the goal of \
             {RATIO} × by hand + {COMMITS} commits is {goal:.0} ms: {}; best against best {:.2} ×. To \
             user space: {marker:.2} × by hand, best against best {:.2} ×. Copying the disk first \
             would have added {:.0} ms.",
            vmint / plain,
            verdict(vmint <= goal),
            best(n, |s| s.vmint.first_instruction) / best(n, |s| s.plain.first_instruction),
            best(n, |s| s.vmint.marker) / best(n, |s| s.plain.marker),
            middle(n, |s| s.copy_ms),
        )?;
    }
    for (name, of) in [PHASES[4], PHASES[6]] {
        // Neighbours in one round shared the machine's mood.
        let ratios: Vec<f64> = runs.0[0]
            .iter()
            .zip(&runs.0[1])
            .map(|(small, large)| of(&large.vmint) / of(&small.vmint))
            .collect();
        let (middle, spread) = (median(&ratios), spread(&ratios));
        writeln!(
            out,
            "- 64 GiB beside 1 GiB, {name}: {middle:.2} × (spread {:.0} %), goal {SIZE}: {}.",
            spread * 100.0,
            verdict(middle <= SIZE),
        )?;
    }
    let Boots { cold, warm, read } = &host.boots;
    writeln!(
        out,
        "- With nothing of the image in memory (storage killed, its packs out of the page cache), \
         to user space: {:.0} ms, warm {:.0} ms: {:.2} ×, goal 1.15: {}. For it storage read {:.1} \
         MiB.",
        median(cold),
        median(warm),
        median(cold) / median(warm),
        verdict(median(cold) <= 1.15 * median(warm)),
        median(read) / MIB,
    )?;
    for (gib, cold) in &host.cold {
        writeln!(
            out,
            "- The very first launch of {gib} GiB: {:.0} ms to the first instruction, {:.0} ms to \
             user space.",
            cold.first_instruction, cold.marker
        )?;
    }
    Ok(())
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How far apart the ends lie, of the median.
fn spread(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    (high - low) / median(values)
}
