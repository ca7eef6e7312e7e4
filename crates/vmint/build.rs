//! Builds the guest agent that goes into our own images and tells where it lies.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let guest = here.join("../guest");
    for part in ["Cargo.toml", "Cargo.lock", "src"] {
        println!("cargo::rerun-if-changed={}", guest.join(part).display());
    }
    // A folder of its own: the outer cargo holds the lock of the usual one.
    let target = Path::new(&var("OUT_DIR")).join("guest");
    if !build(&guest, &target, false) {
        // Where the registry cannot be asked, what was fetched before will do.
        assert!(build(&guest, &target, true), "the guest agent does not build; see above");
    }
    let agent = target.join(TARGET).join("release/vmint-guest");
    assert!(agent.is_file(), "cargo did not make {}", agent.display());
    println!("cargo::rustc-env=VMINT_GUEST_AGENT={}", agent.display());
}

fn build(guest: &Path, target: &Path, offline: bool) -> bool {
    let mut cargo = Command::new(var("CARGO"));
    cargo.args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]);
    cargo.arg(guest.join("Cargo.toml")).arg("--target-dir").arg(target);
    if offline {
        cargo.arg("--offline");
    }
    // What the outer build was told, down to its wrapper and its flags, is not for this one.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        let outer = text.starts_with("CARGO_") && text != "CARGO_HOME" && !text.contains("REGISTR");
        if outer || text.starts_with("RUSTC") || text == "RUSTFLAGS" || text == "TARGET" {
            cargo.env_remove(name);
        }
    }
    // Linked statically, it runs in any guest whatever libraries it has.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    match cargo.status() {
        Ok(status) => status.success(),
        Err(error) => panic!("cargo does not run: {error}"),
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
