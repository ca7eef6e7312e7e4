//! A deployment of its own, started by `vmint up` and ended with its owner.

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use vmint_rpc::{Channel, ServiceAddress, connect_plain};

use super::clock;
use crate::{Result, root};

/// The first account, the operator's.
pub(super) const ACCOUNT: &str = "bench=100000000001";
const READY: Duration = Duration::from_mins(1);

/// All services, started by `vmint up`.
pub(super) struct Stack {
    pub(super) vmint: PathBuf,
    pub(super) data: PathBuf,
    /// To the gateway, as the first account.
    pub(super) channel: Channel,
    /// Where that is.
    pub(super) address: String,
    _up: Up,
}

/// The supervisor; ends the services when it is asked to.
struct Up(Child, Option<Lines<BufReader<ChildStdout>>>);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Stack {
    /// Starts `vmint up` with further arguments; answers when it is ready.
    pub(super) fn start(vmint: &Path, data: &Path, more: &[&str]) -> Result<Self> {
        // Freed just before the gateway takes it.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(vmint);
        command.arg("--data").arg(data).args(["up", "--account", ACCOUNT]).args(more);
        command.args(["--listen", &listen.to_string()]).stdout(Stdio::piped());
        let mut up = Up(command.spawn()?, None);
        let mut said = BufReader::new(up.0.stdout.take().ok_or("no output")?).lines();
        loop {
            match said.next().transpose()? {
                Some(line) if line.contains(" ready in ") => break,
                Some(_) => {}
                None => return Err(format!("`vmint up` ended: {}", up.0.wait()?).into()),
            }
        }
        // Kept open, so that it may go on to print.
        up.1 = Some(said);
        let channel = channel(data, "bench")?;
        let (vmint, data) = (vmint.to_owned(), data.to_owned());
        Ok(Self { vmint, data, channel, address: listen.to_string(), _up: up })
    }

    /// To the gateway that a profile names, as its account.
    pub(super) fn channel_of(&self, profile: &str) -> Result<Channel> {
        channel(&self.data, profile)
    }

    /// Seconds of the processors that its processes have had so far.
    pub(super) fn cpu(&self) -> f64 {
        self.processes("").iter().map(|pid| clock::cpu(pid)).sum()
    }

    /// Its processes that have `word` on their command line.
    pub(super) fn processes(&self, word: &str) -> Vec<String> {
        let data = self.data.display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&data) && line.contains(word) {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    /// Takes a disk in and answers its image's id.
    pub(super) fn import(&self, disk: &Path, name: &str) -> Result<String> {
        let mut import = Command::new(&self.vmint);
        import.arg("--data").arg(&self.data).args(["--output", "id", "import"]).arg(disk).arg(name);
        let ids = run(&mut import)?;
        let id = ids.split_whitespace().find(|word| word.starts_with("ami-"));
        Ok(id.ok_or_else(|| format!("the import answered `{ids}`"))?.to_owned())
    }
}

fn channel(data: &Path, profile: &str) -> Result<Channel> {
    let profiles = fs::read_to_string(data.join("profiles.toml"))?;
    let profiles: toml::Value = toml::from_str(&profiles)?;
    let profile = &profiles["profile"][profile];
    let (url, token) = (profile["url"].as_str(), profile["token"].as_str());
    let (url, token) = url.zip(token).ok_or("a profile has no address or token")?;
    let address = url.trim_start_matches("http://").to_owned();
    let channel = connect_plain(&ServiceAddress::Tcp(address), "gateway").deadline(READY);
    Ok(channel.bearer(token).ok_or("the token holds strange characters")?)
}

/// The program to measure: the release build as it is now; this build's kind in a quick run.
pub(super) fn binary(quick: bool) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let debug = quick && cfg!(debug_assertions);
    let mut build = crate::cargo();
    build.args(["build", "--package", "vmint"]);
    if !debug {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the build failed: see above".into());
    }
    Ok(target.join(if debug { "debug/vmint" } else { "release/vmint" }))
}

/// Runs a command to its end and answers what it printed.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let ran = command.stderr(Stdio::inherit()).output()?;
    if !ran.status.success() {
        return Err(format!("{command:?} failed: {}", ran.status).into());
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
