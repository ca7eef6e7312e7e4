//! Launching a machine, and finding one again.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::{sleep, timeout},
};

use super::{Inner, Machine, START, Timings, console_log, screendump_to};
use crate::{
    Result, VmmError,
    layout::{self, Exit, Record, now_us},
    process::Process,
    qmp::Qmp,
    shim::Report,
    spec::MachineSpec,
    supervise::{Status, Supervisor, read_exit},
};

const REPORT_LIMIT: u64 = 1 << 20;
const RECORD_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

impl Machine {
    /// Starts a machine in `dir`, which is made if need be and should be no one else's to
    /// read. `shim` is a program that calls [`crate::shim::main`] when run as
    /// `PROGRAM __machine DIR`, usually our own. Bind [`layout::metadata`] before, if the
    /// guest is to find its metadata at once. On an error nothing is left running; so too
    /// when the returned future is dropped. All within 60 s.
    pub async fn launch(dir: &Path, spec: &MachineSpec, shim: &Path) -> Result<Self> {
        spec.check()?;
        let launch = Self::start(dir, spec, shim);
        timeout(START, launch)
            .await
            .map_err(|_| VmmError::Deadline { what: "starting the machine", limit: START })?
    }

    async fn start(dir: &Path, spec: &MachineSpec, shim: &Path) -> Result<Self> {
        let mut timings = Timings { requested_us: now_us(), ..Timings::default() };
        let (dir, lock, log) = {
            let (dir, spec) = (dir.to_owned(), spec.clone());
            blocking(move || prepare(&dir, &spec)).await?
        };
        let mut child = Command::new(shim)
            .arg("__machine")
            .arg(&dir)
            .stdin(lock)
            .stdout(Stdio::piped())
            .stderr(log)
            .current_dir("/")
            .env_clear()
            .spawn()
            .map_err(VmmError::file(shim))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(VmmError::Gone)?;
        let mut guard = KillShim(Process::of(pid).ok());
        let stdout = child.stdout.take().ok_or(VmmError::Gone)?;
        let mut line = String::new();
        BufReader::new(stdout.take(REPORT_LIMIT))
            .read_line(&mut line)
            .await
            .map_err(VmmError::io("reading the shim's report"))?;
        let record = match serde_json::from_str(&line) {
            Ok(Report::Ready(record)) => record,
            Ok(Report::Failed(reason)) => return Err(VmmError::Shim { reason }),
            Err(_) => {
                let log = dir.join("shim.log");
                let said = tokio::fs::read(&log).await.unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let reason = format!("it ended without a report; it said: {}", said.trim());
                return Err(VmmError::Shim { reason });
            }
        };
        timings.shim_started_us = record.shim_started_us;
        timings.qemu_started_us = record.qemu_started_us;
        let supervisor = watch(&dir, &record)?.ok_or(VmmError::Gone)?;
        let plugging = tokio::sync::Mutex::default();
        let spec = spec.clone();
        let mut inner = Inner { dir, spec, record, timings, supervisor, plugging };
        inner.release().await?;
        guard.0 = None;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finds the machine that runs in `dir`; `None` if none does. A number of a process
    /// is trusted only with its start time and with the machine's uuid in its command line.
    pub async fn adopt(dir: &Path) -> Result<Option<Self>> {
        let Ok(dir) = fs::canonicalize(dir) else { return Ok(None) };
        let end = tokio::time::Instant::now() + RECORD_WAIT;
        loop {
            let looked = dir.clone();
            match blocking(move || look(&looked)).await? {
                Found::Nothing => return Ok(None),
                Found::Machine(spec, record) => {
                    if let Some(supervisor) = watch(&dir, &record)? {
                        let timings = Timings {
                            shim_started_us: record.shim_started_us,
                            qemu_started_us: record.qemu_started_us,
                            ..Timings::default()
                        };
                        let plugging = tokio::sync::Mutex::default();
                        let spec = *spec;
                        let mut inner = Inner { dir, spec, record, timings, supervisor, plugging };
                        return match timeout(START, inner.begin()).await {
                            Ok(Ok(())) => Ok(Some(Self { inner: Arc::new(inner) })),
                            Ok(Err(VmmError::Ended { .. })) => Ok(None),
                            Ok(Err(error)) => Err(error),
                            Err(_) => {
                                Err(VmmError::Deadline { what: "adopting a machine", limit: START })
                            }
                        };
                    }
                }
                // Its shim is just beginning, or just ending.
                Found::Unsettled => {}
            }
            if tokio::time::Instant::now() > end {
                let reason = format!("the shim in {} does not settle", dir.display());
                return Err(VmmError::Shim { reason });
            }
            sleep(POLL).await;
        }
    }

    /// How the last run in `dir` ended; empty if that is not known.
    pub async fn last_exit(dir: &Path) -> Exit {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || read_exit(&dir)).await.unwrap_or_default()
    }

    /// The serial log of the machine that ran last in `dir`; empty if none did.
    pub async fn last_console_log(dir: &Path) -> Result<Vec<u8>> {
        console_log(dir).await
    }
}

impl Inner {
    /// Waits for QEMU, and lets the guest go if nobody has yet.
    async fn begin(&mut self) -> Result<()> {
        let mut states = self.supervisor.status();
        let first = states.wait_for(Option::is_some).await.map_err(|_| VmmError::Gone)?.clone();
        match first {
            Some(Status::Gone(exit)) => return Err(VmmError::Ended { exit }),
            Some(Status::Paused { reason }) if reason == "prelaunch" => {}
            _ => return Ok(()),
        }
        self.release().await
    }

    /// Lets the guest go as soon as QEMU listens.
    async fn release(&mut self) -> Result<()> {
        let qmp = match self.supervisor.qmp(START).await {
            Ok(qmp) => qmp,
            Err(VmmError::Gone) => return Err(self.ended().await),
            Err(error) => return Err(error),
        };
        self.timings.monitor_us = now_us();
        let limit = super::COMMAND;
        let mut events = qmp.events();
        qmp.command("cont", serde_json::Value::Null, limit).await?;
        self.timings.resumed_us = now_us();
        // The event was sent before the answer, with QEMU's own time.
        while let Ok(event) = events.try_recv() {
            if event.name == "RESUME" {
                self.timings.resumed_us = event.at_us();
            }
        }
        Ok(())
    }

    /// How a machine ended whose shim is gone.
    async fn ended(&self) -> VmmError {
        let mut states = self.supervisor.status();
        let gone = |state: &Option<Status>| matches!(state, Some(Status::Gone(_)));
        match states.wait_for(gone).await.as_deref() {
            Ok(Some(Status::Gone(exit))) => VmmError::Ended { exit: exit.clone() },
            _ => VmmError::Gone,
        }
    }
}

/// Ends a shim, and so its machine, unless told that all went well.
struct KillShim(Option<Process>);

impl Drop for KillShim {
    fn drop(&mut self) {
        if let Some(shim) = self.0
            && let Err(error) = shim.kill()
        {
            tracing::warn!(pid = shim.pid, %error, "a failed machine's shim could not be killed");
        }
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(|_| VmmError::Gone)?
}

fn prepare(dir: &Path, spec: &MachineSpec) -> Result<(PathBuf, File, File)> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(VmmError::file(dir))?;
    let dir = fs::canonicalize(dir).map_err(VmmError::file(dir))?;
    layout::check(&dir)?;
    let path = layout::lock(&dir);
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(VmmError::file(path))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(VmmError::AlreadyRunning { dir });
    }
    for old in [layout::machine(&dir), layout::exit(&dir)] {
        if old.exists() {
            fs::remove_file(&old).map_err(VmmError::file(old))?;
        }
    }
    let path = layout::spec(&dir);
    layout::write_json(&path, spec).map_err(VmmError::file(path))?;
    let path = dir.join("shim.log");
    let log = File::create(&path).map_err(VmmError::file(path))?;
    Ok((dir, lock, log))
}

enum Found {
    Nothing,
    Machine(Box<MachineSpec>, Record),
    Unsettled,
}

fn look(dir: &Path) -> Result<Found> {
    let path = layout::lock(dir);
    let Ok(lock) = File::options().write(true).open(path) else { return Ok(Found::Nothing) };
    // The shim holds the lock for as long as it lives.
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(Found::Nothing);
    }
    let path = layout::machine(dir);
    let record: Option<Record> = layout::read_json(&path).map_err(VmmError::file(path))?;
    let path = layout::spec(dir);
    let spec: Option<MachineSpec> = layout::read_json(&path).map_err(VmmError::file(path))?;
    match (spec, record) {
        (Some(spec), Some(record))
            if record.uuid == spec.uuid.as_str() && record.qemu.says(&record.uuid) =>
        {
            Ok(Found::Machine(Box::new(spec), record))
        }
        _ => Ok(Found::Unsettled),
    }
}

fn watch(dir: &Path, record: &Record) -> Result<Option<Supervisor>> {
    let shim = record.shim.handle().map_err(VmmError::io("watching the shim"))?;
    let start = |shim: OwnedFd| Supervisor::start(dir, shim);
    shim.map(start).transpose().map_err(VmmError::io("watching the shim"))
}

/// QEMU may write no file of the host, so it gets one that has no name.
pub(super) async fn screendump(qmp: &Qmp, limit: Duration, most: u64) -> Result<Vec<u8>> {
    let failed = || VmmError::io("making a file for the screen");
    let screen = memfd_create("screen", MemfdFlags::CLOEXEC).map_err(|e| failed()(e.into()))?;
    let mut screen = File::from(screen);
    let path = format!("/proc/self/fd/{}", screen.as_raw_fd());
    // QEMU opens the file for writing only and wants a handle of just that kind.
    let write = File::options().write(true).open(path).map_err(failed())?;
    let added = qmp.command_with_file("add-fd", json!({}), &write, limit).await?;
    let set = added["fdset-id"]
        .as_u64()
        .ok_or_else(|| VmmError::Protocol("add-fd without a set".into()))?;
    let dumped = qmp.command("screendump", screendump_to(set), limit).await;
    let removed = qmp.command("remove-fd", json!({"fdset-id": set}), limit).await;
    dumped?;
    removed?;
    let mut picture = Vec::new();
    screen.rewind().map_err(failed())?;
    screen.take(most).read_to_end(&mut picture).map_err(failed())?;
    Ok(picture)
}
