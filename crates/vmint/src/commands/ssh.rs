//! Logging in.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;
use vmint_api::launcher::v1::{Instance, InstanceState};

use crate::{
    cli::SshArgs,
    client::{Client, Failure, Result},
};

/// Runs ssh against an instance; its exit code is ours.
pub(crate) async fn run(client: &Client, args: SshArgs) -> Result<u8> {
    let instance = super::instance::get(client, &args.instance).await?;
    if instance.state() != InstanceState::Running {
        let state = super::instance::state(&instance);
        return Err(Failure::new(format!("{} is {state}", instance.instance_id))
            .hint(format!("vmint start {}", args.instance)));
    }
    let identity = args.identity.unwrap_or_else(|| key_file(client, &instance));
    let mut command = command(&instance, &identity, &args.user, client)?;
    command.args(&args.command);
    let status = command.stdin(Stdio::inherit()).status().await.map_err(|error| {
        Failure::new(format!("ssh cannot be run: {}", crate::client::plain(&error)))
            .hint("sudo apt-get install -y openssh-client")
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Where `vmint key create` put the key the instance was launched with.
pub(crate) fn key_file(client: &Client, instance: &Instance) -> PathBuf {
    client.keys_dir().join(format!("{}.pem", instance.key_name.replace('/', "_")))
}

/// ssh, ready but for what to run.
pub(crate) fn command(
    instance: &Instance,
    identity: &std::path::Path,
    user: &str,
    client: &Client,
) -> Result<Command> {
    let at = instance.ssh_endpoint.as_ref().ok_or_else(|| {
        Failure::new(format!("{} cannot be reached by ssh", instance.instance_id))
    })?;
    // A host key is an instance's own: addresses are used again.
    let known = client.data().join("known_hosts");
    let mut command = Command::new("ssh");
    command
        .args(["-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR"])
        .args(["-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg("-o")
        .arg(format!("HostKeyAlias={}", instance.instance_id))
        .arg("-i")
        .arg(identity)
        .args(["-p", &at.port.to_string(), "-l", user, &at.address]);
    Ok(command)
}
