//! Pages that are made from code: a test holds each against the code, and writes
//! it when asked to.

use crate::Result;

/// Writes them all.
pub(crate) fn run() -> Result {
    let ran = crate::cargo()
        .args(["test", "--package", "vmint-gateway", "--lib", "golden_"])
        .env("VMINT_GOLDEN", "1")
        .status()?;
    if ran.success() { Ok(()) } else { Err("a page could not be written".into()) }
}
