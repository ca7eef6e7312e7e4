//! Files out of reach even where no mount namespace could be made, as in most containers.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use crate::{accelerator::Accelerator, spec::MachineSpec};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// All that the first version of Landlock knows, up to making device files and links.
const HANDLED: u64 = (1 << 13) - 1;
const PATH_BENEATH: libc::c_int = 1;

/// Leaves this process QEMU's program, its libraries and its devices. Connecting to a
/// socket is not a matter of Landlock's. Needs `no_new_privs`.
pub(super) fn install(spec: &MachineSpec) -> io::Result<()> {
    let handled = [HANDLED];
    // SAFETY: the structure is one u64 of the size told, and outlives the call.
    #[allow(unsafe_code)]
    let rules = call(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 8_usize, 0)
    })?;
    // SAFETY: the call above made this descriptor and nobody else knows it.
    #[allow(unsafe_code)]
    let rules = unsafe { OwnedFd::from_raw_fd(rules) };
    let program = spec.qemu.parent().unwrap_or(Path::new("/usr/bin"));
    let folders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].map(Path::new);
    for folder in folders.into_iter().chain([program]) {
        allow(&rules, folder, EXECUTE | READ_FILE | READ_DIR)?;
    }
    allow(&rules, Path::new("/etc/ld.so.cache"), READ_FILE)?;
    allow(&rules, Path::new("/dev/null"), READ_FILE | WRITE_FILE)?;
    allow(&rules, Path::new("/dev/urandom"), READ_FILE)?;
    if spec.accelerator == Accelerator::Kvm {
        allow(&rules, Path::new("/dev/kvm"), READ_FILE | WRITE_FILE)?;
    }
    // SAFETY: numbers only.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    call(result).map(drop)
}

/// What does not exist needs no rule.
fn allow(rules: &OwnedFd, path: &Path, rights: u64) -> io::Result<()> {
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let Ok(opened) = opened else { return Ok(()) };
    // A packed structure: the rights, then the descriptor.
    let mut rule = [0; 12];
    rule[..8].copy_from_slice(&rights.to_ne_bytes());
    rule[8..].copy_from_slice(&opened.as_raw_fd().to_ne_bytes());
    // SAFETY: the structure is laid out as told and outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            rule.as_ptr(),
            0,
        )
    };
    call(result).map(drop)
}

fn call(result: libc::c_long) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(result).unwrap_or(-1))
    }
}
