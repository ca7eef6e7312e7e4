//! A running machine, launched or found again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{broadcast, watch},
    time::timeout,
};

use crate::{
    Result, VmmError,
    layout::{self, Confinement, Exit, Record},
    qmp::{Event, Qmp},
    spec::MachineSpec,
    supervise::{self, Status, Supervisor},
};

mod plug;
mod start;

const COMMAND: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(60);
const QUIT: Duration = Duration::from_secs(5);
const REAP: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
const SCREEN_LIMIT: u64 = 64 << 20;

/// When each step of a start was done, in microseconds since 1970. After an adoption
/// only the shim's and QEMU's own are known and the rest are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub requested_us: u64,
    pub shim_started_us: u64,
    pub qemu_started_us: u64,
    pub monitor_us: u64,
    /// When the guest ran its first instruction.
    pub resumed_us: u64,
}

/// A handle to one machine. Cheap to clone; dropping it does nothing to the machine.
#[derive(Debug, Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    spec: MachineSpec,
    record: Record,
    timings: Timings,
    supervisor: Supervisor,
    /// Held while a disk comes or goes.
    plugging: tokio::sync::Mutex<()>,
}

impl Machine {
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.inner.spec
    }

    #[must_use]
    pub fn timings(&self) -> Timings {
        self.inner.timings
    }

    /// How QEMU is shut in on this host.
    #[must_use]
    pub fn confinement(&self) -> &Confinement {
        &self.inner.record.confinement
    }

    /// QEMU's process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.inner.record.qemu.pid
    }

    /// The state now, asked of QEMU.
    pub async fn status(&self) -> Result<Status> {
        if let Some(gone) = self.gone() {
            return Ok(Status::Gone(gone));
        }
        match self.qmp().await {
            Ok(qmp) => match supervise::query(&qmp).await {
                Err(VmmError::Disconnected) => self.wait_gone(REAP).await.map(Status::Gone),
                other => other,
            },
            Err(VmmError::Gone) => self.wait_gone(REAP).await.map(Status::Gone),
            Err(error) => Err(error),
        }
    }

    /// The state as it changes; `None` until QEMU was first asked. `Gone` is the last.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Status>> {
        self.inner.supervisor.status()
    }

    /// QEMU's events from now on. Some are missed while a connection is made anew.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.supervisor.events()
    }

    /// Waits for a state that `wanted` likes, or for the machine's end.
    pub async fn wait(&self, limit: Duration, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let mut states = self.watch();
        let hit = |s: &Option<Status>| {
            s.as_ref().is_some_and(|s| wanted(s) || matches!(s, Status::Gone(_)))
        };
        let found = timeout(limit, states.wait_for(hit)).await;
        match found {
            Ok(Ok(state)) => state.clone().ok_or(VmmError::Gone),
            Ok(Err(_)) => Err(VmmError::Gone),
            Err(_) => Err(VmmError::Deadline { what: "waiting for the machine's state", limit }),
        }
    }

    /// Presses the power button; whether the guest heeds it is seen in its state.
    pub async fn powerdown(&self) -> Result<()> {
        self.run("system_powerdown", Value::Null).await.map(drop)
    }

    /// Pulls the reset line.
    pub async fn reset(&self) -> Result<()> {
        self.run("system_reset", Value::Null).await.map(drop)
    }

    pub async fn pause(&self) -> Result<()> {
        self.run("stop", Value::Null).await.map(drop)
    }

    pub async fn resume(&self) -> Result<()> {
        self.run("cont", Value::Null).await.map(drop)
    }

    /// Ends QEMU in good order (disks flushed), by force after 5 s; the guest is not
    /// asked. Returns once nothing of the machine is left.
    pub async fn quit(&self) -> Result<Exit> {
        if let Some(exit) = self.gone() {
            return Ok(exit);
        }
        if let Err(error) = self.run("quit", Value::Null).await {
            tracing::debug!(dir = %self.dir().display(), %error, "quit was not answered");
        }
        match self.wait_gone(QUIT).await {
            Ok(exit) => Ok(exit),
            Err(_) => self.kill().await,
        }
    }

    /// Ends QEMU at once. What the guest had not flushed is lost.
    pub async fn kill(&self) -> Result<Exit> {
        let record = &self.inner.record;
        record.qemu.kill().map_err(VmmError::io("killing QEMU"))?;
        if let Ok(exit) = self.wait_gone(REAP).await {
            return Ok(exit);
        }
        // The shim itself hangs. QEMU is dead or dies with it.
        record.shim.kill().map_err(VmmError::io("killing the shim"))?;
        self.wait_gone(REAP).await
    }

    /// Presses the power button, gives the guest `grace` to switch off, then ends QEMU.
    pub async fn stop(&self, grace: Duration) -> Result<Exit> {
        if self.powerdown().await.is_ok() {
            match self.wait(grace, Status::is_over).await {
                Ok(Status::Gone(exit)) => return Ok(exit),
                Ok(_) | Err(VmmError::Deadline { .. } | VmmError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        self.quit().await
    }

    /// What the screen shows, as a PNG picture.
    pub async fn screendump(&self) -> Result<Vec<u8>> {
        start::screendump(&*self.qmp().await?, COMMAND, SCREEN_LIMIT).await
    }

    /// The last 256 to 512 KiB the guest wrote on its serial port.
    pub async fn console_log(&self) -> Result<Vec<u8>> {
        console_log(self.dir()).await
    }

    /// The live serial port: reads what the guest writes, writes what it reads. With
    /// `backlog` the last 64 KiB come first. A reader that falls 1 MiB behind is cut off.
    pub async fn console_stream(&self, backlog: bool) -> Result<UnixStream> {
        let mut stream = self.connect(layout::console(self.dir())).await?;
        stream.write_all(&[u8::from(backlog)]).await.map_err(|_| VmmError::Gone)?;
        Ok(stream)
    }

    /// A connection to one of the guest's forwarded ports. That it opens does not mean
    /// that the guest listens: if not, it closes at once.
    pub async fn forward(&self, port: u16) -> Result<UnixStream> {
        if !self.spec().network.forward.contains(&port) {
            return Err(VmmError::PortNotForwarded { port });
        }
        let mut stream = self.connect(layout::forward(self.dir())).await?;
        let opened = timeout(CONNECT, async {
            stream.write_all(&port.to_be_bytes()).await?;
            stream.read_u8().await
        });
        match opened.await {
            Ok(Ok(0)) => Ok(stream),
            Ok(_) => Err(VmmError::PortRefused { port }),
            Err(_) => Err(VmmError::Deadline { what: "forwarding a port", limit: CONNECT }),
        }
    }

    /// Runs a monitor command that this type has no method for.
    pub async fn run(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp().await?.command(command, arguments, COMMAND).await
    }

    async fn qmp(&self) -> Result<Arc<Qmp>> {
        self.inner.supervisor.qmp(COMMAND).await
    }

    async fn connect(&self, path: PathBuf) -> Result<UnixStream> {
        match timeout(CONNECT, UnixStream::connect(&path)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Err(VmmError::Gone),
                _ => Err(VmmError::file(path)(error)),
            },
            Err(_) => Err(VmmError::Deadline { what: "connecting to the shim", limit: CONNECT }),
        }
    }

    fn gone(&self) -> Option<Exit> {
        match &*self.watch().borrow() {
            Some(Status::Gone(exit)) => Some(exit.clone()),
            _ => None,
        }
    }

    async fn wait_gone(&self, limit: Duration) -> Result<Exit> {
        match self.wait(limit, |_| false).await? {
            Status::Gone(exit) => Ok(exit),
            other => unreachable!("only an end was waited for, not {other:?}"),
        }
    }
}

/// The serial log of a machine that runs or ran in `dir`, last 256 to 512 KiB.
pub(crate) async fn console_log(dir: &Path) -> Result<Vec<u8>> {
    let mut log = Vec::new();
    for path in [layout::console_old(dir), layout::console_log(dir)] {
        match tokio::fs::read(&path).await {
            Ok(part) => log.extend(part),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(VmmError::file(path)(error)),
        }
    }
    Ok(log)
}

/// Arguments for the monitor's `screendump` into a file handed over before.
pub(crate) fn screendump_to(set: u64) -> Value {
    json!({"filename": format!("/dev/fdset/{set}"), "format": "png"})
}
