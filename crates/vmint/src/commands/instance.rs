//! Instances: launch, list, stop, start, reboot, terminate.

use std::time::SystemTime;

use tokio_stream::StreamExt as _;
use vmint_api::{
    gateway::v1 as gateway,
    launcher::v1::{
        GetInstanceRequest, Instance, InstanceState, ListInstancesRequest, RebootInstanceRequest,
        StartInstanceRequest, StopInstanceRequest, WatchInstanceRequest,
    },
};

use crate::{
    cli::{InstanceRefs, LaunchArgs, Output, StopArgs},
    client::{Client, Failure, Result, json, request_id, table},
};

/// Looks an instance up by id or name.
pub(crate) async fn get(client: &Client, instance: &str) -> Result<Instance> {
    let request = GetInstanceRequest { instance_id: instance.to_owned() };
    client.launcher().get_instance(request).await?.into_inner().instance.ok_or_else(none)
}

fn none() -> Failure {
    Failure::new("the answer holds no instance")
}

pub(crate) async fn launch(client: &Client, args: LaunchArgs) -> Result<()> {
    let user_data = match &args.user_data {
        Some(path) => std::fs::read(path).map_err(|error| {
            let why = crate::client::plain(&error);
            Failure::usage(format!("{} cannot be read: {why}", path.display()))
        })?,
        None => Vec::new(),
    };
    let image = super::image::get(client, &args.image).await?;
    let request = gateway::RunInstancesRequest {
        image_id: image.image_id,
        count: args.count,
        instance_type: args.kind,
        key_name: args.key,
        user_data: user_data.into(),
        name: args.name,
        request_id: request_id(),
        ..Default::default()
    };
    let mut instances = client.gateway().run_instances(request).await?.into_inner().instances;
    if client.waits() {
        for instance in &mut instances {
            *instance = settle(client, instance.clone(), InstanceState::Pending).await?;
        }
    }
    for instance in &instances {
        if instance.state() == InstanceState::Terminated {
            let why = &instance.state_reason;
            return Err(Failure::new(format!("{} failed: {why}", instance.instance_id)));
        }
    }
    show(client, &instances)
}

/// Follows an instance until it is no longer in `state`.
pub(crate) async fn settle(
    client: &Client,
    mut instance: Instance,
    state: InstanceState,
) -> Result<Instance> {
    let request = WatchInstanceRequest { instance_id: instance.instance_id.clone() };
    let mut changes = client.launcher().watch_instance(request).await?.into_inner();
    while instance.state() == state {
        match changes.next().await {
            Some(change) => instance = change?.instance.ok_or_else(none)?,
            None => return Err(Failure::unreachable("the launcher stopped answering")),
        }
    }
    Ok(instance)
}

/// A state in one word.
pub(crate) fn state(instance: &Instance) -> String {
    let name = instance.state().as_str_name().trim_start_matches("INSTANCE_STATE_");
    name.to_lowercase().replace('_', "-")
}

/// Where the instance is reached, as `address:port`.
pub(crate) fn address(instance: &Instance) -> String {
    match &instance.ssh_endpoint {
        Some(at) if instance.state() == InstanceState::Running => {
            format!("{}:{}", at.address, at.port)
        }
        _ => "-".to_owned(),
    }
}

fn show(client: &Client, instances: &[Instance]) -> Result<()> {
    match client.output() {
        Output::Json => return json("vmint.launcher.v1.Instance", instances),
        Output::Id => instances.iter().for_each(|i| println!("{}", i.instance_id)),
        Output::Table => {
            for instance in instances {
                println!(
                    "instance  {}  {}, {}, {}",
                    instance.instance_id,
                    state(instance),
                    instance.accelerator,
                    address(instance),
                );
            }
        }
    }
    Ok(())
}

pub(crate) async fn list(client: &Client) -> Result<()> {
    let mut request = ListInstancesRequest { page_size: 1000, ..Default::default() };
    let mut instances = Vec::new();
    loop {
        let page = client.launcher().list_instances(request.clone()).await?.into_inner();
        instances.extend(page.instances);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if client.output() != Output::Table {
        return show(client, &instances);
    }
    let row = |instance: &Instance| {
        vec![
            if instance.name.is_empty() { "-" } else { &instance.name }.to_owned(),
            instance.instance_id.clone(),
            state(instance),
            instance.image_id.clone(),
            instance.instance_type.clone(),
            address(instance),
            up(instance),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    table(&["NAME", "ID", "STATE", "IMAGE", "TYPE", "SSH", "UP"], &rows);
    Ok(())
}

/// For how long it has run.
fn up(instance: &Instance) -> String {
    let started =
        instance.machine_start_time.filter(|_| instance.state() == InstanceState::Running);
    let since = started.and_then(|time| SystemTime::try_from(time).ok());
    let Some(seconds) = since.and_then(|t| t.elapsed().ok()).map(|d| d.as_secs()) else {
        return "-".to_owned();
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(crate) async fn stop(client: &Client, args: StopArgs) -> Result<()> {
    let instance_id = get(client, &args.instance).await?.instance_id;
    let request = StopInstanceRequest { instance_id, force: args.force, request_id: request_id() };
    let answer = client.launcher().stop_instance(request).await?.into_inner();
    let mut instance = answer.instance.ok_or_else(none)?;
    if client.waits() {
        instance = settle(client, instance, InstanceState::Stopping).await?;
    }
    show(client, &[instance])
}

pub(crate) async fn start(client: &Client, name: &str) -> Result<()> {
    let instance_id = get(client, name).await?.instance_id;
    let request = StartInstanceRequest { instance_id, request_id: request_id() };
    let answer = client.launcher().start_instance(request).await?.into_inner();
    let mut instance = answer.instance.ok_or_else(none)?;
    if client.waits() {
        instance = settle(client, instance, InstanceState::Pending).await?;
    }
    show(client, &[instance])
}

pub(crate) async fn reboot(client: &Client, name: &str) -> Result<()> {
    let instance_id = get(client, name).await?.instance_id;
    let request = RebootInstanceRequest { instance_id, request_id: request_id() };
    let answer = client.launcher().reboot_instance(request).await?.into_inner();
    show(client, &[answer.instance.ok_or_else(none)?])
}

pub(crate) async fn terminate(client: &Client, args: InstanceRefs) -> Result<()> {
    let mut instance_ids = Vec::new();
    for name in &args.instances {
        instance_ids.push(get(client, name).await?.instance_id);
    }
    let request = gateway::TerminateInstancesRequest { instance_ids, request_id: request_id() };
    let instances = client.gateway().terminate_instances(request).await?.into_inner().instances;
    show(client, &instances)
}
