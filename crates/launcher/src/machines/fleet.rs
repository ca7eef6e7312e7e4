//! The machines of this host.

use std::{
    collections::HashMap,
    fs::FileTimes,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vmint_ids::InstanceId;

use super::{
    gate::Gates,
    hypervisor::{End, Hypervisor, Machine},
    simulated::SIMULATED,
};
use crate::{
    Instance, clock,
    store::{Records, Seen},
};

/// How often a running machine's life is noted.
const PULSE: Duration = Duration::from_secs(5);
/// Its file's time is when the machine was last seen alive.
const ALIVE: &str = "alive";
/// Is there once the guest of this run was heard of.
pub(super) const HEARD: &str = "heard";
/// What guests say on their console when they are up.
const BOOTED: [&[u8]; 4] =
    [b"vmint-guest: ready", b" login:", b"Cloud-init v.", b"Windows is Ready to use"];

/// Where machines and what belongs to them are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// One directory for each instance.
    pub(crate) instances: PathBuf,
    /// The last words of those that ended.
    pub(crate) consoles: PathBuf,
    /// The first of the loopback addresses machines are reached at.
    pub(crate) ssh: Ipv4Addr,
    /// Bits of the private subnet.
    pub(crate) prefix: u8,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) grace: Duration,
}

/// The machines of this host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(super) records: Records,
    pub(super) hypervisor: Arc<dyn Hypervisor>,
    pub(super) places: Places,
    pub(super) gates: Gates,
    live: Mutex<HashMap<InstanceId, Arc<Live>>>,
    /// Everything this does in the background, and what ends it.
    pub(super) tasks: TaskTracker,
    pub(super) over: CancellationToken,
}

/// A machine that runs under this launcher's eyes.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) machine: Arc<dyn Machine>,
    pub(super) run: u64,
    /// Set once it has ended and its record says so.
    pub(super) end: watch::Sender<Option<End>>,
    /// Cancelled when what serves it is to end.
    pub(super) over: CancellationToken,
    /// Someone already waits for its guest to power off.
    pub(super) stopping: AtomicBool,
    /// Cancelled when the plug is to be pulled.
    pub(super) force: CancellationToken,
    /// Why it ended, if that was us.
    pub(super) cause: Mutex<Option<String>>,
}

impl std::ops::Deref for Fleet {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("instances", &self.places.instances).finish_non_exhaustive()
    }
}

impl Fleet {
    pub(crate) fn new(records: Records, hypervisor: Arc<dyn Hypervisor>, places: Places) -> Self {
        let inner = Inner {
            records,
            hypervisor,
            places,
            gates: Gates::default(),
            live: Mutex::default(),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn hypervisor(&self) -> &dyn Hypervisor {
        self.hypervisor.as_ref()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// The instance's machine, if one runs.
    pub(crate) fn live(&self, id: InstanceId) -> Option<Arc<Live>> {
        self.live.lock().get(&id).cloned()
    }

    /// Works on `task` until it ends or the machines are let go.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = over.cancelled() => {}
            }
        });
    }

    /// Lets go of all machines; they go on by themselves.
    pub(crate) async fn let_go(&self) {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn dir(&self, id: InstanceId) -> PathBuf {
        self.places.instances.join(id.to_string())
    }

    /// Watches a machine that runs until it ends, and writes that down.
    pub(super) fn watch(
        &self,
        instance: &Instance,
        machine: Arc<dyn Machine>,
        over: CancellationToken,
    ) {
        let id = instance.id;
        let live = Arc::new(Live {
            machine,
            run: instance.run,
            end: watch::Sender::new(None),
            over,
            stopping: AtomicBool::new(false),
            force: CancellationToken::new(),
            cause: Mutex::new(None),
        });
        self.live.lock().insert(id, Arc::clone(&live));
        let this = self.clone();
        self.tasks.spawn(async move {
            let end = tokio::select! {
                end = live.machine.ended() => end,
                () = this.over.cancelled() => return,
            };
            live.over.cancel();
            let cause = live.cause.lock().clone();
            let at = end.at.unwrap_or_else(clock::now);
            let seen = Seen { reason: end.reason.clone(), powered_off: end.powered_off };
            let ended = this.records.machine_ended(id, live.run, cause, seen, at).await;
            this.live.lock().remove(&id);
            live.end.send_replace(Some(End { at: Some(at), ..end }));
            match ended {
                Ok(instance) => {
                    tracing::info!(instance = %id, reason = instance.reason, "machine ended");
                    this.finish_if_ending(&instance).await;
                }
                // Found to be gone at the next start.
                Err(error) => tracing::error!(instance = %id, %error, "an end is not recorded"),
            }
        });
    }

    /// Notes every few seconds which machines are alive, so that one that ends while
    /// nobody looks is not taken to have run for longer than was seen.
    pub(crate) async fn pulse(self) {
        let mut tick = tokio::time::interval(PULSE);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.over.cancelled() => return,
            }
            let live: Vec<_> =
                self.live.lock().iter().map(|(id, l)| (*id, Arc::clone(l))).collect();
            let dirs: Vec<_> = live
                .into_iter()
                .filter(|(_, live)| !live.machine.is_over())
                .map(|(id, _)| self.dir(id))
                .collect();
            let noted = tokio::task::spawn_blocking(move || {
                for dir in dirs {
                    if let Err(error) = touch(&dir) {
                        tracing::debug!(dir = %dir.display(), %error, "life is not noted");
                    }
                }
            });
            drop(noted.await);
        }
    }

    /// Whether the guest of the present run was heard of: it asked for its metadata, or
    /// its console shows that it has booted.
    pub(crate) async fn heard(&self, id: InstanceId, live: &Live) -> bool {
        let file = self.dir(id).join(HEARD);
        // There is no guest that could be down.
        if live.machine.facts().accelerator == SIMULATED {
            return true;
        }
        if tokio::fs::try_exists(&file).await.unwrap_or(false) {
            return true;
        }
        let log = live.machine.console_log().await.unwrap_or_default();
        let booted = BOOTED.iter().any(|sign| log.windows(sign.len()).any(|w| w == *sign));
        if booted {
            drop(tokio::fs::write(&file, "").await);
        }
        booted
    }

    /// When the machine in `dir` was last seen alive.
    pub(super) async fn last_alive(&self, id: InstanceId) -> Option<i64> {
        let meta = tokio::fs::metadata(self.dir(id).join(ALIVE)).await.ok()?;
        meta.modified().ok().map(clock::of)
    }
}

impl Live {
    /// Waits until it has ended and its record says so.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            Err(_) => None,
        }
        .unwrap_or(End { reason: String::new(), powered_off: false, at: None })
    }

    /// Says why it is about to end, if nobody has yet.
    pub(super) fn blame(&self, cause: &str) {
        self.cause.lock().get_or_insert_with(|| cause.to_owned());
    }

    /// Whether the caller is the first who wants it to stop.
    pub(super) fn first_to_stop(&self) -> bool {
        !self.stopping.swap(true, Ordering::Relaxed)
    }
}

fn touch(dir: &Path) -> std::io::Result<()> {
    let file =
        std::fs::File::options().create(true).truncate(false).write(true).open(dir.join(ALIVE))?;
    file.set_times(FileTimes::new().set_modified(SystemTime::now()))
}
