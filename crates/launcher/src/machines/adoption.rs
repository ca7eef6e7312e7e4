//! Finding machines again after this process was away.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use vmint_ids::InstanceId;

use super::{
    Fleet,
    end::remove_dir,
    hypervisor::{HypervisorError, Machine},
};
use crate::{
    Instance, LauncherError, Result, State, clock,
    instance::POWERED_OFF,
    store::{By, Seen},
};

/// Machines looked for at a time.
const AT_ONCE: usize = 16;
/// How long one machine may keep the others, and the service, waiting.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two looks at a machine that is there but does not answer.
const AGAIN: Duration = Duration::from_secs(5);

impl Fleet {
    /// Brings records and machines together: what runs is watched again, what is gone
    /// is recorded as such, what nobody knows of is ended.
    pub(crate) async fn adopt_all(&self) -> Result<()> {
        let instances = self.records.all()?;
        let known: HashSet<_> = instances.iter().map(|i| i.id).collect();
        stream::iter(instances)
            .for_each_concurrent(AT_ONCE, |instance| self.settle(instance))
            .await;
        self.remove_strangers(&known).await;
        Ok(())
    }

    async fn settle(&self, instance: Instance) {
        let id = instance.id;
        match instance.state {
            State::Running | State::Stopping => {
                if let Err(error) = self.find(&instance).await {
                    tracing::error!(instance = %id, %error, "a machine is not found again yet");
                    let this = self.clone();
                    self.tasks.spawn(async move { this.find_later(id).await });
                }
            }
            // A saga's: it asks again.
            State::Pending if instance.unlaunched() => {}
            // A start that was promised.
            State::Pending => drop(self.start(id)),
            State::ShuttingDown => {
                let this = self.clone();
                self.tasks.spawn(async move {
                    if let Err(error) = this.finish(id).await {
                        tracing::error!(instance = %id, %error, "not terminated yet");
                    }
                });
            }
            State::Stopped => {
                if let Err(error) = self.remove_machine(id).await {
                    tracing::error!(instance = %id, %error, "a stopped machine runs on");
                }
            }
            // Its directory goes with the strangers'.
            State::Terminated => {}
        }
    }

    /// Starts a pending instance that ran before; a failure makes it stopped again. Goes
    /// on to the end even if the caller does not wait.
    pub(crate) fn start(&self, id: InstanceId) -> impl Future<Output = Result<Instance>> + use<> {
        let this = self.clone();
        let work = self.tasks.spawn(async move {
            let begun = this.begin(id, By::Itself).await;
            if let Err(error) = &begun {
                let reason = format!("could not be started: {error:.500}");
                if let Err(error) = this.records.start_failed(id, reason).await {
                    tracing::error!(instance = %id, %error, "a failed start is not recorded");
                }
            }
            begun
        });
        async move {
            let why = "the launcher is being stopped".to_owned();
            work.await.map_err(|_| LauncherError::MachineFailed { id, why })?
        }
    }

    async fn find(&self, instance: &Instance) -> Result<()> {
        let id = instance.id;
        let dir = self.dir(id);
        let _gate = self.gates.enter(id).await;
        let alive = self.last_alive(id).await;
        let found = tokio::time::timeout(PATIENCE, self.hypervisor.adopt(&dir)).await;
        let late = |_| HypervisorError::Failed("it does not answer in time".to_owned());
        let found = found.map_err(late).flatten();
        let found = found.map_err(|error| super::begin::refused(id, error))?;
        if let Some(machine) = found {
            return self.take_up(instance, machine, alive).await;
        }
        let end = self.hypervisor.last_end(&dir).await;
        let at = end.as_ref().and_then(|end| end.at).or(alive).or(instance.started_at);
        let lost = || Seen { reason: "the machine was lost".to_owned(), powered_off: false };
        let seen =
            end.map_or_else(lost, |end| Seen { reason: end.reason, powered_off: end.powered_off });
        let at = at.unwrap_or_else(clock::now);
        let ended = self.records.machine_ended(id, instance.run, None, seen, at).await?;
        tracing::warn!(instance = %id, "machine is gone");
        // Not waited for: it takes the gate that is held here.
        let this = self.clone();
        self.tasks.spawn(async move { this.finish_if_ending(&ended).await });
        Ok(())
    }

    /// Serves and watches a machine that was found, last seen `alive` then.
    async fn take_up(
        &self,
        instance: &Instance,
        machine: Arc<dyn Machine>,
        alive: Option<i64>,
    ) -> Result<()> {
        let id = instance.id;
        let over = self.over.child_token();
        // What is begun here ends again if the rest fails.
        let guard = over.clone().drop_guard();
        if let Some(identity) = &instance.identity {
            self.serve_metadata(instance, identity, &over).await?;
            let ssh = self.serve_ssh(instance, identity, &machine, &over).await;
            if ssh != instance.ssh {
                let moved = self.records.change(id, By::Itself, move |_, instance| {
                    instance.ssh = ssh.or(instance.ssh);
                    Ok(vec![])
                });
                moved.await?;
            }
        }
        if machine.is_over() {
            // It ended unseen: bill no longer than it was seen alive.
            let at = alive.unwrap_or(instance.changed_at);
            let seen = Seen { reason: POWERED_OFF.to_owned(), powered_off: true };
            self.records.machine_ended(id, instance.run, None, seen, at).await?;
        }
        guard.disarm();
        self.watch(instance, machine, over);
        tracing::info!(instance = %id, "machine found again");
        if instance.state == State::Stopping {
            self.stop(id, instance.run, false);
        }
        Ok(())
    }

    async fn find_later(&self, id: InstanceId) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.over.cancelled() => return,
            }
            match self.records.get(id) {
                Ok(Some(instance)) if instance.state.has_machine() && self.live(id).is_none() => {
                    match self.find(&instance).await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::error!(instance = %id, %error, "still not found again");
                        }
                    }
                }
                Ok(_) => return,
                Err(error) => tracing::error!(instance = %id, %error, "cannot be read"),
            }
        }
    }

    /// Ends machines in directories that no record speaks of, and removes those.
    async fn remove_strangers(&self, known: &HashSet<InstanceId>) {
        let Ok(mut entries) = tokio::fs::read_dir(&self.places.instances).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name();
            // Nothing else of ours has such a name; what is not ours is left alone.
            let Some(id) = name.to_str().and_then(|n| n.parse::<InstanceId>().ok()) else {
                continue;
            };
            let gone = match self.records.get(id) {
                Ok(Some(instance)) => instance.state == State::Terminated,
                Ok(None) => !known.contains(&id),
                Err(_) => false,
            };
            if !gone {
                continue;
            }
            tracing::warn!(instance = %id, "removing a machine that no record speaks of");
            match self.remove_machine(id).await {
                Ok(_) => remove_dir(&entry.path()).await,
                Err(error) => tracing::error!(instance = %id, %error, "it does not end"),
            }
        }
    }
}
