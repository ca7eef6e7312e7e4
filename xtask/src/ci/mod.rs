//! Everything that must pass, from a clean checkout.

mod packages;

use std::{
    env,
    time::{Duration, Instant},
};

pub(crate) use packages::has;

use crate::{Result, clients, fuzz, layers};

/// One check and how it went.
struct Check {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Installs what is needed, runs every check, and fails if one did.
pub(crate) fn run() -> Result {
    packages::install()?;
    let mut checks = Vec::new();
    let mut check = |name, work: &mut dyn FnMut() -> Result<Option<String>>| {
        println!("== {name}");
        let began = Instant::now();
        let outcome = match work() {
            Ok(None) => Outcome::Passed,
            Ok(Some(why)) => Outcome::Skipped(why),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        checks.push(Check { name, took: began.elapsed(), outcome });
    };
    check("layers", &mut || layers::run().map(|()| None));
    check("formatting", &mut || cargo(&["fmt", "--all", "--check"]));
    check("protocol lint", &mut packages::buf_lint);
    check("dependencies", &mut deny);
    check("clippy", &mut || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    });
    check("guest agent", &mut || {
        cargo(&["test", "--manifest-path", "crates/guest/Cargo.toml", "--locked"])
    });
    // What `vmint demo` and the stories run; built once, as a user would.
    check("release build", &mut || cargo(&["build", "--release", "--locked"]));
    check("doc tests", &mut || cargo(&["test", "--workspace", "--doc", "--locked"]));
    check("tests", &mut || {
        cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--profile", "ci"])
    });
    check("fuzzing", &mut || fuzz::run(&[]).map(|()| None));
    check("foreign clients", &mut || clients::run(clients::Which::Always));
    report(&checks)
}

/// Prints what passed, failed and could not be run.
fn report(checks: &[Check]) -> Result {
    println!("== summary");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for check in checks {
        let seconds = check.took.as_secs();
        match &check.outcome {
            Outcome::Passed => {
                passed += 1;
                println!("ok    {:<16} {seconds:>5} s", check.name);
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("skip  {:<16} {why}", check.name);
            }
            Outcome::Failed(why) => {
                failed += 1;
                println!("FAIL  {:<16} {seconds:>5} s  {why}", check.name);
            }
        }
    }
    for line in packages::skipped_tests() {
        skipped += 1;
        println!("skip  {line}");
    }
    println!("checks: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { Err("at least one check failed".into()) }
}

fn cargo(words: &[&str]) -> Result<Option<String>> {
    let mut cargo = crate::cargo();
    let status = cargo.args(words).env("VMINT_SKIP_LOG", packages::skip_log()).status()?;
    if status.success() {
        return Ok(None);
    }
    Err(format!("cargo {} failed", words.join(" ")).into())
}

/// Known advisories, licences and doubled crates.
fn deny() -> Result<Option<String>> {
    if !packages::has("cargo-deny") {
        return Ok(Some("cargo-deny is not installed".to_owned()));
    }
    let mut words = vec!["deny", "--offline", "check", "bans", "licenses", "sources"];
    if env::var_os("VMINT_ADVISORIES").is_some() {
        words.retain(|word| *word != "--offline");
        words.push("advisories");
    }
    cargo(&words)
}
