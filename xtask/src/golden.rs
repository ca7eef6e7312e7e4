//! Pages that are made from code: a test holds each against the code, and writes
//! it when asked to.

use std::process::Command;

use crate::{Result, root};

/// Writes them all.
pub(crate) fn run() -> Result {
    let ran = Command::new(env!("CARGO"))
        .args(["test", "--package", "vmint-gateway", "--lib", "golden_"])
        .env("VMINT_GOLDEN", "1")
        .current_dir(root())
        .status()?;
    if ran.success() { Ok(()) } else { Err("a page could not be written".into()) }
}
