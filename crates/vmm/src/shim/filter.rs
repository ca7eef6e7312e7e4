//! System calls that no QEMU needs and that attackers like: refused from before its start.
//!
//! QEMU adds its own, stricter filter once it runs; it leaves out those that make new
//! namespaces, by which an unprivileged process gets at much more of the kernel.

use std::io;

/// Refused with `EPERM`.
const REFUSED: [libc::c_long; 34] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_register,
    libc::SYS_acct,
    libc::SYS_personality,
    libc::SYS_syslog,
];
/// Every `CLONE_NEW…` flag.
const NEW_NAMESPACES: u32 = 0x7e02_0080;
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// Numbers from here on are x86-64's second, rarely used table.
const OTHER_TABLE: u32 = 0x4000_0000;

// Where the kernel lays out what a filter looks at.
const NUMBER: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const NOT_BELOW: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Puts the filter on this process and all it becomes. Needs `no_new_privs`.
pub(super) fn install() -> io::Result<()> {
    let mut program = program();
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program's pointer and length are of one live list, which the call copies.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::from_ref(&program),
            0,
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program() -> Vec<libc::sock_filter> {
    let refuse =
        |errno: libc::c_int| one(RETURN, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(), 0, 0);
    let number = |n: libc::c_long| u32::try_from(n).unwrap_or(u32::MAX);
    let mut all = vec![
        one(LOAD, ARCHITECTURE_AT, 0, 0),
        one(EQUAL, ARCHITECTURE, 1, 0),
        one(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        one(LOAD, NUMBER, 0, 0),
        one(NOT_BELOW, OTHER_TABLE, 0, 1),
        refuse(libc::ENOSYS),
    ];
    for call in REFUSED {
        all.extend([one(EQUAL, number(call), 0, 1), refuse(libc::EPERM)]);
    }
    // Its flags lie in memory a filter cannot read; the C library then takes the old call.
    all.extend([one(EQUAL, number(libc::SYS_clone3), 0, 1), refuse(libc::ENOSYS)]);
    all.extend([
        one(EQUAL, number(libc::SYS_clone), 0, 3),
        one(LOAD, FIRST_ARGUMENT, 0, 0),
        one(ANY_BIT, NEW_NAMESPACES, 0, 1),
        refuse(libc::EPERM),
        one(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
    all
}

/// `if_true` and `if_false` count instructions to skip.
fn one(code: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("all codes used here are below 256");
    libc::sock_filter { code, jt: if_true, jf: if_false, k }
}
