//! A gRPC client that is not ours.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// `buf`, fetched from npm once; none where it cannot be.
#[must_use]
pub fn buf() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("target").join("buf");
    let program = dir.join("node_modules").join(".bin").join("buf");
    if !program.is_file() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&dir);
        npm.arg("@bufbuild/buf").output().ok()?;
    }
    program.is_file().then_some(program)
}
