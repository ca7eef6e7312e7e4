//! Row 7: machines, by what measures launches; row 8 with what they run on here.

use std::path::Path;

use super::{
    Bench, lazy,
    peers::found,
    table::{Goal, Row},
};
use crate::{Result, bench::launch};

/// Launches of each kind: a boot takes seconds where it is emulated.
const ROUNDS: usize = 3;

/// `image` is what lies on a disk beside the system.
pub(super) fn measure(bench: &Bench, image: &Path) -> Result<Vec<Row>> {
    let names = [
        ("7", "launch: request to the guest's first instruction"),
        ("8", "boot to user space with nothing in memory"),
    ];
    if !found("qemu-system-x86_64") {
        let absent = |(number, what)| Row::absent(number, what, "QEMU is not installed");
        return Ok(names.map(absent).into());
    }
    let (runs, host) = launch::gather(if bench.quick { 1 } else { ROUNDS }, bench.quick)?;
    let (ours, by_hand, copied) = runs.first_instructions();
    let accelerator = host.accelerator.to_uppercase();
    let [small, large] = ours[..] else { return Err("two sizes".into()) };
    let mut seventh = Row {
        number: names[0].0,
        what: format!("{}, {accelerator}", names[0].1),
        ours: format!("1 GiB {small:.0} ms; 64 GiB {large:.0} ms"),
        limit: format!("the same QEMU by hand on a raw file {by_hand:.0} ms"),
        peers: vec![format!("copy the disk, then start it by hand {copied:.0} ms")],
        ..Row::default()
    };
    let goal = (1.1 * by_hand + 12.0 * host.commit_ms) / by_hand;
    let goal = (goal * 100.0).round() / 100.0;
    seventh.goals.push(
        Goal::at_most("× by hand (1.1 and 12 commits)", small / by_hand, goal).because(
            "from QEMU's start the sandbox, the block server's connection and QMP take longer than \
         what the goal leaves over plain QEMU",
        ),
    );
    seventh.goals.push(
        Goal::at_most("× 1 GiB for 64 GiB", large / small, 1.05)
            .because("nothing depends on the size; this is the noise of few rounds"),
    );
    let eighth = lazy::measure(bench, image, &host.accelerator)?;
    Ok(vec![seventh, eighth])
}
