//! Measurements, each beside a limit or a peer taken in the same run.

mod launch;
mod store;

use crate::Result;

/// Runs the measurement `name`.
pub(crate) fn run(name: &str) -> Result {
    match name {
        "store" => store::run(),
        "launch" => launch::run(),
        other => Err(format!("no measurement is called `{other}`: store, launch").into()),
    }
}
