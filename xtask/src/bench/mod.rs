//! Measurements, each beside a limit or a peer taken in the same run.

mod launch;
mod store;

use std::process::Command;

use crate::{Result, root};

/// Runs the measurement `name`.
pub(crate) fn run(name: &str) -> Result {
    match name {
        // This program does the work itself, so it has to be optimised.
        "store" if cfg!(debug_assertions) => optimised(name),
        "store" => store::run(),
        "launch" => launch::run(),
        other => Err(format!("no measurement is called `{other}`: store, launch").into()),
    }
}

/// Runs the measurement in a release build of this program.
fn optimised(name: &str) -> Result {
    let mut again = Command::new("cargo");
    again.args(["run", "--release", "--quiet", "--package", "xtask", "--", "bench", name]);
    let status = again.current_dir(root()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended: {status}").into()) }
}
