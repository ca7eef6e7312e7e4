//! What the launcher asks of whatever runs machines.

use std::{fmt, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::net::UnixStream;

use crate::Volume;

/// Why the hypervisor did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// It is not installed; `hint` says how to get it.
    #[error("no hypervisor is installed")]
    Missing { hint: String },
    #[error("the guest does not let go of the volume")]
    Held,
    #[error("the volume stays for as long as the machine runs")]
    Fixed,
    #[error("the machine has no place for another volume")]
    NoPlace,
    #[error("{0}")]
    Failed(String),
}

/// What the host can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// "kvm", "tcg" or "simulated"; empty if no machine can be run.
    pub accelerator: String,
    /// Why that one.
    pub reason: String,
    pub version: String,
    /// What is missing and how to get it; empty if nothing is.
    pub hint: String,
}

/// A machine to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub instance: String,
    pub uuid: String,
    pub cpus: u16,
    pub memory_mib: u32,
    /// In boot order.
    pub volumes: Vec<Volume>,
    pub mac: [u8; 6],
    pub private_ip: Ipv4Addr,
    /// Bits of its subnet.
    pub prefix: u8,
}

/// A machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// "kvm", "tcg" or "simulated".
    pub accelerator: String,
    /// What of its sandbox the host did not allow.
    pub sandbox_gaps: Vec<String>,
    /// When the guest began to run, milliseconds since 1970.
    pub started_at: i64,
}

/// How and when a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub reason: String,
    /// The guest wanted it so.
    pub powered_off: bool,
    /// Milliseconds since 1970; none if it ended while nobody looked.
    pub at: Option<i64>,
}

/// Runs machines, each in a directory of its own, by which it finds it again.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// What the host can do, looked up anew for as long as something is missing.
    async fn host(&self) -> Host;

    /// Starts a machine; once it answers, the guest runs. On an error, or if the
    /// future is dropped, nothing of it is left.
    async fn launch(&self, dir: &Path, plan: &Plan) -> Result<Arc<dyn Machine>, HypervisorError>;

    /// Finds the machine that runs in `dir`, if one does.
    async fn adopt(&self, dir: &Path) -> Result<Option<Arc<dyn Machine>>, HypervisorError>;

    /// How the last machine in `dir` ended, if that is known.
    async fn last_end(&self, dir: &Path) -> Option<End>;

    /// What the last machine in `dir` wrote on its serial port, at most 1 MiB.
    async fn last_console(&self, dir: &Path) -> Vec<u8>;
}

/// One machine. Dropping it does nothing to the machine.
#[async_trait]
pub trait Machine: fmt::Debug + Send + Sync + 'static {
    fn facts(&self) -> Facts;

    /// Whether it has already come to its end.
    fn is_over(&self) -> bool;

    /// Waits for its end, by whatever cause; nothing of it is left then.
    async fn ended(&self) -> End;

    /// Presses the power button.
    async fn powerdown(&self) -> Result<(), HypervisorError>;

    /// Pulls the reset line.
    async fn reset(&self) -> Result<(), HypervisorError>;

    /// Ends it without asking the guest; nothing of it is left then.
    async fn quit(&self) -> Result<(), HypervisorError>;

    /// Gives the running guest a volume; one that it has is left as it is.
    async fn plug(&self, volume: &Volume) -> Result<(), HypervisorError>;

    /// Takes a volume away, by its id: asks the guest and waits up to `limit` until it
    /// has let go; with `force` takes it all the same then. What is not there is no error.
    async fn unplug(
        &self,
        volume: &str,
        limit: Duration,
        force: bool,
    ) -> Result<(), HypervisorError>;

    /// What it wrote on its serial port, the end of it, at most 1 MiB.
    async fn console_log(&self) -> Result<Vec<u8>, HypervisorError>;

    /// Its serial port, both ways; with `backlog` the last 64 KiB come first.
    async fn console(&self, backlog: bool) -> Result<UnixStream, HypervisorError>;

    /// A connection to a TCP port of the guest.
    async fn forward(&self, port: u16) -> Result<UnixStream, HypervisorError>;
}
