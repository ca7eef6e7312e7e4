//! One fuzzer for all targets: `VMINT_FUZZ_TARGET` says which one runs.
//!
//! A target is a file in `targets/` and a line in [`TARGETS`]: a name, what to do with any bytes,
//! and a few inputs to start from, made by code. Whatever it is given it may only return; a panic,
//! ten seconds or a GiB is a finding.
#![no_main]

mod seed;
mod targets;

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Something that takes bytes from strangers.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target, in the order `cargo xtask fuzz` runs them.
static TARGETS: &[Target] = &[
    targets::qcow2::TARGET,
    targets::vmdk::TARGET,
    targets::vhd::TARGET,
    targets::package::TARGET,
    targets::query::TARGET,
    targets::sigv4::TARGET,
    targets::json::TARGET,
    targets::bundle::TARGET,
    targets::chunked::TARGET,
    targets::objects::TARGET,
    targets::manifest::TARGET,
];

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

/// Picks the target and lays out what it starts from; or, asked to, only names all targets.
fn choose() {
    let wanted = std::env::var("VMINT_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == wanted) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        println!("{}", names.join(" "));
        std::process::exit(i32::from(!wanted.is_empty()));
    };
    if let Some(dir) = std::env::var_os("VMINT_FUZZ_CORPUS") {
        for (index, seed) in (target.seeds)().into_iter().enumerate() {
            let path = Path::new(&dir).join(format!("seed-{index:02}"));
            std::fs::write(path, seed).expect("the corpus can be written");
        }
    }
    CHOSEN.get_or_init(|| target.run);
}

fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(run) = CHOSEN.get() {
        run(data);
    }
});
