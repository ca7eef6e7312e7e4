//! A control group of the machine's own: memory and number of tasks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::spec::MachineSpec;

/// QEMU's threads, with room for its I/O workers.
const TASKS: u32 = 256;
/// What QEMU needs beside the guest's memory, TCG's code cache included.
const OVERHEAD_MIB: u64 = 1536;
const ROOT: &str = "/sys/fs/cgroup";

/// Makes the groups; the error says why this host has none for us.
pub(super) fn make(spec: &MachineSpec) -> io::Result<Vec<PathBuf>> {
    let limit = (spec.memory_mib + spec.memory_mib / 8 + OVERHEAD_MIB) << 20;
    let unified = Path::new(ROOT).join("cgroup.controllers").exists();
    if unified {
        // Where we are ourselves, if it was handed to us with its controllers switched on.
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
        let parent = Path::new(ROOT).join(own);
        let parent = parent.parent().filter(|p| p.starts_with(ROOT)).unwrap_or(&parent);
        let group = parent.join(format!("vmint-{}", spec.instance));
        fs::create_dir(&group).or_else(exists)?;
        fs::write(group.join("memory.max"), limit.to_string())?;
        fs::write(group.join("pids.max"), TASKS.to_string())?;
        return Ok(vec![group]);
    }
    let mut groups = Vec::new();
    for (controller, file, value) in
        [("memory", "memory.limit_in_bytes", limit), ("pids", "pids.max", TASKS.into())]
    {
        let group = Path::new(ROOT).join(controller).join("vmint").join(&spec.instance);
        fs::create_dir_all(&group)?;
        fs::write(group.join(file), value.to_string())?;
        groups.push(group);
    }
    Ok(groups)
}

fn exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Moves the calling process into a group.
pub(super) fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}
