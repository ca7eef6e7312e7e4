//! The small process that a machine lives under.
//!
//! It is our own binary run once more, so that nothing else needs to be installed. It
//! makes the namespaces, starts QEMU in them and stays: sole reader of the serial port,
//! carrier of metadata requests and forwarded ports, witness of QEMU's end. QEMU dies
//! with it, so there is never a machine that nobody watches.

mod cgroup;
mod confine;
mod console;
mod filter;
mod landlock;
mod namespace;
pub(crate) mod plug;
mod relay;
mod spawn;

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use rustix::io::fcntl_dupfd_cloexec;
use serde::{Deserialize, Serialize};

use crate::{
    layout::{self, Exit, Record, now_us},
    process::{self, Process},
    spec::MachineSpec,
};

/// What the shim tells the launcher, as one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Ready(Record),
    Failed(String),
}

/// A step that failed, in words.
type Step<T> = Result<T, String>;

fn step<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Step<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Runs the machine that `dir` describes until QEMU ends.
///
/// Call it first thing in `main`, before any thread exists: a process with threads may
/// not enter a user namespace. Standard input is the locked `lock` file, standard output
/// takes the report; [`crate::Machine::launch`] sees to both.
#[must_use]
pub fn main(dir: &Path) -> ExitCode {
    match run(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            report(&Report::Failed(reason));
            ExitCode::FAILURE
        }
    }
}

/// The launcher may be dead by now; the machine goes on without it.
fn report(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else { return };
    line.push(b'\n');
    let mut out = io::stdout();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn run(dir: &Path) -> Step<()> {
    let shim_started_us = now_us();
    detach()?;
    // The lock must not be closed with standard input, nor reach QEMU.
    let lock = step("keeping the lock", fcntl_dupfd_cloexec(io::stdin().as_fd(), 10))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = step("opening /dev/null", null)?;
    step("closing standard input", rustix::stdio::dup2_stdin(&null))?;

    let path = layout::spec(dir);
    let spec: Option<MachineSpec> = step("reading spec.json", layout::read_json(&path))?;
    let spec = spec.ok_or("there is no spec.json")?;
    step("spec.json", spec.check())?;

    let sockets = Sockets::bind(dir)?;
    let (mut confinement, metadata) = namespace::enter()?;
    let qemu = spawn::qemu(dir, &spec, &sockets, &mut confinement)?;
    // Root without powers is still root to files, but to nothing else. When we die the
    // kernel ends QEMU in our name, which takes the right to signal another user.
    let keep =
        if confinement.uid == rustix::process::geteuid().as_raw() { 0 } else { confine::KILL };
    step("dropping capabilities", confine::drop_capabilities(keep))?;

    let record = Record {
        shim: step("finding ourselves", Process::this())?,
        qemu: step("finding QEMU", Process::of(qemu.pid))?,
        uuid: spec.uuid.as_str().to_owned(),
        shim_started_us,
        qemu_started_us: qemu.started_us,
        confinement,
        groups: qemu.cgroup.clone(),
    };
    let written = layout::write_json(&layout::machine(dir), &record);
    step("writing machine.json", written)?;
    report(&Report::Ready(record));
    step("closing standard output", rustix::stdio::dup2_stdout(&null))?;
    step("closing standard error", rustix::stdio::dup2_stderr(&null))?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = step("starting the event loop", runtime)?;
    let group = qemu.cgroup.clone();
    let served = runtime.block_on(serve(dir, &spec, sockets, metadata, qemu));
    let exit = served.unwrap_or_else(|stderr| Exit { at_us: now_us(), stderr, ..Exit::default() });
    sweep(dir, &group);
    step("writing exit.json", layout::write_json_durably(&layout::exit(dir), &exit))?;
    drop(lock);
    Ok(())
}

/// Leaves the launcher's session, signals and open files.
fn detach() -> Step<()> {
    // Not an error: a shim started by hand may lead its session already.
    let _ = rustix::process::setsid();
    // SAFETY: both only change the disposition of a signal to one of the two built in;
    // close_range closes numbers that nothing in this young process owns.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    step("leaving the working directory", std::env::set_current_dir("/"))
}

/// The sockets that belong to the machine's life, bound before it is shut in.
struct Sockets {
    console: UnixListener,
    forward: UnixListener,
    plug: UnixListener,
    qmp: UnixListener,
    operator: UnixListener,
}

impl Sockets {
    fn bind(dir: &Path) -> Step<Self> {
        let bind = |path: PathBuf| {
            remove_socket(&path);
            step("binding a socket", UnixListener::bind(path))
        };
        Ok(Self {
            console: bind(layout::console(dir))?,
            forward: bind(layout::forward(dir))?,
            plug: bind(layout::plug(dir))?,
            qmp: bind(layout::qmp(dir))?,
            operator: bind(layout::operator(dir))?,
        })
    }
}

fn remove_socket(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes what is worth nothing once the machine is gone: the shim's last act, or done
/// for a shim that was killed.
pub(crate) fn sweep(dir: &Path, groups: &[PathBuf]) {
    plug::clear(dir);
    let sockets = [layout::console(dir), layout::forward(dir), layout::plug(dir), layout::qmp(dir)];
    for path in sockets.iter().chain([&layout::operator(dir)]) {
        remove_socket(path);
    }
    for path in groups.iter().chain([&layout::view(dir), &layout::plugs(dir)]) {
        // A process just killed may still be in its group for a moment.
        for _ in 0..25 {
            match std::fs::remove_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                _ => break,
            }
        }
    }
}

async fn serve(
    dir: &Path,
    spec: &MachineSpec,
    sockets: Sockets,
    metadata: std::net::TcpListener,
    qemu: spawn::Qemu,
) -> Step<Exit> {
    let Sockets { console, forward, plug, qmp, operator } = sockets;
    // QEMU holds its own ends: a monitor must not seem to answer when it is gone.
    drop((qmp, operator));
    let console = step("serving the console", console::serve(dir, qemu.serial, console))?;
    let metadata = step("serving metadata", relay::metadata(dir, metadata))?;
    let ports = spec.network.forward.clone();
    let forward = step("serving ports", relay::forward(ports, forward))?;
    let plugs = step("serving disks to come", plug::serve(dir, plug))?;
    let stderr = spawn::tail(qemu.stderr)?;
    let ended = wait(qemu.pid).await;
    metadata.abort();
    forward.abort();
    plugs.abort();
    // Both end by themselves, as QEMU was the only writer; a bound in case it was not.
    let moment = std::time::Duration::from_secs(1);
    let _ = tokio::time::timeout(moment, console).await;
    let said = tokio::time::timeout(moment, stderr).await;
    let (code, signal) = ended?;
    let stderr = said.ok().and_then(Result::ok).unwrap_or_default();
    Ok(Exit { code, signal, at_us: now_us(), stderr })
}

/// Waits for our child to end.
async fn wait(pid: i32) -> Step<(Option<i32>, Option<i32>)> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or("QEMU has no number")?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    let handle: OwnedFd = step("watching QEMU", handle)?;
    let handle = step("watching QEMU", process::watch(handle))?;
    let _ready = step("watching QEMU", handle.readable().await)?;
    let options = rustix::process::WaitOptions::empty();
    let status = step("waiting for QEMU", rustix::process::waitpid(Some(pid), options))?;
    let (_, status) = status.ok_or("QEMU has ended and is not our child")?;
    Ok((status.exit_status(), status.terminating_signal()))
}
