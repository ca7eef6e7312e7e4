//! What an operator may set.

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};
use vmint_daemon::{DaemonError, ServiceConfig};
use vmint_store::StoreError;

use crate::{
    LauncherError, Result,
    store::{Limits, Network},
};

/// How the launcher runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every service has: addresses, directories, logs.
    pub service: ServiceConfig,
    /// One directory a machine; at most 70 characters, as sockets lie in it.
    pub instances_dir: PathBuf,
    /// The program that stands by each machine, called as `PROGRAM __machine DIR`; our
    /// own if unset.
    pub shim: Option<PathBuf>,
    /// What runs machines.
    #[serde(default)]
    pub hypervisor: HypervisorKind,
    /// `qemu-system-x86_64`, if it is not on `PATH`.
    pub qemu: Option<PathBuf>,
    /// The loopback addresses machines are reached at, such as `127.100.0.0/16`; 8 to 24
    /// bits long.
    pub ssh_range: String,
    /// How many machines there may be at once, at most 999.
    pub max_instances: usize,
    /// Memory for machines, in MiB; four fifths of the host's if unset.
    pub max_memory_mib: Option<u64>,
    /// How long a guest may take to power off when it is stopped.
    pub stop_grace_seconds: u64,
    /// What machines are told their region is.
    pub region: String,
}

/// What runs machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HypervisorKind {
    /// QEMU, by KVM or emulation: real machines.
    #[default]
    Qemu,
    /// Nothing: machines are only on paper, for runs that need the API and no guest.
    Simulated,
}

/// Why the process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the data directory does not serve")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the launcher's settings do not serve, or its records cannot be read")]
    Launcher(#[from] LauncherError),
    #[error("opening the store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl Config {
    /// The defaults, for a service placed like this.
    #[must_use]
    pub fn new(service: ServiceConfig) -> Self {
        let instances_dir = service.data.join("instances");
        Self {
            service,
            instances_dir,
            shim: None,
            hypervisor: HypervisorKind::Qemu,
            qemu: None,
            ssh_range: "127.100.0.0/16".to_owned(),
            max_instances: 64,
            max_memory_mib: None,
            stop_grace_seconds: 30,
            region: "local-1".to_owned(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        // What is only on paper takes nothing of the host.
        if self.hypervisor == HypervisorKind::Simulated {
            let memory_mib = self.max_memory_mib.unwrap_or(u64::MAX);
            return Limits { instances: self.max_instances, memory_mib };
        }
        let info = rustix::system::sysinfo();
        let host = (info.totalram as u64).saturating_mul(info.mem_unit.into()) >> 20;
        let memory_mib = self.max_memory_mib.unwrap_or(host / 5 * 4);
        Limits { instances: self.max_instances, memory_mib }
    }

    /// Private addresses have as many bits as the loopback addresses.
    pub(crate) fn network(&self) -> Result<Network> {
        Ok(Network { private: Ipv4Addr::new(172, 31, 0, 0), prefix: self.ssh()?.1.max(16) })
    }

    /// That sockets can be named in machines' directories.
    pub(crate) fn check(&self) -> Result<()> {
        let machine = self.instances_dir.join("i-0123456789abcdef0");
        if !machine.is_absolute() || vmint_vmm::layout::check(&machine).is_err() {
            let long = "must be an absolute path of at most 70 characters";
            return Err(LauncherError::field("instances_dir", long));
        }
        Ok(())
    }

    pub(crate) fn ssh_base(&self) -> Result<Ipv4Addr> {
        Ok(self.ssh()?.0)
    }

    fn ssh(&self) -> Result<(Ipv4Addr, u8)> {
        let parse = || {
            let (address, bits) = self.ssh_range.split_once('/')?;
            let (address, bits): (Ipv4Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let base = u32::from(address) & mask == u32::from(address);
            (address.is_loopback() && base && (8..=24).contains(&bits)).then_some((address, bits))
        };
        parse().ok_or_else(|| {
            LauncherError::field("ssh_range", "must be loopback addresses such as 127.100.0.0/16")
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(ServiceConfig::of("launcher"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_ranges_serve() {
        let with = |range: &str| Config { ssh_range: range.into(), ..Config::default() }.network();
        assert_eq!(with("127.100.0.0/16").unwrap().prefix, 16);
        assert_eq!(with("127.7.7.0/24").unwrap().prefix, 24);
        for bad in ["", "127.100.0.0", "10.0.0.0/16", "127.100.0.1/16", "127.0.0.0/28", "x/16"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_must_fit_the_instances_directory() {
        let with = |dir: &str| Config { instances_dir: dir.into(), ..Config::default() }.check();
        assert!(with("/var/lib/vmint/launcher/instances").is_ok());
        assert!(with(&format!("/{}", "x".repeat(69))).is_ok());
        assert!(with(&format!("/{}", "x".repeat(80))).is_err());
        assert!(with("relative").is_err());
    }

    #[test]
    fn the_host_keeps_a_fifth_of_its_memory() {
        assert!(Config::default().limits().memory_mib > 0);
        let set = Config { max_memory_mib: Some(7), ..Config::default() };
        assert_eq!(set.limits().memory_mib, 7);
    }
}
