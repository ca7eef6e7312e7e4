//! Machines under QEMU.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{net::UnixStream, sync::Mutex};
use vmint_vmm::{
    Accelerator, DiskBus, DiskSpec, Exit, Firmware, Machine as Vm, MachineSpec, NetworkSpec,
    NicModel, Probe, Qemu, Status, VmmError, accelerator, qemu,
};

use super::hypervisor::{End, Facts, Host, Hypervisor, HypervisorError, Machine, Plan};
use crate::{Volume, clock, instance::POWERED_OFF};

/// The guest's ssh server.
const SSH: u16 = 22;
/// How long one look at a machine's state may wait before it looks again.
const LOOK: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_secs(1);
/// Places for volumes to come. Each is a bridge that guests look behind at their start: six
/// cost a Linux under TCG 0.05 s, eight 0.2.
const SPARE_PORTS: u8 = 6;

/// QEMU on this host.
#[derive(Debug)]
pub struct QemuHypervisor {
    shim: PathBuf,
    /// Where to look for QEMU instead of on `PATH`.
    program: Option<PathBuf>,
    found: Mutex<Option<(Qemu, Probe)>>,
}

impl QemuHypervisor {
    /// `shim` is a program that runs [`vmint_vmm::shim::main`] when called as
    /// `PROGRAM __machine DIR`; `program` is QEMU's own, if not on `PATH`.
    #[must_use]
    pub fn new(shim: PathBuf, program: Option<PathBuf>) -> Self {
        Self { shim, program, found: Mutex::new(None) }
    }

    /// Locates and probes once; a failure is not remembered.
    async fn found(&self) -> Result<(Qemu, Probe), VmmError> {
        let mut found = self.found.lock().await;
        if let Some((qemu, probe)) = found.as_ref()
            && tokio::fs::try_exists(&qemu.path).await.unwrap_or(false)
        {
            return Ok((qemu.clone(), probe.clone()));
        }
        let qemu = match self.program.as_ref().and_then(|p| p.parent()) {
            Some(dir) => qemu::locate_on(dir.as_os_str()).await?,
            None => qemu::locate().await?,
        };
        let probe = accelerator::probe(&qemu.path, accelerator::DEADLINE).await;
        tracing::info!(
            qemu = qemu.version,
            accelerator = %probe.accelerator,
            reason = probe.reason,
            "machines can be run"
        );
        *found = Some((qemu.clone(), probe.clone()));
        Ok((qemu, probe))
    }
}

#[async_trait]
impl Hypervisor for QemuHypervisor {
    async fn host(&self) -> Host {
        match self.found().await {
            Ok((qemu, probe)) => Host {
                accelerator: name(probe.accelerator).to_owned(),
                reason: probe.reason,
                version: qemu.version,
                hint: String::new(),
            },
            Err(error) => {
                let reason = error.to_string();
                let hint = match error {
                    VmmError::QemuMissing { hint } => hint,
                    other => vmint_rpc::chain(&other),
                };
                Host { reason, hint, ..Host::default() }
            }
        }
    }

    async fn launch(&self, dir: &Path, plan: &Plan) -> Result<Arc<dyn Machine>, HypervisorError> {
        let (qemu, probe) = self.found().await?;
        let spec = spec(plan, qemu.path, probe.accelerator)?;
        let vm = Vm::launch(dir, &spec, &self.shim).await?;
        Ok(Arc::new(QemuMachine(vm)))
    }

    async fn adopt(&self, dir: &Path) -> Result<Option<Arc<dyn Machine>>, HypervisorError> {
        let vm = Vm::adopt(dir).await?;
        Ok(vm.map(|vm| Arc::new(QemuMachine(vm)) as Arc<dyn Machine>))
    }

    async fn last_end(&self, dir: &Path) -> Option<End> {
        let exit = Vm::last_exit(dir).await;
        (exit.at_us > 0).then(|| gone(&exit))
    }

    async fn last_console(&self, dir: &Path) -> Vec<u8> {
        Vm::last_console_log(dir).await.unwrap_or_default()
    }
}

fn spec(
    plan: &Plan,
    qemu: PathBuf,
    accelerator: Accelerator,
) -> Result<MachineSpec, HypervisorError> {
    let uuid = plan.uuid.parse().map_err(|e| HypervisorError::Failed(format!("{e}")))?;
    Ok(MachineSpec {
        instance: plan.instance.clone(),
        uuid,
        qemu,
        accelerator,
        firmware: Firmware::Bios,
        cpus: plan.cpus,
        memory_mib: plan.memory_mib.into(),
        disks: plan.volumes.iter().map(disk).collect(),
        spare_ports: SPARE_PORTS,
        network: NetworkSpec {
            model: NicModel::Virtio,
            mac: plan.mac,
            address: plan.private_ip,
            prefix: plan.prefix,
            forward: vec![SSH],
        },
        display: false,
        uid: None,
    })
}

fn disk(volume: &Volume) -> DiskSpec {
    DiskSpec {
        socket: volume.export.clone(),
        export: String::new(),
        serial: serial(&volume.id),
        bus: DiskBus::Nvme,
        size_bytes: volume.size_bytes,
        read_only: false,
    }
}

/// What the guest sees of a volume's id.
fn serial(volume: &str) -> String {
    volume.replace('-', "")
}

#[derive(Debug)]
struct QemuMachine(Vm);

#[async_trait]
impl Machine for QemuMachine {
    fn facts(&self) -> Facts {
        let timings = self.0.timings();
        let began = [timings.resumed_us, timings.qemu_started_us].into_iter().find(|t| *t > 0);
        let sandbox_gaps = self.0.confinement().notes.iter().take(16).cloned();
        Facts {
            accelerator: name(self.0.spec().accelerator).to_owned(),
            sandbox_gaps: sandbox_gaps.collect(),
            started_at: began.map_or_else(clock::now, millis),
        }
    }

    fn is_over(&self) -> bool {
        self.0.watch().borrow().as_ref().is_some_and(Status::is_over)
    }

    async fn ended(&self) -> End {
        let (reason, powered_off, at) = loop {
            match self.0.wait(LOOK, Status::is_over).await {
                Ok(Status::Gone(exit)) => return gone(&exit),
                Ok(Status::Crashed { reason }) => {
                    break (format!("the guest crashed ({reason})"), false, clock::now());
                }
                Ok(status) if status.is_over() => {
                    break (POWERED_OFF.to_owned(), true, clock::now());
                }
                Err(VmmError::Gone) => return gone(&Vm::last_exit(self.0.dir()).await),
                Ok(_) | Err(_) => {}
            }
        };
        // Its guest is over already: what is left is to be rid of its process.
        while let Err(error) = self.0.quit().await {
            if matches!(error, VmmError::Gone) {
                break;
            }
            tracing::error!(dir = %self.0.dir().display(), %error, "QEMU does not end");
            tokio::time::sleep(PAUSE).await;
        }
        End { reason, powered_off, at: Some(at) }
    }

    async fn powerdown(&self) -> Result<(), HypervisorError> {
        Ok(self.0.powerdown().await?)
    }

    async fn reset(&self) -> Result<(), HypervisorError> {
        Ok(self.0.reset().await?)
    }

    async fn quit(&self) -> Result<(), HypervisorError> {
        match self.0.quit().await {
            Ok(_) | Err(VmmError::Gone) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn plug(&self, volume: &Volume) -> Result<(), HypervisorError> {
        Ok(self.0.plug(&disk(volume)).await?)
    }

    async fn unplug(
        &self,
        volume: &str,
        limit: Duration,
        force: bool,
    ) -> Result<(), HypervisorError> {
        match self.0.unplug(&serial(volume), limit, force).await {
            Ok(()) | Err(VmmError::Gone) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn console_log(&self) -> Result<Vec<u8>, HypervisorError> {
        Ok(self.0.console_log().await?)
    }

    async fn console(&self, backlog: bool) -> Result<UnixStream, HypervisorError> {
        Ok(self.0.console_stream(backlog).await?)
    }

    async fn forward(&self, port: u16) -> Result<UnixStream, HypervisorError> {
        Ok(self.0.forward(port).await?)
    }
}

fn gone(exit: &Exit) -> End {
    End {
        reason: format!("the machine's process ended ({exit})"),
        powered_off: false,
        at: (exit.at_us > 0).then(|| millis(exit.at_us)),
    }
}

fn name(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    }
}

fn millis(us: u64) -> i64 {
    i64::try_from(us / 1000).unwrap_or(i64::MAX)
}

impl From<VmmError> for HypervisorError {
    fn from(error: VmmError) -> Self {
        match error {
            VmmError::QemuMissing { hint } => Self::Missing { hint },
            VmmError::DiskHeld { .. } => Self::Held,
            VmmError::DiskFixed { .. } => Self::Fixed,
            VmmError::NoPort => Self::NoPlace,
            other => Self::Failed(vmint_rpc::chain(&other)),
        }
    }
}
