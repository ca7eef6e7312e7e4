//! Where QEMU is on this host.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{Result, VmmError};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGES: &str = "sudo apt-get install --no-install-recommends qemu-system-x86 seabios";
const DEADLINE: Duration = Duration::from_secs(30);

/// The QEMU found on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    pub path: PathBuf,
    /// E.g. `7.2.22`.
    pub version: String,
    /// SeaBIOS's image, if it lies where distributions put it.
    pub firmware: Option<PathBuf>,
}

/// Finds QEMU on `PATH` and asks its version.
pub async fn locate() -> Result<Qemu> {
    locate_on(env::var_os("PATH").unwrap_or_default().as_os_str()).await
}

/// As [`locate`], on a search path given.
pub async fn locate_on(search: &OsStr) -> Result<Qemu> {
    let path =
        find(PROGRAM, search).ok_or_else(|| VmmError::QemuMissing { hint: PACKAGES.to_owned() })?;
    let unusable = |reason: String| VmmError::QemuUnusable { path: path.clone(), reason };
    let run = Command::new(&path).arg("--version").kill_on_drop(true).output();
    let output = timeout(DEADLINE, run)
        .await
        .map_err(|_| VmmError::Deadline { what: "qemu --version", limit: DEADLINE })?
        .map_err(|e| unusable(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_once("version ")
        .and_then(|(_, rest)| rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next())
        .filter(|v| !v.is_empty())
        .ok_or_else(|| unusable("it does not tell its version".into()))?
        .to_owned();
    let firmware = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"];
    let firmware = firmware.into_iter().map(PathBuf::from).find(|p| p.exists());
    Ok(Qemu { path, version, firmware })
}

fn find(program: &str, search: &OsStr) -> Option<PathBuf> {
    env::split_paths(search)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| executable(path))
}

fn executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_qemu_the_error_names_the_package() {
        let error = locate_on(OsStr::new("/nonexistent")).await.expect_err("nothing there");
        assert!(error.to_string().contains("qemu-system-x86"), "{error}");
    }
}
