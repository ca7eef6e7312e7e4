//! A deployment with an image that boots, and keys for three accounts.

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{Result, root};

/// Some clients know the names of Amazon's regions and no others.
const REGION: &str = "us-east-1";
/// The first is the operator's.
const ACCOUNTS: [(&str, &str); 3] =
    [("maker", "100000000001"), ("friend", "200000000002"), ("stranger", "300000000003")];

/// Ends with everything in it.
pub(super) struct Stage {
    program: PathBuf,
    data: tempfile::TempDir,
    told: Vec<(String, String)>,
}

impl Stage {
    /// Starts it; answers why no machine can boot here, if so.
    pub(super) fn set(python: &Path) -> Result<std::result::Result<Self, String>> {
        let data = tempfile::Builder::new().prefix("vc-").tempdir_in("/tmp")?;
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut stage = Self { program: program()?, data, told: Vec::new() };
        let accounts = ACCOUNTS.map(|(name, id)| format!("{name}={id}"));
        let mut words = vec!["up", "--detach", "--region", REGION, "--listen", &listen];
        for account in &accounts {
            words.extend(["--account", account]);
        }
        stage.vmint(&words)?;
        let disk = stage.data.path().join("disk.raw");
        let disk = disk.to_string_lossy().into_owned();
        if let Err(why) = stage.vmint(&["image", "build", &disk]) {
            return Ok(Err(format!("no image can be built: {why}")));
        }
        let words = ["--profile", "maker", "import", &disk, "clients", "--snapshot-only", "-o"];
        let snapshot = stage.vmint(&[&words[..], &["id"]].concat())?;
        stage.tell("VMINT_SNAPSHOT", &snapshot);
        for (name, id) in ACCOUNTS {
            let key = stage.vmint(&["--profile", name, "account", "key", "create", "-o", "id"])?;
            stage.tell(&format!("VMINT_{}", name.to_uppercase()), &format!("{key} {id}"));
        }
        stage.tell("VMINT_ENDPOINT", &format!("http://{listen}"));
        stage.tell("VMINT_REGION", REGION);
        stage.tell("VMINT_PYTHON", &python.to_string_lossy());
        Ok(Ok(stage))
    }

    /// An interpreter that knows of the stage.
    pub(super) fn command(&self, python: &Path) -> Command {
        let mut command = Command::new(python);
        command.envs(self.told.iter().map(|(name, value)| (name, value)));
        command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(self.data.path());
        command
    }

    fn tell(&mut self, name: &str, value: &str) {
        self.told.push((name.to_owned(), value.to_owned()));
    }

    fn vmint(&self, words: &[&str]) -> Result<String> {
        let out = self.run(words)?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(format!("vmint {}: {}", words.join(" "), said.trim()).into())
    }

    fn run(&self, words: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--data").arg(self.data.path()).args(words).output()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Machines outlive the processes that keep them, so they are ended first.
        for (name, _) in ACCOUNTS {
            let list = self.vmint(&["--profile", name, "ls", "-o", "id"]).unwrap_or_default();
            for id in list.split_whitespace() {
                // One that has ended already needs nothing.
                let _ = self.run(&["--profile", name, "terminate", id]);
            }
        }
        if let Err(error) = self.vmint(&["down"]) {
            eprintln!("the deployment was not stopped: {error}");
        }
    }
}

/// The program: a release build if there is one, else a debug build made now.
fn program() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let released = target.join("release/vmint");
    if released.exists() {
        return Ok(released);
    }
    if !crate::cargo().args(["build", "-p", "vmint"]).status()?.success() {
        return Err("vmint cannot be built".into());
    }
    Ok(target.join("debug/vmint"))
}
