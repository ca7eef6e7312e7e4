//! Beginning a run.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;
use vmint_ids::InstanceId;

use super::{
    Fleet,
    fleet::HEARD,
    hypervisor::{HypervisorError, Machine, Plan},
    ssh,
};
use crate::{
    Identity, Instance, LauncherError, Result, State,
    instance::Run,
    metadata::{self, Facts},
    store::By,
};

impl Fleet {
    /// Makes the machine of a pending instance run. Answers once the guest runs, or at
    /// once if it runs already; goes on to the end even if the caller does not wait.
    pub(crate) async fn begin(&self, id: InstanceId, by: By) -> Result<Instance> {
        let this = self.clone();
        let work = self.tasks.spawn(async move { this.begin_now(id, by).await });
        work.await.map_err(|_| LauncherError::MachineFailed {
            id,
            why: "the launcher is being stopped".to_owned(),
        })?
    }

    async fn begin_now(&self, id: InstanceId, by: By) -> Result<Instance> {
        let _gate = self.gates.enter(id).await;
        // Its last run may be over and not quite gone.
        if let Some(live) = self.live(id)
            && live.machine.is_over()
        {
            live.ended().await;
        }
        let instance = self
            .records
            .get(id)?
            .ok_or_else(|| LauncherError::NoSuchInstance { id: id.to_string() })?;
        if instance.state != State::Pending {
            return Ok(instance);
        }
        let Some(identity) = &instance.identity else {
            return Err(instance.not_now("start"));
        };
        let over = self.over.child_token();
        match self.run(&instance, identity, &over, by).await {
            Ok((instance, machine)) => {
                self.watch(&instance, machine, over);
                let ssh = instance.ssh.map(|e| format!("{}:{}", e.address, e.port));
                tracing::info!(instance = %id, run = instance.run, ssh, "machine runs");
                Ok(instance)
            }
            Err(error) => {
                over.cancel();
                tracing::warn!(instance = %id, %error, "machine did not start");
                Err(error)
            }
        }
    }

    async fn run(
        &self,
        instance: &Instance,
        identity: &Identity,
        over: &CancellationToken,
        by: By,
    ) -> Result<(Instance, Arc<dyn Machine>)> {
        let id = instance.id;
        let dir = self.dir(id);
        let failed = |error| refused(id, error);
        // Left by a launcher that ended between the machine's start and its record.
        let mut found = self.hypervisor.adopt(&dir).await.map_err(failed)?;
        if let Some(over) = found.take_if(|machine| machine.is_over()) {
            over.quit().await.map_err(failed)?;
        }
        self.serve_metadata(instance, identity, over).await?;
        let machine = if let Some(machine) = found {
            machine
        } else {
            // Of the last run, if of any.
            drop(tokio::fs::remove_file(dir.join(HEARD)).await);
            let plan = self.plan(instance, identity);
            self.hypervisor.launch(&dir, &plan).await.map_err(failed)?
        };
        let ssh = self.serve_ssh(instance, identity, &machine, over).await;
        let facts = machine.facts();
        let run = Run {
            started_at: facts.started_at,
            accelerator: facts.accelerator,
            sandbox_gaps: facts.sandbox_gaps,
            ssh,
        };
        let begun = self.records.change(id, by, move |tx, instance| {
            let at = i64::try_from(tx.now_ms()).unwrap_or(i64::MAX);
            let happened = instance.began(run, at).map_err(vmint_store::TxError::Refused)?;
            Ok(vec![happened])
        });
        match begun.await {
            Ok(instance) => Ok((instance, machine)),
            Err(error) => {
                if let Err(error) = machine.quit().await {
                    tracing::error!(instance = %id, %error, "a machine without record runs on");
                }
                Err(error)
            }
        }
    }

    fn plan(&self, instance: &Instance, identity: &Identity) -> Plan {
        Plan {
            instance: instance.id.to_string(),
            uuid: identity.uuid.clone(),
            cpus: instance.cpus,
            memory_mib: instance.memory_mib,
            volumes: identity.volumes.clone(),
            mac: identity.mac,
            private_ip: identity.private_ip,
            prefix: self.places.prefix,
        }
    }

    /// Listens for the guest's metadata requests; before it runs, so that it need not
    /// ask twice.
    pub(super) async fn serve_metadata(
        &self,
        instance: &Instance,
        identity: &Identity,
        over: &CancellationToken,
    ) -> Result<()> {
        let id = instance.id;
        let failed = |what: &str, error: std::io::Error| LauncherError::MachineFailed {
            id,
            why: format!("{what}: {error}"),
        };
        let dir = self.dir(id);
        make_private(&dir).await.map_err(|e| failed("making its directory", e))?;
        let facts = Facts {
            instance: instance.clone(),
            identity: identity.clone(),
            user_data: self.records.user_data(id)?,
            prefix: self.places.prefix,
            region: self.places.region.clone(),
            zone: self.places.zone.clone(),
            accelerator: self.hypervisor.host().await.accelerator,
        };
        let path = vmint_vmm::layout::metadata(&dir);
        let server = metadata::Server::bind(&path, &facts, dir.join(HEARD))
            .map_err(|e| failed("binding its metadata service", e))?;
        self.tasks.spawn(server.serve(over.clone()));
        Ok(())
    }

    /// Opens the machine's way in; none if no address can be had.
    pub(super) async fn serve_ssh(
        &self,
        instance: &Instance,
        identity: &Identity,
        machine: &Arc<dyn Machine>,
        over: &CancellationToken,
    ) -> Option<crate::Endpoint> {
        let own = (u32::from(self.places.ssh) + identity.slot).into();
        match ssh::bind(instance.ssh, own).await {
            Ok((listener, endpoint)) => {
                self.tasks.spawn(ssh::serve(listener, Arc::clone(machine), over.clone()));
                Some(endpoint)
            }
            Err(error) => {
                tracing::warn!(instance = %instance.id, %error, "no address for ssh can be bound");
                None
            }
        }
    }
}

async fn make_private(dir: &Path) -> std::io::Result<()> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || DirBuilder::new().recursive(true).mode(0o700).create(dir))
        .await?
}

pub(super) fn refused(id: InstanceId, error: HypervisorError) -> LauncherError {
    match error {
        HypervisorError::Missing { hint } => LauncherError::NoHypervisor { hint },
        other => LauncherError::MachineFailed { id, why: other.to_string() },
    }
}
