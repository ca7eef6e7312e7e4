//! Coverage-guided fuzzing with libFuzzer, on the one stable toolchain.
//!
//! The crate `fuzz/` stands outside the workspace and holds every target; to add one, write a
//! file in `fuzz/src/targets/` and add it to the table in `fuzz/src/main.rs`. Everything it calls
//! is built with LLVM's coverage counters, into a folder of its own. What the fuzzer learns is
//! kept in `target/fuzz/corpus`, what it finds in `target/fuzz/found`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Result, root};

/// How long each target runs in `cargo xtask ci`.
pub(crate) const CI_SECONDS: u32 = 60;
/// Targets that run at once: a machine of two cores is the smallest.
const AT_ONCE: usize = 2;

/// What makes rustc put counters into code; the same passes that cargo-fuzz asks for.
const FLAGS: &str = "-Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// `[target] [--seconds N]`, or a target and a file to replay.
pub(crate) fn run(words: &[&str]) -> Result {
    let (mut only, mut seconds, mut replay) = (None, CI_SECONDS, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => seconds = words.next().ok_or("--seconds needs a number")?.parse()?,
            name if only.is_none() => only = Some(name),
            file => replay = Some(file),
        }
    }
    let fuzzer = build()?;
    if let (Some(name), Some(file)) = (only, replay) {
        let status = Command::new(&fuzzer).env("VMINT_FUZZ_TARGET", name).arg(file).status()?;
        return if status.success() { Ok(()) } else { Err("the finding stands".into()) };
    }
    let all = targets(&fuzzer)?;
    let chosen: Vec<&str> =
        all.split_whitespace().filter(|name| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such target; there are: {all}").into());
    }
    let mut wrong = Vec::new();
    for pair in chosen.chunks(AT_ONCE) {
        let started: Vec<_> = pair
            .iter()
            .map(|name| start(&fuzzer, name, seconds).map(|child| (*name, child)))
            .collect::<Result<_>>()?;
        for (name, child) in started {
            if let Err(error) = finish(name, child) {
                wrong.push(error.to_string());
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn build() -> Result<PathBuf> {
    let host = Command::new("rustc").arg("-vV").output()?;
    let host = String::from_utf8(host.stdout)?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("no host")?;
    let dir = root().join("target").join("fuzz");
    // With a target named, flags are not for build scripts.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", host, "--manifest-path"])
        .arg(root().join("fuzz").join("Cargo.toml"))
        .arg("--target-dir")
        .arg(dir.join("build"))
        .env("RUSTFLAGS", FLAGS)
        .status()?;
    if !status.success() {
        return Err("the fuzzer could not be built; it needs a C++ compiler (g++)".into());
    }
    Ok(dir.join("build").join(host).join("release").join("vmint-fuzz"))
}

/// The names of all targets, as the fuzzer itself gives them.
fn targets(fuzzer: &Path) -> Result<String> {
    let out = Command::new(fuzzer).env_remove("VMINT_FUZZ_TARGET").output()?;
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

fn start(fuzzer: &Path, name: &str, seconds: u32) -> Result<Child> {
    let dir = root().join("target").join("fuzz");
    let (corpus, found) = (dir.join("corpus").join(name), dir.join("found"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&found)?;
    println!("fuzzing {name} for {seconds} s");
    let log = fs::File::create(dir.join(format!("{name}.log")))?;
    let child = Command::new(fuzzer)
        .env("VMINT_FUZZ_TARGET", name)
        .env("VMINT_FUZZ_CORPUS", &corpus)
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/{name}-", found.display()))
        .args(["-rss_limit_mb=1024", "-timeout=10", "-max_len=65536", "-print_final_stats=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// Waits, and says how often the target ran; fails with where the finding is.
fn finish(name: &str, mut child: Child) -> Result {
    let status = child.wait()?;
    let log = root().join("target").join("fuzz").join(format!("{name}.log"));
    let text = fs::read_to_string(&log)?;
    let figure = |key: &str| {
        let value = text.lines().rev().find_map(|line| line.strip_prefix(key));
        value.map_or("?", str::trim).to_owned()
    };
    let covered = text.lines().rev().find_map(|line| line.split(" cov: ").nth(1));
    let covered = covered.and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned();
    let runs = figure("stat::number_of_executed_units:");
    println!("{name}: {runs} runs, {covered} places reached");
    if status.success() {
        return Ok(());
    }
    let found = text.lines().rev().find_map(|line| line.split("Test unit written to ").nth(1));
    let found = found.unwrap_or("nowhere");
    Err(format!(
        "{name} found something: see {}, and run `cargo xtask fuzz {name} {found}`",
        log.display()
    )
    .into())
}
