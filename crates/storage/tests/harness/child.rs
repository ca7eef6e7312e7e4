//! The service in a process of its own, which can be killed.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tonic::transport::Channel;

use super::Running;

/// Where the service of a child says that it listens.
const ADDRESS: &str = "address";

/// Starts the service in this process, for the one that began it.
pub async fn announced(place: &Path) -> Running {
    let running = Running::start(place).await;
    let address = place.join(ADDRESS);
    fs::write(address.with_extension("new"), &running.address).unwrap();
    fs::rename(address.with_extension("new"), &address).unwrap();
    running
}

/// Runs `test` of this program as a process, which finds `place` in `variable` and calls
/// [`announced`]; and a channel to it.
pub async fn child(place: &Path, variable: &str, test: &str) -> (Child, Channel) {
    let address = place.join(ADDRESS);
    let _ = fs::remove_file(&address);
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "--ignored", test]);
    child.env(variable, place).stdin(Stdio::null()).stdout(Stdio::null());
    let child = child.spawn().unwrap();
    let address = loop {
        match fs::read_to_string(&address) {
            Ok(address) => break address,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (child, channel)
}
