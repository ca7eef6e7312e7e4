//! Ending a run, or an instance.

use std::{path::Path, time::Duration};

use vmint_ids::InstanceId;

use super::{Fleet, begin::refused, fleet::Live};
use crate::{Instance, Result, State, clock};

/// What is kept of a console, from its end, in bytes.
const KEPT: usize = 64 << 10;
/// How long a machine's end may take to be recorded once its processes are gone.
const RECORDED: Duration = Duration::from_secs(30);

impl Fleet {
    /// Ends run `run` of a stopping instance in the background: by its power button, and
    /// by force once the grace is over, or at once if `force`.
    pub(crate) fn stop(&self, id: InstanceId, run: u64, force: bool) {
        let this = self.clone();
        self.tasks.spawn(async move {
            // A machine that is just beginning is waited for.
            let gate = this.gates.enter(id).await;
            let Some(live) = this.live(id).filter(|live| live.run == run) else { return };
            drop(gate);
            if force {
                live.force.cancel();
            }
            if live.first_to_stop() {
                let over = this.over.clone();
                tokio::select! {
                    () = this.power_off(id, &live) => {}
                    () = over.cancelled() => {}
                }
            }
        });
    }

    async fn power_off(&self, id: InstanceId, live: &Live) {
        let asked = async {
            if let Err(error) = live.machine.powerdown().await {
                tracing::warn!(instance = %id, %error, "the power button was not pressed");
                return;
            }
            tokio::time::sleep(self.places.grace).await;
        };
        tokio::select! {
            _ = live.ended() => return,
            () = live.force.cancelled() => live.blame("stopped on request, by force"),
            () = asked => {
                let record = self.records.get(id).ok().flatten();
                let why = record.map_or_else(String::new, |instance| instance.reason);
                live.blame(&format!("{why}; the guest did not power off in time"));
            }
        }
        while let Err(error) = live.machine.quit().await {
            tracing::error!(instance = %id, %error, "the machine does not end");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends a shutting-down instance for good; answers once nothing of its machine is
    /// left. Goes on to the end even if the caller does not wait.
    pub(crate) async fn finish(&self, id: InstanceId) -> Result<Instance> {
        let this = self.clone();
        let work = self.tasks.spawn(async move { this.finish_now(id).await });
        work.await.map_err(|_| crate::LauncherError::MachineMute {
            id,
            why: "the launcher is being stopped".to_owned(),
        })?
    }

    /// Ends for good what its guest's power-off has begun to end.
    pub(super) async fn finish_if_ending(&self, instance: &Instance) {
        if instance.state == State::ShuttingDown
            && let Err(error) = self.finish(instance.id).await
        {
            tracing::error!(instance = %instance.id, %error, "not terminated yet");
        }
    }

    async fn finish_now(&self, id: InstanceId) -> Result<Instance> {
        let _gate = self.gates.enter(id).await;
        let found = self.records.get(id)?;
        if let Some(instance) = found.filter(|i| i.state == State::Terminated) {
            return Ok(instance);
        }
        let at = self.remove_machine(id).await?;
        let dir = self.dir(id);
        let log = self.last_console(id).await;
        self.keep_console(id, log).await;
        remove_dir(&dir).await;
        let instance = self.records.finish_end(id, at).await?;
        tracing::info!(instance = %id, "terminated");
        Ok(instance)
    }

    /// Ends whatever machine the instance has; says since when it is gone.
    pub(super) async fn remove_machine(&self, id: InstanceId) -> Result<i64> {
        let failed = |error| refused(id, error);
        if let Some(live) = self.live(id) {
            live.blame("terminated");
            live.machine.quit().await.map_err(failed)?;
            let end = tokio::time::timeout(RECORDED, live.ended()).await;
            return Ok(end.ok().and_then(|end| end.at).unwrap_or_else(clock::now));
        }
        let dir = self.dir(id);
        if let Some(machine) = self.hypervisor.adopt(&dir).await.map_err(failed)? {
            machine.quit().await.map_err(failed)?;
            return Ok(clock::now());
        }
        // It ended unseen, if it ever ran.
        let end = self.hypervisor.last_end(&dir).await.and_then(|end| end.at);
        let alive = self.last_alive(id).await;
        Ok(end.or(alive).unwrap_or_else(clock::now))
    }

    async fn keep_console(&self, id: InstanceId, log: Vec<u8>) {
        if log.is_empty() {
            return;
        }
        let path = self.console_path(id);
        if let Err(error) = tokio::fs::write(&path, console_tail(log)).await {
            tracing::warn!(instance = %id, %error, "the console's end is not kept");
        }
    }

    /// What the instance's last machine printed.
    pub(crate) async fn last_console(&self, id: InstanceId) -> Vec<u8> {
        self.hypervisor.last_console(&self.dir(id)).await
    }

    pub(crate) fn console_path(&self, id: InstanceId) -> std::path::PathBuf {
        self.places().consoles.join(format!("{id}.log"))
    }
}

/// Removes a directory of ours; what is left by an error is removed at the next start.
pub(super) async fn remove_dir(dir: &Path) {
    match tokio::fs::remove_dir_all(dir).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(dir = %dir.display(), %error, "not removed"),
    }
}

/// The end of a console's log, at most 64 KiB.
pub(crate) fn console_tail(mut log: Vec<u8>) -> Vec<u8> {
    let surplus = log.len().saturating_sub(KEPT);
    log.drain(..surplus);
    log
}
