//! Everything that can go wrong with a machine, and what to do about it.

use std::{io, path::PathBuf, time::Duration};

use crate::{layout::Exit, spec::SpecError};

pub type Result<T, E = VmmError> = std::result::Result<T, E>;

/// Why a machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    #[error("QEMU is not installed (no qemu-system-x86_64 on PATH); run: {hint}")]
    QemuMissing { hint: String },
    #[error("`{path}` does not run as QEMU: {reason}")]
    QemuUnusable { path: PathBuf, reason: String },
    #[error("the machine's description is not usable")]
    Spec(#[from] SpecError),
    #[error("`{path}` is too long for a socket's directory: use at most {limit} bytes")]
    PathTooLong { path: PathBuf, limit: usize },
    #[error("a machine already runs in `{dir}`; adopt it or kill it first")]
    AlreadyRunning { dir: PathBuf },
    #[error("the machine's shim could not start: {reason}")]
    Shim { reason: String },
    #[error("QEMU ended before the guest started ({exit}): {}", .exit.stderr.trim())]
    Ended { exit: Exit },
    #[error("the machine is gone")]
    Gone,
    #[error("port {port} is not one of the machine's forwarded ports")]
    PortNotForwarded { port: u16 },
    #[error("the machine does not take connections on port {port} now")]
    PortRefused { port: u16 },
    #[error("all of the machine's places for disks are taken: detach one, or stop it first")]
    NoPort,
    #[error("the guest does not let the disk {serial} go: unmount it there, or detach by force")]
    DiskHeld { serial: String },
    #[error("the disk {serial} stays for as long as the machine runs: stop it first")]
    DiskFixed { serial: String },
    #[error("QEMU refused `{command}`: {class}: {text}")]
    Refused { command: String, class: String, text: String },
    #[error("`{what}` took longer than {limit:?}")]
    Deadline { what: &'static str, limit: Duration },
    #[error("the connection to QEMU's monitor was lost")]
    Disconnected,
    #[error("QEMU's monitor said something that is not QMP: {0}")]
    Protocol(String),
    #[error("`{path}` cannot be used")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl VmmError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
