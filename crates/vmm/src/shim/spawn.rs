//! QEMU's process: made in namespaces of its own, stripped, then executed.

use std::{
    ffi::CString,
    fs::File,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::io::fcntl_dupfd_cloexec;
use tokio::{io::AsyncReadExt, net::unix::pipe, task::JoinHandle};

use super::{Sockets, Step, cgroup, confine, filter, landlock, plug, step};
use crate::{
    command::{self, OPERATOR_FD, QMP_FD, SERIAL_FD},
    layout::{Confinement, now_us},
    spec::MachineSpec,
};

const TAIL: usize = 8 << 10;

/// QEMU as just started.
pub(super) struct Qemu {
    pub(super) pid: i32,
    pub(super) started_us: u64,
    pub(super) serial: UnixStream,
    pub(super) stderr: PipeReader,
    pub(super) cgroup: Vec<PathBuf>,
}

/// All that the new process needs; made before it, as it should do little.
struct Plan<'a> {
    dir: &'a Path,
    spec: &'a MachineSpec,
    words: Vec<CString>,
    /// What the child sees as 0, 1, 2 and the three of [`command`].
    files: [(BorrowedFd<'a>, RawFd); 6],
    groups: &'a [PathBuf],
    /// The user to become; `None` where we have no right to.
    uid: Option<u32>,
    mounts: bool,
}

/// Starts QEMU; returns when the program runs.
pub(super) fn qemu(
    dir: &Path,
    spec: &MachineSpec,
    sockets: &Sockets,
    confinement: &mut Confinement,
) -> Step<Qemu> {
    let mut words = vec![c_string(spec.qemu.as_os_str())?];
    for word in command::arguments(spec) {
        words.push(c_string(&word)?);
    }
    run(dir, spec, sockets, confinement, words)
}

fn c_string(text: &std::ffi::OsStr) -> Step<CString> {
    CString::new(text.as_bytes()).map_err(|_| "an argument holds a NUL".to_owned())
}

fn run(
    dir: &Path,
    spec: &MachineSpec,
    sockets: &Sockets,
    confinement: &mut Confinement,
    words: Vec<CString>,
) -> Step<Qemu> {
    let (serial, theirs) = step("making the serial line", UnixStream::pair())?;
    let (stderr, said) = step("making a pipe", io::pipe())?;
    let (mut verdict, telling) = step("making a pipe", io::pipe())?;
    let null = step("opening /dev/null", File::options().read(true).open("/dev/null"))?;
    step("making a mount point", confine::prepare(dir))?;
    step("making a folder for sockets", plug::prepare(dir))?;

    let groups = cgroup::make(spec).unwrap_or_else(|error| {
        confinement.notes.push(format!("no control group: {error}"));
        Vec::new()
    });
    confinement.cgroup = !groups.is_empty();
    let root = rustix::process::geteuid().is_root() && !confinement.user_namespace;
    let uid = if root { confine::user_for(spec, &mut confinement.notes) } else { None };
    confinement.uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());

    let mut plan = Plan {
        dir,
        spec,
        words,
        files: [
            (null.as_fd(), 0),
            (said.as_fd(), 1),
            (said.as_fd(), 2),
            (theirs.as_fd(), SERIAL_FD),
            (sockets.qmp.as_fd(), QMP_FD),
            (sockets.operator.as_fd(), OPERATOR_FD),
        ],
        groups: &groups,
        uid,
        mounts: false,
    };
    let started_us = now_us();
    let pid = make(&mut plan, confinement, &telling)?;
    drop((telling, theirs, said));

    // Ends when the program takes over: the pipe closes itself then.
    let mut text = String::new();
    step("waiting for QEMU's start", verdict.read_to_string(&mut text))?;
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("note", what)) => confinement.notes.push(what.to_owned()),
            Some(("mounts", _)) => confinement.mounts = true,
            Some(("landlock", _)) => confinement.landlock = true,
            _ => return Err(format!("starting QEMU: {line}")),
        }
    }
    Ok(Qemu { pid, started_us, serial, stderr, cgroup: groups })
}

/// Makes the process, with as many namespaces as this host grants.
fn make(plan: &mut Plan, confinement: &mut Confinement, telling: &PipeWriter) -> Step<i32> {
    let mounts = libc::CLONE_NEWNS;
    let ipc = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let processes = libc::CLONE_NEWPID;
    let all = mounts | ipc | processes;
    for flags in [all, mounts | ipc, mounts, processes | ipc, processes, 0] {
        plan.mounts = flags & mounts != 0;
        match clone(flags) {
            Ok(0) => child(plan, telling),
            Ok(pid) => {
                confinement.processes = flags & processes != 0;
                confinement.ipc = flags & ipc != 0;
                return Ok(pid);
            }
            Err(error) => confinement.notes.push(format!("no namespaces {flags:#x}: {error}")),
        }
    }
    Err("no process could be made".into())
}

/// As `fork`, into new namespaces: 0 in the child.
fn clone(flags: libc::c_int) -> io::Result<i32> {
    let flags = flags | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack given this is a fork. The process has one
    // thread, so the child finds no lock held by another.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The new process's way to QEMU. Never returns.
fn child(plan: &Plan, telling: &PipeWriter) -> ! {
    // Above all numbers that are about to be given out.
    let mut tell = match fcntl_dupfd_cloexec(telling, 20) {
        Ok(fd) => File::from(fd),
        // SAFETY: ends this process without running anything of its parent's.
        #[allow(unsafe_code)]
        Err(_) => unsafe { libc::_exit(127) },
    };
    let error = match strip(plan, &mut tell) {
        Ok(()) => confine::exec(&plan.words).to_string(),
        Err(error) => error,
    };
    let _ = writeln!(tell, "failed: {error}");
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(127)
    }
}

fn strip(plan: &Plan, tell: &mut File) -> Step<()> {
    for group in plan.groups {
        if let Err(error) = cgroup::enter(group) {
            let _ = writeln!(tell, "note not in control group {}: {error}", group.display());
        }
    }
    hand_over(&plan.files)?;
    if plan.mounts {
        match confine::view(plan.dir, plan.spec) {
            Ok(()) => {
                let _ = writeln!(tell, "mounts own");
            }
            Err(error) => {
                let _ = writeln!(tell, "note no file system of its own: {error}");
            }
        }
    }
    step("setting limits", confine::limits(plan.uid.is_some()))?;
    confine::drop_bounding_set();
    if let Some(uid) = plan.uid {
        step("becoming an unprivileged user", confine::become_user(uid))?;
    }
    step("dropping capabilities", confine::drop_capabilities(0))?;
    confine::die_with_parent();
    match landlock::install(plan.spec) {
        Ok(()) => {
            let _ = writeln!(tell, "landlock on");
        }
        Err(error) => {
            let _ = writeln!(tell, "note no Landlock: {error}");
        }
    }
    if let Err(error) = filter::install() {
        let _ = writeln!(tell, "note no filter of system calls: {error}");
    }
    // SAFETY: restores the built-in dispositions the program expects.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_DFL);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
    Ok(())
}

/// Gives the files their numbers; everything else closes when the program starts.
fn hand_over(files: &[(BorrowedFd, RawFd)]) -> Step<()> {
    let mut high = Vec::new();
    for (file, number) in files {
        high.push((step("passing a file", fcntl_dupfd_cloexec(file, 30))?, *number));
    }
    for (file, number) in &high {
        // SAFETY: replaces numbers that only this process's parent meant anything by.
        #[allow(unsafe_code)]
        let result = unsafe { libc::dup2(file.as_raw_fd(), *number) };
        if result < 0 {
            return Err(format!("passing a file: {}", io::Error::last_os_error()));
        }
    }
    // SAFETY: marks, closes nothing; 4 is CLOSE_RANGE_CLOEXEC.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_close_range, OPERATOR_FD + 1, libc::c_uint::MAX, 4);
    }
    Ok(())
}

/// Collects the last words written to `pipe`, at most 8 KiB.
pub(super) fn tail(pipe: PipeReader) -> Step<JoinHandle<String>> {
    let fd = std::os::fd::OwnedFd::from(pipe);
    let mut pipe = step("reading QEMU's words", pipe::Receiver::from_owned_fd(fd))?;
    Ok(tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut part = [0; 1024];
        while let Ok(size @ 1..) = pipe.read(&mut part).await {
            kept.extend_from_slice(&part[..size]);
            let extra = kept.len().saturating_sub(TAIL);
            kept.drain(..extra);
        }
        String::from_utf8_lossy(&kept).into_owned()
    }))
}
