//! A control group of the machine's own: memory and number of tasks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::spec::MachineSpec;

/// QEMU's threads, with room for its I/O workers.
const TASKS: u64 = 256;
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
        let own = Path::new(ROOT).join(own);
        let parent = own.parent().filter(|p| p.starts_with(ROOT)).unwrap_or(&own);
        if !delegated(parent) {
            let why = format!(
                "{} is not delegated to us (systemd: Delegate=yes and \
                DelegateSubgroup=launcher)",
                parent.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let group = parent.join(format!("vmint-{}", spec.instance));
        limited(&group, &[("memory.max", limit), ("pids.max", TASKS)])?;
        return Ok(vec![group]);
    }
    let mut groups = Vec::new();
    for (controller, file, value) in
        [("memory", "memory.limit_in_bytes", limit), ("pids", "pids.max", TASKS)]
    {
        let group = Path::new(ROOT).join(controller).join("vmint").join(&spec.instance);
        if let Err(error) = limited(&group, &[(file, value)]) {
            for made in &groups {
                let _ = fs::remove_dir(made);
            }
            return Err(error);
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Makes a group with its limits, or none.
fn limited(group: &Path, limits: &[(&str, u64)]) -> io::Result<()> {
    fs::create_dir_all(group)?;
    for (file, value) in limits {
        if let Err(error) = fs::write(group.join(file), value.to_string()) {
            let _ = fs::remove_dir(group);
            return Err(error);
        }
    }
    Ok(())
}

/// Whether the group's manager has left what is below it to us. A container's own root
/// is its to use.
fn delegated(group: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0; 1];
        rustix::fs::getxattr(group, name, &mut value).is_ok_and(|n| value[..n] == *b"1")
    };
    group == Path::new(ROOT) || marked("user.delegate") || marked("trusted.delegate")
}

/// Moves the calling process into a group.
pub(super) fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}
