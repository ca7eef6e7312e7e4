//! The task that keeps a machine's state known: monitor events and the shim's end.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    Result, VmmError,
    layout::{self, Exit, Record},
    process,
    qmp::{Event, Qmp},
    shim,
};

const CONNECT: Duration = Duration::from_secs(10);
const QUERY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const EVENTS: usize = 256;

/// What a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The guest's processors run.
    Running,
    /// They stand still, in the state QEMU calls `reason`, and can go on.
    Paused { reason: String },
    /// The guest switched itself off; QEMU waits to be told to end.
    Shutdown,
    /// The guest or QEMU failed and cannot go on.
    Crashed { reason: String },
    /// QEMU has ended.
    Gone(Exit),
}

impl Status {
    fn of(state: &str) -> Self {
        let reason = state.to_owned();
        match state {
            "running" => Self::Running,
            "shutdown" => Self::Shutdown,
            "guest-panicked" | "internal-error" => Self::Crashed { reason },
            _ => Self::Paused { reason },
        }
    }

    /// Whether the machine has come to its end: only [`crate::Machine::quit`] is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Crashed { .. } | Self::Gone(_))
    }
}

pub(crate) async fn query(qmp: &Qmp) -> Result<Status> {
    let answer = qmp.command("query-status", Value::Null, QUERY).await?;
    answer["status"]
        .as_str()
        .map(Status::of)
        .ok_or_else(|| VmmError::Protocol("query-status without a status".into()))
}

/// A running watch over one machine. Ends with the machine or when dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    qmp: watch::Receiver<Option<Arc<Qmp>>>,
    status: watch::Receiver<Option<Status>>,
    events: broadcast::Sender<Event>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// `shim` is the process handle of the machine's shim.
    pub(crate) fn start(dir: &Path, shim: OwnedFd) -> io::Result<Self> {
        let shim = process::watch(shim)?;
        let (qmp_tx, qmp) = watch::channel(None);
        let (status_tx, status) = watch::channel(None);
        let (events, _) = broadcast::channel(EVENTS);
        let watch =
            Watch { dir: dir.to_owned(), qmp: qmp_tx, status: status_tx, events: events.clone() };
        let task = tokio::spawn(async move {
            tokio::select! {
                () = watch.follow() => {}
                _ = shim.readable() => {}
            }
            watch.bury().await;
        });
        Ok(Self { qmp, status, events, task })
    }

    pub(crate) fn status(&self) -> watch::Receiver<Option<Status>> {
        self.status.clone()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The monitor, as soon as there is a connection.
    pub(crate) async fn qmp(&self, limit: Duration) -> Result<Arc<Qmp>> {
        let mut qmp = self.qmp.clone();
        let found = tokio::time::timeout(limit, qmp.wait_for(Option::is_some)).await;
        match found {
            Ok(Ok(qmp)) => qmp.clone().ok_or(VmmError::Gone),
            Ok(Err(_)) => Err(VmmError::Gone),
            Err(_) => Err(VmmError::Deadline { what: "connecting to QEMU's monitor", limit }),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watch {
    dir: PathBuf,
    qmp: watch::Sender<Option<Arc<Qmp>>>,
    status: watch::Sender<Option<Status>>,
    events: broadcast::Sender<Event>,
}

impl Watch {
    /// Keeps a connection; never returns, as only the shim's end is the machine's.
    async fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match Qmp::connect(&layout::qmp(&self.dir), CONNECT).await {
                Ok(qmp) => {
                    pause = FIRST_PAUSE;
                    let result = self.listen(Arc::new(qmp)).await;
                    self.qmp.send_replace(None);
                    if let Err(error) = result {
                        tracing::debug!(dir = %self.dir.display(), %error, "monitor lost");
                    }
                }
                Err(error) => {
                    tracing::debug!(dir = %self.dir.display(), %error, "no monitor yet");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn listen(&self, qmp: Arc<Qmp>) -> Result<()> {
        // Subscribed before the first question, so that no change falls between.
        let mut events = qmp.events();
        self.qmp.send_replace(Some(Arc::clone(&qmp)));
        self.publish(query(&qmp).await?);
        loop {
            tokio::select! {
                () = qmp.closed() => return Err(VmmError::Disconnected),
                event = events.recv() => {
                    if let Ok(event) = event {
                        let _ = self.events.send(event);
                    }
                    // Also after a gap: the state itself is asked for, never inferred.
                    self.publish(query(&qmp).await?);
                }
            }
        }
    }

    fn publish(&self, status: Status) {
        self.status.send_if_modified(|now| {
            let changed = now.as_ref() != Some(&status);
            *now = Some(status);
            changed
        });
    }

    async fn bury(self) {
        self.qmp.send_replace(None);
        let dir = self.dir.clone();
        let exit = tokio::task::spawn_blocking(move || read_exit(&dir)).await;
        self.publish(Status::Gone(exit.unwrap_or_default()));
    }
}

/// The record of the last run's end; empty if the shim could not write one: then
/// what it left behind is removed, unless a machine runs there again.
pub(crate) fn read_exit(dir: &Path) -> Exit {
    if let Ok(Some(exit)) = layout::read_json(&layout::exit(dir)) {
        return exit;
    }
    let lock = File::options().write(true).open(layout::lock(dir));
    let free = |lock: &File| flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    if lock.as_ref().is_ok_and(free)
        && let Ok(Some(record)) = layout::read_json::<Record>(&layout::machine(dir))
    {
        shim::sweep(dir, &record.groups);
    }
    Exit::default()
}
