//! One process a service, started again when it ends.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::Layout;
use crate::PROGRAM;

/// Between restarts: doubled each time up to the second, back to the first
/// after a run of the third.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
const GOOD_RUN: Duration = Duration::from_secs(10);
/// A service that ends this often before its first good run won't start.
const TRIES: u32 = 8;
/// What a service may take to drain.
const DRAIN: Duration = Duration::from_secs(15);

/// Keeps every service running until stopped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    keepers: JoinSet<()>,
    stop: watch::Sender<bool>,
    gave_up: Arc<AtomicBool>,
}

impl Supervisor {
    /// Starts them all.
    pub(crate) fn start(layout: &Layout) -> Self {
        let (stop, _) = watch::channel(false);
        let gave_up = Arc::new(AtomicBool::new(false));
        let mut keepers = JoinSet::new();
        for name in vmint_daemon::SERVICES {
            let mut command = Command::new(PROGRAM);
            command.arg0("vmint").env_remove(super::ACCESS_KEYS);
            command.args(["serve", name, "--supervised", "--config"]);
            command.arg(layout.settings(name)).stdin(Stdio::null()).current_dir(&layout.data);
            let log = layout.log(name);
            let keeper = Keeper { name, command, stop: stop.subscribe(), gave_up: gave_up.clone() };
            keepers.spawn(async move { keeper.keep(&log).await });
        }
        Self { keepers, stop, gave_up }
    }

    /// A service ended so often that it won't start.
    pub(crate) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// Ends them all and waits until they have drained.
    pub(crate) async fn stop(&mut self) {
        let _ = self.stop.send(true);
        while self.keepers.join_next().await.is_some() {}
    }
}

/// Keeps one service running.
struct Keeper {
    name: &'static str,
    command: Command,
    stop: watch::Receiver<bool>,
    gave_up: Arc<AtomicBool>,
}

impl Keeper {
    async fn keep(mut self, log: &Path) {
        let (mut delay, mut tries) = (FIRST_DELAY, 0);
        loop {
            let started = Instant::now();
            match self.spawn(log) {
                Ok(mut child) => tokio::select! {
                    status = child.wait() => {
                        let status = status.map(|s| s.to_string()).unwrap_or_default();
                        eprintln!("{} ended ({status}); starting it again", self.name);
                    }
                    () = stopped(&mut self.stop) => return end(child).await,
                },
                Err(error) => eprintln!("{} cannot be started: {error}", self.name),
            }
            if started.elapsed() >= GOOD_RUN {
                (delay, tries) = (FIRST_DELAY, 0);
            }
            tries += 1;
            if tries >= TRIES {
                self.gave_up.store(true, Ordering::Relaxed);
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = stopped(&mut self.stop) => return,
            }
            delay = (delay * 2).min(LAST_DELAY);
        }
    }

    fn spawn(&mut self, log: &Path) -> std::io::Result<Child> {
        let out: File = OpenOptions::new().create(true).append(true).open(log)?;
        self.command.stdout(out.try_clone()?).stderr(out).kill_on_drop(true).spawn()
    }
}

/// Ends when everything is to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever would tell us is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Asks a service to drain, and insists after a while.
async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(DRAIN, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
