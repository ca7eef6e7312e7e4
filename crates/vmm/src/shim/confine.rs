//! What QEMU's process gives up before it becomes QEMU.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::Step;
use crate::{accelerator::Accelerator, layout, spec::MachineSpec};

const READ_ONLY: u64 = 0x1;
const NO_SUID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const NO_EXEC: u64 = 0x8;
const NOBODY: u32 = 65534;
const RECURSIVE: libc::c_uint = 0x8000;

/// Leaves QEMU a file system of its program, its libraries and its disks' sockets. Needs
/// a mount namespace of its own.
pub(super) fn view(dir: &Path, spec: &MachineSpec) -> Step<()> {
    let root = layout::view(dir);
    let at = |what: &str, path: &Path| {
        let text = format!("{what} {}", path.display());
        move |e: io::Error| format!("{text}: {e}")
    };
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).map_err(|e| format!("private mounts: {e}"))?;
    let options = c"size=256k,mode=755";
    rustix::mount::mount("vmint", &root, "tmpfs", MountFlags::NOSUID, options)
        .map_err(|e| format!("mounting a root: {e}"))?;

    let program = spec.qemu.parent().unwrap_or(Path::new("/usr/bin"));
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].map(Path::new) {
        show(&root, path, READ_ONLY | NO_SUID | NO_DEVICES).map_err(at("showing", path))?;
    }
    if !fs::canonicalize(program).is_ok_and(|p| p.starts_with("/usr")) {
        show(&root, program, READ_ONLY | NO_SUID | NO_DEVICES).map_err(at("showing", program))?;
    }
    let plugs = layout::plugs(dir);
    let exports = spec.disks.iter().filter_map(|disk| disk.socket.parent());
    for folder in exports.chain([plugs.as_path()]) {
        let flags = READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC;
        show(&root, folder, flags).map_err(at("showing", folder))?;
    }
    let cache = Path::new("/etc/ld.so.cache");
    show(&root, cache, READ_ONLY | NO_SUID | NO_DEVICES).map_err(at("showing", cache))?;
    let mut devices = vec![Path::new("/dev/null"), Path::new("/dev/urandom")];
    if spec.accelerator == Accelerator::Kvm {
        devices.push(Path::new("/dev/kvm"));
    }
    for device in devices {
        show(&root, device, NO_SUID).map_err(at("showing", device))?;
    }
    restrict(&root, READ_ONLY | NO_SUID | NO_EXEC, 0).map_err(at("sealing", &root))?;

    let step = |what: &'static str| move |e: rustix::io::Errno| format!("{what}: {e}");
    rustix::process::chdir(&root).map_err(step("entering the root"))?;
    // The old root lands on top of the new one and is taken away from there.
    rustix::process::pivot_root(".", ".").map_err(step("changing the root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(step("leaving the old root"))?;
    rustix::process::chdir("/").map_err(step("entering the root"))
}

/// Makes `path` of the host visible below `root`; what does not exist is left out.
fn show(root: &Path, path: &Path, flags: u64) -> io::Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    let inside = root.join(path.strip_prefix("/").unwrap_or(path));
    if inside.symlink_metadata().is_ok() && path.parent() == Some(Path::new("/")) {
        return Ok(());
    }
    if let Some(parent) = inside.parent() {
        make_dirs(parent)?;
    }
    if meta.is_symlink() && path.parent() == Some(Path::new("/")) {
        return symlink(fs::read_link(path)?, inside);
    }
    if fs::metadata(path)?.is_dir() {
        make_dirs(&inside)?;
    } else {
        fs::write(&inside, "")?;
    }
    rustix::mount::mount_bind_recursive(path, &inside)?;
    restrict(&inside, flags, RECURSIVE)
}

/// Folders that QEMU's own user can walk through, whatever our umask.
fn make_dirs(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.exists() {
        missing.push(at.to_owned());
        at = at.parent().unwrap_or(Path::new("/"));
    }
    for dir in missing.into_iter().rev() {
        fs::create_dir(&dir)?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&dir, open)?;
    }
    Ok(())
}

/// Adds restrictions to a mount, and with `RECURSIVE` to all below it.
fn restrict(path: &Path, set: u64, recursive: libc::c_uint) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        namespace: u64,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Attributes { set, clear: 0, propagation: 0, namespace: 0 };
    // SAFETY: the path ends in NUL, the structure is of the size told, and both outlive the
    // call, which keeps neither.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            recursive,
            std::ptr::from_ref(&attributes),
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes an unprivileged user, for good.
pub(super) fn become_user(uid: u32) -> io::Result<()> {
    // The wrappers of the C library tell other threads; there are none, and these calls
    // are checked to have worked.
    // SAFETY: numbers only; the group list is empty.
    #[allow(unsafe_code)]
    let result = unsafe {
        if libc::setgroups(0, std::ptr::null()) != 0
            || libc::setresgid(uid, uid, uid) != 0
            || libc::setresuid(uid, uid, uid) != 0
        {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    result
}

/// No program run from now on can gain what this process lacks.
pub(super) fn drop_bounding_set() {
    for capability in 0..64 {
        // Refused past the last capability, and where we lack the right to: then the sets
        // emptied below and no_new_privs still stand.
        prctl(libc::PR_CAPBSET_DROP, capability);
    }
}

/// Signalling processes of other users.
pub(super) const KILL: u32 = 1 << 5;

/// Empties all capability sets, but for what of `keep` there was, and forbids gaining any.
pub(super) fn drop_capabilities(keep: u32) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, 4 /* PR_CAP_AMBIENT_CLEAR_ALL */);
    // Version 3 of the call, and the calling process.
    let header = [0x2008_0522_u32, 0];
    // Effective, permitted, inheritable; then the same for capabilities from 32 on.
    let sets = [keep, keep, 0, 0, 0, 0];
    // SAFETY: this version reads a header of two 32-bit numbers and two triples, as given.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if prctl(libc::PR_SET_NO_NEW_PRIVS, 1) != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Dies when the shim does.
pub(super) fn die_with_parent() {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.unsigned_abs().into());
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> libc::c_int {
    // SAFETY: the options used here take numbers only.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(option, value, 0, 0, 0)
    }
}

/// No core files, and no more tasks or open files than QEMU needs.
pub(super) fn limits(own_user: bool) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let most = |n| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Nofile, most(1024))?;
    setrlimit(Resource::Memlock, most(0))?;
    if own_user {
        // Counted per user, so only where the user is the machine's alone.
        setrlimit(Resource::Nproc, most(256))?;
    }
    Ok(())
}

/// Turns into the program. Returns only if that fails.
pub(super) fn exec(words: &[CString]) -> io::Error {
    let mut pointers: Vec<_> = words.iter().map(|w| w.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [c"PATH=/usr/bin:/bin".as_ptr(), c"LC_ALL=C".as_ptr(), std::ptr::null()];
    let program: &CStr = &words[0];
    // SAFETY: both lists end in null, and their strings in NUL and live in `words` or the
    // program itself.
    #[allow(unsafe_code)]
    unsafe {
        libc::execve(program.as_ptr(), pointers.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// The user QEMU runs as where the launcher is root, unless it was chosen: drawn from the
/// instance's id out of 16 million, so that two machines hardly ever share one. In a
/// container that has no such users it is `nobody`, shared; `None` if even that is lacking.
pub(super) fn user_for(spec: &MachineSpec, notes: &mut Vec<String>) -> Option<u32> {
    // FNV-1a.
    let fold = |h: u32, b: u8| (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
    let hash = spec.instance.bytes().fold(0x811c_9dc5_u32, fold);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    for uid in [spec.uid.unwrap_or(400_000 + (hash >> 8)), NOBODY] {
        if mapped(&map, uid) {
            return Some(uid);
        }
        notes.push(format!("user {uid} does not exist in this user namespace"));
    }
    None
}

/// Whether a `/proc/PID/uid_map` knows the user.
fn mapped(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), _, Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&uid.into())
    })
}

/// Every path QEMU's view needs to mount over.
pub(super) fn prepare(dir: &Path) -> io::Result<PathBuf> {
    let root = layout::view(dir);
    fs::create_dir(&root)
        .or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_only_where_the_map_has_it() {
        let all = "         0          0 4294967295\n";
        let container = "0 100000 65536\n";
        assert!(mapped(all, 9_000_000) && mapped(container, NOBODY));
        assert!(!mapped(container, 400_000) && !mapped("0 1000 1\n", NOBODY) && !mapped("", 0));
    }
}
