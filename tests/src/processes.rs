//! What the kernel knows of a deployment's processes.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) words: Vec<String>,
}

/// Every process that is not yet buried.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: u32) -> Option<Process> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last bracket may hold anything.
    let mut after = stat.rsplit_once(')')?.1.split_whitespace();
    let state = after.next()?;
    let parent = after.next()?.parse().ok()?;
    (state != "Z").then(|| Process { pid, parent, words: words.collect() })
}

/// The process that serves `service` for the deployment in `data`.
pub(crate) fn service(data: &Path, service: &str) -> Option<u32> {
    let settings = data.join("settings").join(format!("{service}.toml"));
    let settings = settings.to_str()?;
    let is = |p: &Process| {
        p.words.get(1).is_some_and(|word| word == "serve")
            && p.words.get(2).is_some_and(|word| word == service)
            && p.words.iter().any(|word| word == settings)
    };
    all().into_iter().find(is).map(|process| process.pid)
}

/// The keepers of the machines in `data`, each with its instance's id and QEMU's process.
pub(crate) fn machines(data: &Path) -> Vec<(String, u32, Option<u32>)> {
    let all = all();
    let keeper = |p: &Process| {
        let at = p.words.iter().position(|word| word == "__machine")?;
        let dir = Path::new(p.words.get(at + 1)?);
        let id = dir.file_name()?.to_str()?.to_owned();
        dir.starts_with(data).then_some((id, p.pid))
    };
    let keepers: Vec<_> = all.iter().filter_map(keeper).collect();
    // A keeper may have forked: the topmost one counts.
    let parent = |pid: u32| all.iter().find(|p| p.pid == pid).map(|p| p.parent);
    let top = |pid: u32| !keepers.iter().any(|(_, other)| parent(pid) == Some(*other));
    let qemu = |of: u32| {
        all.iter().find(|p| {
            p.words.first().is_some_and(|word| word.contains("qemu-system"))
                && descends(&all, p.pid, of)
        })
    };
    let found = keepers.iter().filter(|(_, pid)| top(*pid));
    found.map(|(id, pid)| (id.clone(), *pid, qemu(*pid).map(|p| p.pid))).collect()
}

/// Whether `pid` is a child of `of`, or of its children.
fn descends(all: &[Process], mut pid: u32, of: u32) -> bool {
    for _ in 0..8 {
        let Some(process) = all.iter().find(|p| p.pid == pid) else { return false };
        if process.parent == of {
            return true;
        }
        pid = process.parent;
    }
    false
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Whether there is such a process.
#[must_use]
pub fn alive(pid: u32) -> bool {
    raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok()) && read(pid).is_some()
}

/// Ends a process as a power cut would.
pub fn kill9(pid: u32) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = raw(pid) {
        // One that is gone already needs none.
        let _ = kill_process(pid, signal);
    }
}
