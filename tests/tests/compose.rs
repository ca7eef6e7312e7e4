//! The compose file as it stands, on a container engine of the test's own: the containers
//! come up, a machine boots inside one, and outlives its launcher.
//!
//! Installs nothing: `cargo xtask ci` brings the engine and builds the program. Where either
//! is missing it says why and counts as skipped.

mod engine;

use std::{
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use engine::{Engine, program};
use vmint_tests::{READY, SERVICES, disk, skip};

/// How the two processes in the launcher's container are told apart.
const LAUNCHER: &str = "vmint serve launcher";
const MACHINE: &str = "qemu-system-x86_64 -name";

#[test]
fn the_compose_file_runs_machines() {
    let (engine, disk) = match Engine::start().and_then(|engine| Ok((engine, disk()?))) {
        Ok(both) => both,
        Err(why) => return skip("the compose file", &why),
    };
    let disk = disk.to_str().expect("a path of ours");
    let told = std::panic::catch_unwind(|| tell(&engine, disk));
    if let Err(panic) = told {
        eprintln!("{}", engine.last_words());
        std::panic::resume_unwind(panic);
    }
}

fn tell(engine: &Engine, disk: &str) {
    for (image, target) in [("vmint", "prebuilt"), ("vmint-launcher", "prebuilt-launcher")] {
        let (file, tag) = ("deploy/docker/Dockerfile", format!("{image}:test"));
        ran(&mut engine.docker(&["build", "-q", "-f", file, "--target", target, "-t", &tag, "."]));
    }
    // Compose waits for what others depend on, and the gateway depends on everything.
    ran(&mut engine.compose(&["up", "-d", "--no-build"]));
    for service in SERVICES {
        wait_healthy(engine, service);
        confined(engine, service);
    }

    // The first account's token is where only its volume's readers find it.
    let token = token(engine);
    let url = Engine::published();
    let vmint = |words: &[&str]| {
        let mut command = engine.inside(&program());
        command.args(["--url", &url, "--token", &token]).args(words);
        command
    };
    let image = ran(&mut vmint(&["import", disk, "demo", "-o", "id"]));
    assert!(image.starts_with("ami-"), "{image}");

    let launch = ["launch", &image, "first", "--type", "v1.micro", "-o", "id"];
    let instance = ran(&mut vmint(&launch));
    assert!(instance.starts_with("i-"), "{instance}");
    let console = ran(&mut vmint(&["logs", &instance, "--follow", "--until", READY]));
    assert!(console.contains(READY), "{console}");

    outlives(engine);
    let instances = retried(|| vmint(&["ls", "-o", "json"]));
    assert!(instances.contains("INSTANCE_STATE_RUNNING"), "{instances}");
    let console = retried(|| vmint(&["logs", &instance]));
    assert!(console.contains(READY), "its console is lost: {console}");

    ran(&mut vmint(&["terminate", &instance]));
    let until = Instant::now() + Duration::from_secs(30);
    while engine.in_launcher(MACHINE).is_some() {
        assert!(Instant::now() < until, "a terminated machine runs on");
        sleep(Duration::from_millis(200));
    }
    // The first process has buried whatever ended.
    let script = "grep -l '^State:.Z' /proc/[0-9]*/status || true";
    let dead = ran(&mut engine.exec("launcher", script));
    assert!(dead.is_empty(), "{dead}");

    // The command line of the compose file itself.
    let list = ran(&mut engine.compose(&["run", "--rm", "-T", "vmint", "image", "list"]));
    assert!(list.contains(&image), "{list}");
    ran(&mut engine.compose(&["down", "-v", "-t", "20"]));
    let left = ran(&mut engine.docker(&["ps", "-aq"]));
    assert!(left.is_empty(), "{left}");
}

/// The launcher's process ends and comes again; the machine in its container goes on.
fn outlives(engine: &Engine) {
    let machine = engine.in_launcher(MACHINE).expect("a machine");
    let before = engine.in_launcher(LAUNCHER).expect("a launcher");
    ran(&mut engine.exec("launcher", &format!("kill -9 {before}")));
    let until = Instant::now() + Duration::from_secs(60);
    while engine.in_launcher(LAUNCHER).is_none_or(|again| again == before) {
        assert!(Instant::now() < until, "the launcher is not started again");
        sleep(Duration::from_millis(200));
    }
    let after = engine.in_launcher(MACHINE);
    assert_eq!(after, Some(machine), "the machine went with its launcher");
}

/// The container has no capability, may write to its volumes only, and sees no key but its
/// own.
fn confined(engine: &Engine, service: &str) {
    let status = ran(&mut engine.exec(service, "cat /proc/1/status"));
    assert!(status.contains("CapEff:\t0000000000000000"), "{service}: {status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{service}: {status}");
    assert!(status.contains("Uid:\t65532\t65532"), "{service}: {status}");
    let root = ran(&mut engine.exec(service, "grep ' / ' /proc/mounts"));
    assert!(root.contains(" ro,"), "{service}: {root}");
    let keys =
        ran(&mut engine.exec(service, "find /etc/vmint/trust -name '*.key' -o -name key.pem"));
    let own = format!("/etc/vmint/trust/{service}/");
    assert!(!keys.is_empty(), "{service} has no key");
    assert!(keys.lines().all(|key| key.starts_with(&own)), "{service} sees {keys}");
}

fn wait_healthy(engine: &Engine, service: &str) {
    let until = Instant::now() + Duration::from_secs(120);
    let name = Engine::container(service);
    loop {
        let state = ran(&mut engine.docker(&["inspect", "-f", "{{.State.Health.Status}}", &name]));
        if state == "healthy" {
            return;
        }
        assert!(Instant::now() < until, "{service} is {state}");
        sleep(Duration::from_millis(500));
    }
}

/// The token of the first account, which `bootstrap` made.
fn token(engine: &Engine) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    let run = ["run", "--rm", "--network", "none", "-v", "vmint_profiles:/p:ro"];
    loop {
        let mut cat = engine.docker(&run);
        cat.args(["--entrypoint", "/bin/cat", "vmint:test", "/p/profiles.toml"]);
        let out = cat.output().expect("docker");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if let Some(token) = text.lines().find_map(|line| line.strip_prefix("token = ")) {
            return token.trim_matches('"').to_owned();
        }
        assert!(Instant::now() < until, "no account was made: {}", said(&out));
        sleep(Duration::from_millis(500));
    }
}

/// Both outputs, the end of them.
fn said(out: &Output) -> String {
    let both = [&out.stdout[..], &out.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(150)..].join("\n")
}

/// Runs a command that must succeed; what it printed.
fn ran(command: &mut Command) -> String {
    // A tool that hangs must not hang the test.
    let mut timed = Command::new("timeout");
    timed.arg("240").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    timed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        timed.current_dir(dir);
    }
    let out = timed.output().expect("timeout is of coreutils");
    assert!(out.status.success(), "{command:?}: {}: {}", out.status, said(&out));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// As [`ran`], for what may be refused for a moment after a restart.
fn retried(command: impl Fn() -> Command) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let out = command().output().expect("a program that ran before");
        if out.status.success() {
            return String::from_utf8_lossy(&out.stdout).trim().to_owned();
        }
        assert!(Instant::now() < until, "{}", said(&out));
        sleep(Duration::from_millis(500));
    }
}
