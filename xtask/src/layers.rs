//! Crates import only what lies below them.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::{Result, root};

/// What each crate of ours may import of ours; the order is the layers'.
const MAY: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("performance", &[]),
    ("blocks", &[]),
    ("images", &[]),
    ("guest", &[]),
    ("vmm", &["ids"]),
    ("ec2", &["ids"]),
    ("api", &[]),
    ("store", &["ids"]),
    ("disk", &["blocks", "ids"]),
    ("rpc", &["api", "ids"]),
    ("daemon", &["api", "rpc"]),
    ("console", &["api", "rpc", "ids"]),
    ("catalog", SHARED),
    ("permissions", SHARED),
    ("marketplace", SHARED),
    ("launcher", SHARED),
    ("storage", SHARED),
    ("gateway", GATEWAY),
];

/// What a service may import: everything below the services.
const SHARED: &[&str] =
    &["ids", "performance", "blocks", "images", "vmm", "api", "store", "disk", "rpc", "daemon"];
const GATEWAY: &[&str] = &[
    "ids",
    "performance",
    "blocks",
    "images",
    "vmm",
    "ec2",
    "api",
    "store",
    "disk",
    "rpc",
    "daemon",
    "console",
];

/// What stands above everything.
const TOP: &[&str] = &["vmint", "vmint-tests", "xtask"];

/// Fails on the first arrow that points up or sideways, naming all of them.
pub(crate) fn run() -> Result {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&out.stdout)?;
    let may: BTreeMap<_, _> = MAY.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        if TOP.contains(&name) {
            continue;
        }
        let short = name.strip_prefix("vmint-").unwrap_or(name);
        let Some(allowed) = may.get(short) else {
            wrong.push(format!("{name} has no layer: give it one in xtask/src/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let ours = target.strip_prefix("vmint-").or(TOP.contains(&target).then_some(target));
            // A test may use what the code may not, but not what stands above it.
            let test = dependency["kind"].as_str() == Some("dev");
            let Some(short_target) = ours else { continue };
            arrows += 1;
            let below = allowed.contains(&short_target) || test && SHARED.contains(&short_target);
            if !below {
                wrong.push(format!("{name} -> {target} points up or sideways"));
            }
        }
    }
    wrong.extend(engines()?);
    if wrong.is_empty() {
        println!("layers: {arrows} arrows, all down");
        return Ok(());
    }
    Err(wrong.join("\n").into())
}

/// Names that only one crate may write: sled's and QEMU's image tool's.
fn engines() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for entry in walk(&root().join("crates"))? {
        let text = std::fs::read_to_string(&entry)?;
        let path = entry.strip_prefix(root()).unwrap_or(&entry).display().to_string();
        let in_tests = path.contains("/tests/") || path.ends_with("tests.rs");
        if text.contains("sled::") && !path.starts_with("crates/store/") {
            wrong.push(format!("{path} names sled; only crates/store may"));
        }
        if text.contains("Command::new(\"qemu-img\"") && !in_tests {
            wrong.push(format!("{path} runs qemu-img; only tests may, as an oracle"));
        }
        let lines = text.lines().count();
        if lines > 400 {
            wrong.push(format!("{path} has {lines} lines; split it below 400"));
        }
    }
    Ok(wrong)
}

/// Every Rust source below `dir`, but for build output.
fn walk(dir: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" {
            found.extend(walk(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
