//! Launches in a deployment.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use tokio_stream::StreamExt as _;
use vmint_api::{
    gateway::v1::{
        RunInstancesRequest, TerminateInstancesRequest,
        gateway_service_client::GatewayServiceClient,
    },
    launcher::v1::{
        GetInstanceRequest, Instance, InstanceState, ListInstancesRequest, StreamConsoleRequest,
        launcher_service_client::LauncherServiceClient,
    },
    storage::v1::{ListVolumesRequest, storage_service_client::StorageServiceClient},
};
use vmint_rpc::new_request_id;

use super::{MARKER, now, plain::Recipe, report::Phases};
use crate::{Result, bench::stack::Stack};

const BOOT: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(10);

/// One launch through vmint.
pub(super) struct Launched {
    pub(super) phases: Phases,
    pub(super) accelerator: String,
}

impl Stack {
    /// Launches an image to the marker and ends the machine.
    pub(super) async fn launch(&self, image: &str) -> Result<(Launched, Recipe)> {
        let mut gateway = GatewayServiceClient::new(self.channel.clone());
        let request = RunInstancesRequest {
            image_id: image.to_owned(),
            instance_type: "v1.micro".to_owned(),
            request_id: new_request_id(),
            ..Default::default()
        };
        let asked = now();
        let answer = gateway.run_instances(request).await?.into_inner();
        let accepted = now();
        let id = answer.instances.into_iter().next().ok_or("nothing was launched")?.instance_id;
        let instance = self.running(&id).await?;
        let (first_byte, marker) = self.console(&id).await?;
        let started = instance.machine_start_time.as_ref().ok_or("it has no start time")?;
        let record = fs::read(self.data.join("instances").join(&id).join("machine.json"))?;
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        let micros = |key: &str| record[key].as_f64().unwrap_or_default() / 1000.0;
        let phases = Phases {
            accepted: accepted - asked,
            volumes: self.volumes_made(&id).await? - asked,
            shim: micros("shim_started_us") - asked,
            qemu: micros("qemu_started_us") - asked,
            first_instruction: millis(started) - asked,
            first_byte: first_byte - asked,
            marker: marker - asked,
        };
        let pid = record["qemu"]["pid"].as_u64().ok_or("the machine's record names no process")?;
        let recipe = Recipe::of(pid)?;
        self.end(vec![id]).await?;
        Ok((Launched { phases, accelerator: instance.accelerator }, recipe))
    }

    async fn running(&self, id: &str) -> Result<Instance> {
        let mut launcher = LauncherServiceClient::new(self.channel.clone());
        let until = Instant::now() + BOOT;
        loop {
            let request = GetInstanceRequest { instance_id: id.to_owned() };
            let found = launcher.get_instance(request).await?.into_inner().instance;
            let found = found.ok_or("an answer holds no instance")?;
            match found.state() {
                InstanceState::Running => return Ok(found),
                InstanceState::Pending if Instant::now() < until => tokio::time::sleep(LOOK).await,
                state => return Err(format!("{id} is {state:?}: {}", found.state_reason).into()),
            }
        }
    }

    /// When the console's first byte was read here, and its marker.
    async fn console(&self, id: &str) -> Result<(f64, f64)> {
        let mut launcher = LauncherServiceClient::new(self.channel.deadline(BOOT));
        let request = StreamConsoleRequest { instance_id: id.to_owned(), follow: true };
        let mut pieces = launcher.stream_console(request).await?.into_inner();
        let (mut seen, mut first) = (Vec::new(), None);
        while let Some(piece) = pieces.next().await {
            seen.extend_from_slice(&piece?.output);
            if seen.is_empty() {
                continue;
            }
            let first = *first.get_or_insert_with(now);
            if String::from_utf8_lossy(&seen).contains(MARKER) {
                return Ok((first, now()));
            }
        }
        Err(format!("{id} ended before it was up").into())
    }

    /// When the last of an instance's volumes was recorded.
    async fn volumes_made(&self, id: &str) -> Result<f64> {
        let mut storage = StorageServiceClient::new(self.channel.clone());
        let request = ListVolumesRequest { page_size: 900, ..Default::default() };
        let volumes = storage.list_volumes(request).await?.into_inner().volumes;
        let made = volumes.iter().filter(|volume| volume.instance_id == id);
        let made = made.filter_map(|volume| volume.create_time.as_ref()).map(millis);
        Ok(made.fold(0.0, f64::max))
    }

    async fn end(&self, instance_ids: Vec<String>) -> Result {
        let mut gateway = GatewayServiceClient::new(self.channel.clone());
        let request = TerminateInstancesRequest { instance_ids, request_id: new_request_id() };
        gateway.terminate_instances(request).await?;
        Ok(())
    }

    /// Has storage start anew, and the kernel let go of its packs.
    pub(super) async fn forget_blocks(&self) -> Result {
        let old = self.storage()?;
        Command::new("kill").args(["-9", &old]).status()?;
        for pack in fs::read_dir(self.data.join("storage/blocks/packs"))? {
            let pack = fs::File::open(pack?.path())?;
            pack.sync_all()?;
            rustix::fs::fadvise(&pack, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let mut storage = StorageServiceClient::new(self.channel.clone());
        let until = Instant::now() + BOOT;
        loop {
            let request = ListVolumesRequest { page_size: 1, ..Default::default() };
            let back = self.storage().is_ok_and(|now| now != old);
            if back && storage.list_volumes(request).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("storage did not come back".into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Bytes that storage has read so far: of packs, and little else.
    pub(super) fn storage_bytes(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.storage()?))?;
        let read = text.lines().find_map(|line| line.strip_prefix("rchar:"));
        Ok(read.and_then(|count| count.trim().parse().ok()).unwrap_or_default())
    }

    fn storage(&self) -> Result<String> {
        let found = self.processes("serve storage").into_iter().next();
        Ok(found.ok_or("storage does not run")?)
    }

    /// Ends whatever still runs.
    pub(super) async fn end_machines(&self) -> Result {
        let mut launcher = LauncherServiceClient::new(self.channel.clone());
        let request = ListInstancesRequest { page_size: 900, ..Default::default() };
        let all = launcher.list_instances(request).await?.into_inner().instances;
        let alive = all.into_iter().filter(|i| i.state() != InstanceState::Terminated);
        let alive: Vec<_> = alive.map(|instance| instance.instance_id).collect();
        if alive.is_empty() { Ok(()) } else { self.end(alive).await }
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit 53 bits")]
fn millis(at: &prost_types::Timestamp) -> f64 {
    at.seconds as f64 * 1000.0 + f64::from(at.nanos) / 1e6
}
