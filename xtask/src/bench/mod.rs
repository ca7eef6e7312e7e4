//! Measurements, each beside a limit or a peer taken in the same run.

mod clock;
mod ec2;
mod launch;
mod stack;
mod storage;
mod store;

use std::{fs::OpenOptions, io::Write as _};

use crate::{Result, root};

/// Runs the measurement `name`; `quick` for a small one that only shows that it works.
pub(crate) fn run(name: &str, quick: bool) -> Result {
    match name {
        // This program does the work itself, so it has to be optimised.
        "store" | "storage" if cfg!(debug_assertions) && !quick => optimised(name),
        "store" => store::run(),
        "storage" => storage::run(quick),
        "launch" => launch::run(),
        "ec2" => ec2::run(quick),
        other => {
            let text = format!("no measurement is called `{other}`: store, storage, launch, ec2");
            Err(text.into())
        }
    }
}

/// Runs the measurement in a release build of this program.
fn optimised(name: &str) -> Result {
    let mut again = crate::cargo();
    again.args(["run", "--release", "--quiet", "--package", "xtask", "--", "bench", name]);
    let status = again.status()?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended: {status}").into()) }
}

/// Prints a section and adds it to the page of all; of a quick run, only prints it.
fn publish(section: &str, quick: bool) -> Result {
    println!("{section}");
    if quick {
        return Ok(());
    }
    let path = root().join("docs/benchmarks.md");
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(file.write_all(section.as_bytes())?)
}
