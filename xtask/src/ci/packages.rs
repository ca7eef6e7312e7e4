//! What the tests need of the machine, and how it gets there.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{Result, root};

/// Debian packages: to run machines, to build the demo image, to be an oracle.
const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "awscli",
    "busybox-static",
    "cpio",
    "dosfstools",
    "dropbear-bin",
    "e2fsprogs",
    "fdisk",
    "g++",
    "iproute2",
    "libnbd-bin",
    "mtools",
    "nbdkit",
    "openssh-client",
    "syslinux",
    "syslinux-common",
];

/// Wanted for the test of the containers; without them it is skipped.
const CONTAINER_PACKAGES: &[&str] = &["docker.io", "docker-compose", "iptables", "mmdebstrap"];

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs what is missing. Needs apt and root (or sudo).
pub(crate) fn install() -> Result {
    let _ = fs::remove_file(skip_log());
    let (missing, wanted) = (absent(PACKAGES), absent(CONTAINER_PACKAGES));
    if !missing.is_empty() || !wanted.is_empty() {
        apt(&["update", "-q"])?;
    }
    if !missing.is_empty() {
        println!("installing {}", missing.join(" "));
        install_all(&missing)?;
    }
    if !wanted.is_empty()
        && let Err(error) = install_all(&wanted)
    {
        println!("the container engine could not be installed: {error}");
    }
    let cargo_install = |tool: &str| {
        run(Command::new(env!("CARGO")).args(["install", "--locked", "--quiet", tool]))
    };
    if !has("cargo-nextest") {
        cargo_install("cargo-nextest")?;
    }
    // Without it its check is skipped, and counted as that.
    if !has("cargo-deny")
        && let Err(error) = cargo_install("cargo-deny")
    {
        println!("cargo-deny could not be installed: {error}");
    }
    Ok(())
}

/// Installs packages; a newer qemu-utils from elsewhere gives way.
fn install_all(packages: &[&str]) -> Result {
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend_from_slice(packages);
    if apt(&words).is_ok() {
        return Ok(());
    }
    // qemu-utils must be of the same release as QEMU itself.
    let release = codename()?;
    let pinned = format!("qemu-utils/{release}");
    let mut words: Vec<&str> = words
        .iter()
        .map(|word| if *word == "qemu-utils" { pinned.as_str() } else { word })
        .collect();
    words.push("--allow-downgrades");
    if !words.contains(&pinned.as_str()) {
        words.push(&pinned);
    }
    apt(&words)
}

fn codename() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.ok_or("this is not Debian, and packages are installed by apt")?.to_owned())
}

fn absent(packages: &[&'static str]) -> Vec<&'static str> {
    let installed = |package: &&&str| {
        let status = Command::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", **package])
            .stderr(Stdio::null())
            .output();
        !status.is_ok_and(|out| out.stdout == b"installed")
    };
    packages.iter().filter(installed).copied().collect()
}

fn apt(words: &[&str]) -> Result {
    let root = is_root();
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.arg("apt-get");
    }
    run(command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
}

fn is_root() -> bool {
    let out = Command::new("id").arg("-u").output();
    out.is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

fn run(command: &mut Command) -> Result {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// Checks the protocol files' style with buf, from npm.
pub(crate) fn buf_lint() -> Result<Option<String>> {
    let dir = root().join("target").join("buf");
    let buf = dir.join("node_modules").join(".bin").join("buf");
    if !buf.is_file() {
        if !has("npm") {
            return Ok(Some("npm is not installed, so buf could not be fetched".to_owned()));
        }
        fs::create_dir_all(&dir)?;
        let status = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&dir)
            .arg("@bufbuild/buf")
            .status()?;
        if !status.success() {
            return Ok(Some("buf could not be fetched".to_owned()));
        }
    }
    let status = Command::new(&buf).arg("lint").current_dir(root()).status()?;
    if status.success() { Ok(None) } else { Err("buf lint found faults".into()) }
}

/// Where tests note why they could not run.
pub(crate) fn skip_log() -> PathBuf {
    root().join("target").join("skipped-tests.log")
}

/// One line a test that could not run.
pub(crate) fn skipped_tests() -> Vec<String> {
    let text = fs::read_to_string(skip_log()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
