//! What these tests need around a machine: QEMU, and a disk server.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};
use vmint_vmm::{
    Accelerator, DiskBus, DiskSpec, Firmware, MachineSpec, MachineUuid, NetworkSpec, NicModel, qemu,
};

#[allow(clippy::duration_suboptimal_units)]
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A folder for machines, none of which outlives it, even if the test fails.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let below = std::fs::read_dir(self.path()).into_iter().flatten().flatten();
        for dir in below.map(|e| e.path()).chain([self.path().to_owned()]) {
            let Ok(record) = std::fs::read_to_string(dir.join("machine.json")) else { continue };
            let record: serde_json::Value = serde_json::from_str(&record).unwrap_or_default();
            let pid = record["shim"]["pid"].to_string();
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            if line.is_ok_and(|l| l.contains(self.path().to_str().expect("text"))) {
                let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
            }
        }
    }
}

/// A disk served over NBD until dropped.
pub(crate) struct Disk {
    pub(crate) socket: PathBuf,
    words: Vec<String>,
    server: Child,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// Serves with nbdkit's plugin and arguments in `words`; `None` if there is no nbdkit.
    pub(crate) async fn serve(words: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("nbd.sock");
        let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
        let server = Self::start(&socket, &words).await?;
        Some(Self { socket, words, server, _dir: dir })
    }

    /// Kills the server as a crash would and starts it anew after `pause`.
    #[allow(dead_code)]
    pub(crate) async fn crash(&mut self, pause: Duration) {
        self.server.kill().await.expect("killed");
        std::fs::remove_file(&self.socket).expect("removed");
        tokio::time::sleep(pause).await;
        self.server = Self::start(&self.socket, &self.words).await.expect("nbdkit");
    }

    async fn start(socket: &Path, words: &[String]) -> Option<Child> {
        use std::os::unix::fs::PermissionsExt;
        let server = Command::new("nbdkit")
            .args(["--foreground", "--unix"])
            .arg(socket)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let bound = async {
            while std::fs::metadata(socket).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, bound).await.expect("nbdkit serves");
        let all = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(socket, all).expect("mode");
        Some(server)
    }
}

/// A machine with that disk, or why this host can have none.
pub(crate) async fn machine(disk: &Disk, size_bytes: u64) -> Result<MachineSpec, String> {
    let qemu = qemu::locate().await.map_err(|e| e.to_string())?;
    let uuid = MachineUuid::random();
    Ok(MachineSpec {
        instance: format!("i-{}", &uuid.as_str()[24..]),
        uuid,
        qemu: qemu.path,
        accelerator: Accelerator::Tcg,
        firmware: Firmware::Bios,
        cpus: 1,
        memory_mib: 192,
        disks: vec![DiskSpec {
            socket: disk.socket.clone(),
            export: String::new(),
            serial: "vol0123456789abcdef0".into(),
            bus: DiskBus::Nvme,
            size_bytes,
            read_only: false,
        }],
        spare_ports: 6,
        network: NetworkSpec {
            model: NicModel::Virtio,
            mac: [2, 0, 0, 0, 0, 1],
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            forward: vec![22],
        },
        display: true,
        uid: None,
    })
}

/// The program whose `__machine` verb is the shim.
pub(crate) fn shim() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vmint-machine"))
}
