//! The user's script: run at most once per instance.

use std::{
    error::Error,
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::{identity::State, metadata::Metadata};

const LOG: &str = "/var/log/user-data.log";

/// Runs user data that begins with `#!`, unless this instance did already.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let state = State::open(Path::new("/"))?;
    let instance = state.instance().ok_or("who we are is not known yet; run `boot` first")?;
    if state.read("user-data-of").as_deref() == Some(instance.as_str()) {
        return Ok(());
    }
    let script = Metadata::open()?.bytes("user-data")?.unwrap_or_default();
    // Noted before it runs: a script that ends the machine must not end it at each boot.
    state.write("user-data-of", &instance)?;
    if !script.starts_with(b"#!") {
        return Ok(());
    }
    let path = state.dir().join("user-data");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    let log = fs::File::create(LOG)?;
    let status = Command::new(&path)
        .current_dir("/")
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit={code}"),
        (None, signal) => format!("signal={}", signal.unwrap_or_default()),
    };
    println!("vmint-guest: user-data {how} instance={instance} log={LOG}");
    Ok(())
}
