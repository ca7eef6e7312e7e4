//! The first process of a container whose service has children that outlive it.
//!
//! The kernel ends a container with its first process, and hands every orphan to it. So
//! this one only starts the service, starts it again when it ends, and buries whatever
//! ends here: a launcher's machines go on while the launcher itself is started anew.

use std::{
    io,
    process::{Child, Command},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use crate::{PROGRAM, cli::ServeArgs, client::Result};

/// Between restarts: doubled each time up to the second, back to the first after a run of
/// the third.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
const GOOD_RUN: Duration = Duration::from_secs(10);
/// What the service may take to drain.
const DRAIN: Duration = Duration::from_secs(15);

/// Keeps one service running until told to stop, and then lets it drain.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    // Orphans come to us even where we are not the first process.
    set_child_subreaper(Some(getpid())).map_err(io::Error::from)?;
    let mut ended = signal(SignalKind::child())?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let service = start(&args)?;
        let stop = loop {
            // A signal may stand for several ends, and may come before we wait for it.
            if bury().contains(&service) {
                break false;
            }
            tokio::select! {
                _ = ended.recv() => {}
                _ = term.recv() => break true,
                _ = int.recv() => break true,
            }
        };
        if stop {
            return Ok(drain(service, &mut ended).await?);
        }
        if started.elapsed() >= GOOD_RUN {
            delay = FIRST_DELAY;
        }
        eprintln!("{} ended; starting it again in {delay:?}", args.service.name());
        tokio::select! {
            () = sleep(delay) => {}
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        }
        delay = (delay * 2).min(LAST_DELAY);
    }
}

/// Starts the service, which ends if we do.
fn start(args: &ServeArgs) -> io::Result<Pid> {
    let mut command = Command::new(PROGRAM);
    std::os::unix::process::CommandExt::arg0(&mut command, "vmint");
    command.args(["serve", args.service.name(), "--supervised"]);
    if let Some(config) = &args.config {
        command.arg("--config").arg(config);
    }
    let child: Child = command.spawn()?;
    // Buried with all others, by number: it is not waited for through its handle.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the new process has no number"))
}

/// Takes leave of every process that has ended, and says which those were.
fn bury() -> Vec<Pid> {
    let mut gone = Vec::new();
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        gone.push(pid);
    }
    gone
}

/// Asks the service to end, and insists after a while.
async fn drain(service: Pid, ended: &mut tokio::signal::unix::Signal) -> io::Result<()> {
    kill_process(service, Signal::TERM)?;
    let limit = Instant::now() + DRAIN;
    while !bury().contains(&service) {
        tokio::select! {
            _ = ended.recv() => {}
            () = sleep_until(limit) => {
                kill_process(service, Signal::KILL)?;
                return Ok(());
            }
        }
    }
    Ok(())
}
