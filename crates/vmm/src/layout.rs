//! The files of an instance's directory, and the two records the shim leaves in it.
//!
//! `spec.json` what runs · `machine.json` which processes run it · `exit.json` how it
//! ended · `lock` held while it runs · `qmp.sock`, `operator.sock` QEMU's monitor ·
//! `console.log`, `console.log.1` what the serial port said · `console.sock` the live
//! serial port · `forward.sock` the way to the guest's ports · `metadata.sock` made by
//! the launcher: every connection to it is one the guest made to 169.254.169.254:80 ·
//! `plug.sock` takes and drops the servers of disks that come later · `plugs/` a socket
//! for each of those, by its root port.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Result, VmmError, process::Process};

/// The longest file name of a socket here, with its slash.
const LONGEST: usize = "/metadata.sock".len();
/// What fits `sockaddr_un`, without its final NUL.
const SOCKET_PATH: usize = 107;
const RECORD_LIMIT: u64 = 1 << 20;

macro_rules! files {
    ($($(#[$doc:meta])* $visible:vis $name:ident $file:literal;)*) => {$(
        $(#[$doc])*
        #[must_use]
        $visible fn $name(dir: &Path) -> PathBuf {
            dir.join($file)
        }
    )*};
}

files! {
    pub(crate) spec "spec.json";
    pub(crate) machine "machine.json";
    pub(crate) exit "exit.json";
    pub(crate) lock "lock";
    pub(crate) qmp "qmp.sock";
    /// A second monitor, for a person; vmint itself never connects to it.
    pub operator "operator.sock";
    pub(crate) console_log "console.log";
    pub(crate) console_old "console.log.1";
    pub(crate) console "console.sock";
    pub(crate) forward "forward.sock";
    pub(crate) plug "plug.sock";
    /// All of it that QEMU sees.
    pub(crate) plugs "plugs";
    /// Where the launcher listens for the guest's metadata requests, one stream each.
    pub metadata "metadata.sock";
    pub(crate) view "view";
}

/// Refuses a directory whose sockets could not be named.
pub fn check(dir: &Path) -> Result<()> {
    let limit = SOCKET_PATH - LONGEST;
    if dir.as_os_str().len() > limit {
        return Err(VmmError::PathTooLong { path: dir.to_owned(), limit });
    }
    Ok(())
}

/// Which processes run the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) shim: Process,
    pub(crate) qemu: Process,
    pub(crate) uuid: String,
    pub(crate) shim_started_us: u64,
    pub(crate) qemu_started_us: u64,
    pub(crate) confinement: Confinement,
    /// The machine's control groups, to be removed after it.
    #[serde(default)]
    pub(crate) groups: Vec<PathBuf>,
}

/// How far this host let QEMU be shut in; `notes` says why where something is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)]
pub struct Confinement {
    /// Always: without a network namespace no machine starts.
    pub network: bool,
    /// A user namespace was needed (the launcher lacks `CAP_SYS_ADMIN`).
    pub user_namespace: bool,
    /// QEMU sees only its program's files and its disks' sockets, read-only.
    pub mounts: bool,
    /// Other files are refused to QEMU by Landlock too; the only wall where `mounts` is not.
    #[serde(default)]
    pub landlock: bool,
    /// QEMU sees no process but itself.
    pub processes: bool,
    /// System V IPC and host name of its own.
    pub ipc: bool,
    /// A control group of its own.
    pub cgroup: bool,
    /// The user QEMU runs as, as the launcher's namespace counts.
    pub uid: u32,
    pub notes: Vec<String>,
}

/// How a machine's QEMU ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Microseconds since 1970.
    pub at_us: u64,
    /// The last 8 KiB QEMU said on its standard error.
    pub stderr: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => f.write_str("no exit status was recorded"),
        }
    }
}

pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Writes `value` so that a reader finds all of it or none, also when we are killed.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, value, false)
}

/// As [`write_json`], for what must survive a power cut too, which no machine does. It
/// costs a commit of the file system.
pub(crate) fn write_json_durably<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, value, true)
}

fn write<T: Serialize>(path: &Path, value: &T, durably: bool) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    let mut file = File::create(&fresh)?;
    file.write_all(&bytes)?;
    if durably {
        file.sync_data()?;
    }
    fs::rename(&fresh, path)
}

/// Reads a record; `None` if it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > RECORD_LIMIT => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any record"))
        }
        Ok(_) => Ok(Some(serde_json::from_slice(&fs::read(path)?)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
