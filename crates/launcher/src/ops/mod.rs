//! What can be done with instances, one file to a verb.

mod console;
mod ensure_machines;
mod events;
mod halt;
mod identify;
mod key_pairs;
mod list;
mod modify;
mod plug;
mod reboot;
mod reserve;
mod start;
mod statuses;
mod stop;
mod terminate;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use vmint_ids::InstanceId;
use vmint_store::Store;

use crate::{
    Config, Instance, Result,
    machines::{
        Fleet, Places,
        hypervisor::{Host, Hypervisor},
    },
    store::{Limits, Network, Records},
};

pub use console::{Console, ConsoleInput};
pub use events::MachineEvent;
pub use key_pairs::{KeyQuery, MadeKeyPair};
pub use list::{Page, Query};
pub use reserve::Reservation;
pub use statuses::{Health, Status};
pub use watch::Following;

/// How long what is left of an ended instance can still be read.
const LAST_WORDS: Duration = Duration::from_hours(1);
/// How long an ended instance's record is kept.
const RECORD_KEPT: Duration = Duration::from_hours(24);
const SWEEP: Duration = Duration::from_mins(1);
/// How long machines may take to be let go.
const LET_GO: Duration = Duration::from_secs(4);

/// The launcher itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Launcher {
    records: Records,
    fleet: Fleet,
    limits: Limits,
    network: Network,
    /// Cancelled when endless answers are to end.
    draining: CancellationToken,
}

impl Launcher {
    /// A launcher on what `store` holds; [`Launcher::adopt`] comes next.
    pub fn new(store: Store, hypervisor: Arc<dyn Hypervisor>, config: &Config) -> Result<Self> {
        config.check()?;
        let network = config.network()?;
        let records = Records::new(store);
        let places = Places {
            instances: config.instances_dir.clone(),
            consoles: config.service.data.join("consoles"),
            ssh: config.ssh_base()?,
            prefix: network.prefix,
            region: config.region.clone(),
            zone: format!("{}a", config.region),
            grace: Duration::from_secs(config.stop_grace_seconds),
        };
        let limits = config.limits();
        let fleet = Fleet::new(records.clone(), hypervisor, places);
        Ok(Self { records, fleet, limits, network, draining: CancellationToken::new() })
    }

    /// Ends endless answers when `token` is cancelled.
    #[must_use]
    pub fn draining(mut self, token: CancellationToken) -> Self {
        self.draining = token;
        self
    }

    /// Finds the machines again that ran when the last launcher ended.
    pub async fn adopt(&self) -> Result<()> {
        for dir in [&self.fleet.places().instances, &self.fleet.places().consoles] {
            if let Err(error) = make_dir(dir.clone()).await {
                tracing::error!(dir = %dir.display(), %error, "cannot be made");
            }
        }
        self.fleet.adopt_all().await
    }

    /// Notes machines' lives and forgets old ends, until `stop` is cancelled; lets go of
    /// the machines then.
    pub async fn tend(self, stop: CancellationToken) {
        let pulse = self.fleet.clone().pulse();
        tokio::select! {
            () = pulse => {}
            () = self.sweep() => {}
            () = stop.cancelled() => {}
        }
        self.let_go().await;
    }

    /// Lets go of the machines, which go on by themselves.
    pub async fn let_go(&self) {
        if tokio::time::timeout(LET_GO, self.fleet.let_go()).await.is_err() {
            tracing::warn!("work on machines is cut off; it is taken up at the next start");
        }
    }

    /// Works on `task` for as long as this launcher lives.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.fleet.spawn(task);
    }

    /// What the host can do. Looks at it first, if nobody has.
    pub async fn host(&self) -> Host {
        self.fleet.hypervisor().host().await
    }

    /// What machines may have of the host's memory, in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u64 {
        self.limits.memory_mib
    }

    /// Records by id, of whatever account; unknown ids are left out.
    pub fn batch_get(&self, ids: &[InstanceId]) -> Result<Vec<Instance>> {
        ids.iter().filter_map(|id| self.records.get(*id).transpose()).collect()
    }

    /// An instance of the account's, by id, or by name if it is not terminated.
    pub fn get(&self, account: &str, text: &str) -> Result<Instance> {
        self.records.owned(account, text)
    }

    async fn sweep(&self) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            if let Err(error) = self.forget_old().await {
                tracing::warn!(%error, "old instances are not forgotten");
            }
            let dir = self.fleet.places().consoles.clone();
            drop(tokio::task::spawn_blocking(move || remove_old(&dir)).await);
        }
    }

    async fn forget_old(&self) -> Result<()> {
        if !self.records.any_ended()? {
            return Ok(());
        }
        let before = crate::clock::before(RECORD_KEPT);
        while self.records.forget(before).await? > 0 {}
        Ok(())
    }
}

async fn make_dir(dir: PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = move || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    tokio::task::spawn_blocking(make).await?
}

/// Removes the consoles of those that ended long ago.
fn remove_old(dir: &std::path::Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
        if age.is_some_and(|age| age > LAST_WORDS)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(file = %entry.path().display(), %error, "not removed");
        }
    }
}
