//! Ten simulated power cuts: what the disk holds at some instant, without what
//! the system still had in memory, is mounted elsewhere and opened.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kit::crash::{Writer, verify, write_for_ever};
use rustix::process::{Pid, Signal, kill_process};

/// A mounted file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&at).unwrap();
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()])?;
        Ok(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever still holds it, the test must leave no mount behind.
        let _ = run("umount", &["-l".as_ref(), self.0.as_os_str()]);
    }
}

fn run<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A]) -> Result<(), String> {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let out = out.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

fn make(image: &Path) -> Result<(), String> {
    fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()])
}

#[test]
fn no_power_cut_loses_or_tears_anything() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk");
    for round in 0..2 {
        let live = make(&image).and_then(|()| Mounted::new(&image, dir.path().join("live")));
        let live = match live {
            Ok(live) => live,
            Err(why) => {
                eprintln!("SKIPPED: needs root and loop-mounted ext4: {why}");
                return;
            }
        };
        let writer = Writer::start(&live.0.join("store"));
        let pid = Pid::from_child(&writer.child);
        for cut in 0..5_u64 {
            thread::sleep(Duration::from_millis(20 + (round * 5 + cut) * 53 % 150));
            kill_process(pid, Signal::STOP).unwrap();
            // What it has said by now is in the pipe; let it be read.
            thread::sleep(Duration::from_millis(20));
            let acked = writer.acked();
            let copy = dir.path().join("copy");
            fs::copy(&image, &copy).unwrap();
            kill_process(pid, Signal::CONT).unwrap();
            let cold = Mounted::new(&copy, dir.path().join("cold")).unwrap();
            let last = verify(&cold.0.join("store"), acked);
            eprintln!("cut {}: {acked} acknowledged, {last} there", round * 5 + cut);
        }
        writer.kill();
    }
}

#[test]
#[ignore = "the writer that the test here cuts off"]
fn child() {
    write_for_ever();
}
