//! What the demo needs of its host, and how it gets it.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    process::Command,
    time::Duration,
};

use vmint_vmm::{accelerator, qemu};

use crate::{
    client::{Failure, Result},
    seed,
};

/// The host as the demo found it.
pub(crate) struct Host {
    system: String,
    cores: usize,
}

/// Packages beside those that build the image.
const TO_RUN: [(&str, &str); 2] =
    [("qemu-system-x86_64", "qemu-system-x86"), ("ssh", "openssh-client")];

/// Makes sure that machines can be run, and an image built if that is wanted.
pub(crate) fn prepare(yes: bool, build: bool) -> Result<Host> {
    let mut packages: Vec<&str> = Vec::new();
    for (tool, package) in TO_RUN {
        if !is_on_path(tool) {
            packages.push(package);
        }
    }
    let missing = if build { seed::missing_tools() } else { Vec::new() };
    packages.extend(missing.iter().map(|missing| missing.package));
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        install(&packages, yes)?;
    }
    Ok(Host {
        system: system(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

impl Host {
    pub(crate) fn describe(&self) -> String {
        format!("{}, {} cores", self.system, self.cores)
    }

    /// Finds out by booting a probe how machines can be run.
    pub(crate) async fn probe(&self) -> Result<String> {
        let qemu = qemu::locate().await.map_err(|error| Failure::new(error.to_string()))?;
        let probe = accelerator::probe(&qemu.path, Duration::from_secs(5)).await;
        Ok(format!("QEMU {}, {}: {}", qemu.version, probe.accelerator, probe.reason))
    }
}

fn is_on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

/// Installs packages after asking.
fn install(packages: &[&str], yes: bool) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let sudo = if root { "" } else { "sudo " };
    let line = format!("{sudo}apt-get install -y --no-install-recommends {}", packages.join(" "));
    println!("This host lacks {}.", packages.join(", "));
    println!("  {line}");
    if !yes && !agreed()? {
        return Err(Failure::new("the demo cannot run without them").hint(line));
    }
    // A fresh machine has no list of packages yet.
    run(root, &["apt-get", "update", "-q"])?;
    let mut install = vec!["apt-get", "install", "-y", "-q", "--no-install-recommends"];
    install.extend_from_slice(packages);
    run(root, &install)
}

fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is here to say yes").hint("add --yes"));
    }
    print!("Run this now? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

fn run(root: bool, words: &[&str]) -> Result<()> {
    let mut command = if root {
        Command::new(words[0])
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(words[0]);
        sudo
    };
    command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
    // Its thousand lines are of interest only if it fails.
    let done = command.output()?;
    if done.status.success() {
        return Ok(());
    }
    io::stderr().write_all(&done.stdout)?;
    io::stderr().write_all(&done.stderr)?;
    Err(Failure::new(format!("`{}` failed", words.join(" "))))
}
