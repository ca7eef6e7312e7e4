//! The end of a boot: the line that says so, and the user's script, at most once an instance.

use std::{
    error::Error,
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    identity::{IDENTITY, State},
    metadata::Metadata,
};

const LOG: &str = "/var/log/user-data.log";

const SSH_PORT: u16 = 22;
const PAUSE: Duration = Duration::from_millis(50);
const PAUSES: usize = 400;

/// Prints the `ready` line as soon as ssh answers; then sees to the user data.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let identity = fs::read_to_string(IDENTITY).map_err(|_| "`boot` has not been done")?;
    let mut answers = false;
    for _ in 0..PAUSES {
        answers = TcpStream::connect((Ipv4Addr::LOCALHOST, SSH_PORT)).is_ok();
        if answers {
            break;
        }
        thread::sleep(PAUSE);
    }
    let ssh = if answers { "" } else { " ssh=absent" };
    // The shell's prompt may stand on this line already.
    println!("\nvmint-guest: ready {identity}{ssh}");
    user_data()
}

/// Runs user data that begins with `#!`, unless this instance did already.
fn user_data() -> Result<(), Box<dyn Error>> {
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
