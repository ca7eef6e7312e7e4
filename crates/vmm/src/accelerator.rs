//! Whether this host's KVM really runs guests: found out by booting one.
//!
//! `/dev/kvm` may exist and still abort, or emulate every instruction so slowly that no
//! guest ever boots, so its presence proves nothing.

use std::{fmt, io::Write, path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};

use crate::command::SANDBOX;

/// How guest instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU's own translator, about ten times slower.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// What was found, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub accelerator: Accelerator,
    pub reason: String,
}

/// How long a real KVM may take for the canary: it needs some 50 ms.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// QEMU's exit status after the canary's last word: `(0x10 << 1) | 1`.
const SUCCESS: i32 = 33;

/// Boots the canary under KVM and, if it does not sing within `deadline`, settles for TCG.
pub async fn probe(qemu: &Path, deadline: Duration) -> Probe {
    let tcg = |reason: String| Probe { accelerator: Accelerator::Tcg, reason };
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return tcg("this host has no /dev/kvm".into());
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(device) {
        return tcg(format!("/dev/kvm cannot be opened: {error}"));
    }
    match sing(qemu, Accelerator::Kvm, deadline).await {
        Ok(()) => {
            Probe { accelerator: Accelerator::Kvm, reason: "a probe guest ran under KVM".into() }
        }
        Err(reason) => tcg(format!("a probe guest under KVM failed: {reason}")),
    }
}

/// Boots the canary; the error says what it did instead of singing.
async fn sing(qemu: &Path, accelerator: Accelerator, deadline: Duration) -> Result<(), String> {
    let mut image = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    image.write_all(&canary()).map_err(|e| e.to_string())?;
    let path = image.path().to_str().ok_or("the temporary directory's name is not text")?;
    let drive = format!("if=floppy,format=raw,readonly=on,file={}", path.replace(',', ",,"));
    let (name, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    let child = Command::new(qemu)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "pc", "-m", "16", "-accel", name, "-cpu", cpu, "-sandbox", SANDBOX])
        .args(["-drive", &drive, "-serial", "stdio"])
        .args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    let output = timeout(deadline, child.wait_with_output())
        .await
        .map_err(|_| format!("it was not done after {} ms", deadline.as_millis()))?
        .map_err(|e| e.to_string())?;
    if output.status.code() == Some(SUCCESS) && output.stdout.contains(&b'K') {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("nothing");
    Err(format!("{}, said: {}", output.status, line.chars().take(200).collect::<String>()))
}

/// A boot sector: counts down from a million, writes `K` on COM1, and leaves QEMU.
fn canary() -> [u8; 512] {
    const CODE: [u8; 22] = [
        0xfa, // cli
        0x66, 0xb9, 0x40, 0x42, 0x0f, 0x00, // mov ecx, 1000000
        0x66, 0x49, // dec ecx
        0x75, 0xfc, // jnz -4
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'K', // mov al, 'K'
        0xee, // out dx, al
        0xba, 0x01, 0x05, // mov dx, 0x501
        0xb0, 0x10, // mov al, 0x10
    ];
    const END: [u8; 4] = [
        0xee, // out dx, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp -3
    ];
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    sector[CODE.len()..CODE.len() + END.len()].copy_from_slice(&END);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_canary_sings_under_tcg_and_silence_is_noticed() {
        let Ok(qemu) = crate::qemu::locate().await else {
            eprintln!("SKIPPED: QEMU is not installed");
            return;
        };
        let generous = Duration::from_secs(60);
        sing(&qemu.path, Accelerator::Tcg, generous).await.expect("it sings");
        let error = sing(&qemu.path, Accelerator::Tcg, Duration::ZERO).await;
        assert!(error.expect_err("no time to sing").contains("not done after"));
        let error = sing(Path::new("/bin/false"), Accelerator::Tcg, generous).await;
        assert!(error.expect_err("not QEMU").contains("exit status: 1"));
    }

    #[tokio::test]
    async fn a_probe_always_ends_with_an_accelerator_and_a_reason() {
        let probe = probe(Path::new("/bin/false"), DEADLINE).await;
        assert_eq!(probe.accelerator, Accelerator::Tcg);
        assert!(!probe.reason.is_empty());
    }
}
