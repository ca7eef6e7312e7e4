//! The accounts of the story and what they can do.

use std::{path::Path, time::Duration};

use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use vmint_api::{
    gateway::v1::{RunInstancesRequest, TerminateInstancesRequest},
    launcher::v1::{Instance, InstanceState, ListInstancesRequest, StreamConsoleRequest},
};

use crate::{
    cli::{Global, Output},
    client::{Client, Failure, Result, request_id},
    commands::{instance, ssh},
    up::Made,
};

/// What a guest prints once its first-boot agent is done.
pub(crate) const READY: &str = "vmint-guest: ready";
/// What a machine may take to boot, emulated on a busy host.
const BOOT: Duration = Duration::from_mins(3);

/// Everybody in the story.
pub(crate) struct Cast {
    pub(crate) maker: Client,
    pub(crate) friend: Client,
    pub(crate) stranger: Client,
    pub(crate) friend_id: String,
    pub(crate) maker_id: String,
}

impl Cast {
    pub(crate) fn new(data: &Path, made: &[Made]) -> Result<Self> {
        let client = |name: &str| {
            Client::open(&Global {
                url: None,
                token: None,
                profile: Some(name.to_owned()),
                data: Some(data.to_owned()),
                output: Output::Table,
                no_wait: false,
            })
        };
        let id = |name: &str| {
            let found = made.iter().find(|made| made.name == name);
            found.map(|made| made.account_id.clone()).unwrap_or_default()
        };
        Ok(Self {
            maker: client("maker")?,
            friend: client("friend")?,
            stranger: client("stranger")?,
            friend_id: id("friend"),
            maker_id: id("maker"),
        })
    }

    /// Ends every machine of everybody.
    pub(crate) async fn end_everything(&self) -> Result<()> {
        for client in [&self.maker, &self.friend, &self.stranger] {
            let request = ListInstancesRequest { page_size: 1000, ..Default::default() };
            let all = client.launcher().list_instances(request).await?.into_inner().instances;
            let alive = |i: &Instance| i.state() != InstanceState::Terminated;
            let instance_ids: Vec<_> =
                all.into_iter().filter(alive).map(|i| i.instance_id).collect();
            if !instance_ids.is_empty() {
                let request = TerminateInstancesRequest { instance_ids, request_id: request_id() };
                client.gateway().terminate_instances(request).await?;
            }
        }
        Ok(())
    }
}

/// Launches one machine and waits until it runs.
pub(crate) async fn launch(
    client: &Client,
    image: &str,
    name: &str,
    key: &str,
) -> Result<Instance> {
    let request = RunInstancesRequest {
        image_id: image.to_owned(),
        name: name.to_owned(),
        key_name: key.to_owned(),
        instance_type: "v1.micro".to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    let mut instances = client.gateway().run_instances(request).await?.into_inner().instances;
    let instance = instances.pop().ok_or_else(|| Failure::new("nothing was launched"))?;
    let instance = instance::settle(client, instance, InstanceState::Pending).await?;
    if instance.state() == InstanceState::Running {
        return Ok(instance);
    }
    Err(Failure::new(format!("{}: {}", instance.instance_id, instance.state_reason)))
}

/// Reads the console until the agent says that it is done; the line it said.
pub(crate) async fn booted(client: &Client, instance: &Instance) -> Result<Vec<String>> {
    let request = StreamConsoleRequest { instance_id: instance.instance_id.clone(), follow: true };
    let mut pieces = client.launcher().stream_console(request).await?.into_inner();
    let mut seen = Vec::new();
    let read = async {
        while let Some(piece) = pieces.next().await {
            seen.extend_from_slice(&piece?.output);
            let text = String::from_utf8_lossy(&seen);
            if let Some(at) = text.find(READY)
                && text[at..].contains('\n')
            {
                let lines = text.lines().filter(|line| line.contains("vmint-guest:"));
                return Ok(lines.map(|line| line.trim().to_owned()).collect());
            }
        }
        Err(Failure::unreachable("the console ended before the guest was ready"))
    };
    let late = || Failure::new(format!("{} did not boot in time", instance.instance_id));
    timeout(BOOT, read).await.map_err(|_| late())?
}

/// Runs a command in a machine and gives what it printed.
pub(crate) async fn ssh(client: &Client, instance: &Instance, command: &str) -> Result<String> {
    let identity = ssh::key_file(client, instance);
    let mut said = String::new();
    // The ssh server may come up a moment after the agent is done.
    for _ in 0..20 {
        let mut ssh = ssh::command(instance, &identity, "root", client)?;
        let out = ssh.arg(command).output().await?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
        }
        said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(Failure::new(format!("ssh failed: {said}")))
}
