//! A process named so that a later one with the same number is not taken for it.

use std::{fs, io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// A process's number and the clock tick it started at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The program's name stands in parentheses and may hold anything.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let started = after.split_ascii_whitespace().nth(19).and_then(|f| f.parse().ok());
        let started = started.ok_or_else(|| io::Error::other("/proc/PID/stat is not readable"))?;
        Ok(Self { pid, started })
    }

    pub(crate) fn this() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// A handle to exactly this process; `None` if it is gone.
    pub(crate) fn handle(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The handle pins whoever has the number now; that must still be ours.
        match Self::of(self.pid) {
            Ok(now) if now == self => Ok(Some(handle)),
            _ => Ok(None),
        }
    }

    /// Whether its command line holds `word` somewhere.
    pub(crate) fn says(self, word: &str) -> bool {
        let Ok(line) = fs::read(format!("/proc/{}/cmdline", self.pid)) else { return false };
        !word.is_empty() && line.windows(word.len()).any(|w| w == word.as_bytes())
    }

    /// Ends it at once, if it still runs.
    pub(crate) fn kill(self) -> io::Result<()> {
        match self.handle()? {
            Some(handle) => match pidfd_send_signal(&handle, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
            None => Ok(()),
        }
    }
}

/// Readable once the process of `handle` has ended.
pub(crate) fn watch(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd owns its descriptor until it is dropped and always answers with
    // the same one.
    #[allow(unsafe_code)]
    unsafe {
        Ok(AsyncFd::register(handle)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_used_again_is_another_process() {
        let this = Process::this().expect("ourselves");
        assert!(this.handle().expect("pidfd").is_some());
        let other = Process { started: this.started + 1, ..this };
        assert!(other.handle().expect("pidfd").is_none());
        assert!(Process::of(0).is_err());
    }
}
