//! The same machine without vmint: QEMU by hand on a local raw file.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{MARKER, now, report::Phases};
use crate::Result;

/// What a boot may take, emulated on a busy host.
const BOOT: Duration = Duration::from_mins(3);

/// How to start it: vmint's own command line, which says all but the disk.
pub(super) struct Recipe {
    arguments: Vec<String>,
}

impl Recipe {
    /// Of the running process `pid`.
    pub(super) fn of(pid: u64) -> Result<Self> {
        let bytes = fs::read(format!("/proc/{pid}/cmdline"))?;
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let arguments: Vec<_> =
            words.skip(1).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        if arguments.is_empty() {
            return Err(format!("process {pid} has no command line").into());
        }
        Ok(Self { arguments })
    }

    /// The command line over `disk`: no block server, no shim around it.
    fn line(&self, disk: &Path, monitor: &Path) -> Result<Vec<String>> {
        let mut line = Vec::new();
        let mut words = self.arguments.iter();
        while let Some(word) = words.next() {
            if !matches!(word.as_str(), "-chardev" | "-mon" | "-blockdev" | "-netdev") {
                line.push(word.clone());
                continue;
            }
            let value = words.next().ok_or("a command line ends in the middle")?;
            let value = match word.as_str() {
                "-chardev" if value.contains("id=serial") => {
                    "stdio,id=serial,signal=off".to_owned()
                }
                "-chardev" if value.contains("id=qmp") => {
                    format!("socket,id=qmp,path={},server=on,wait=off", monitor.display())
                }
                "-chardev" => continue,
                "-mon" if !value.contains("chardev=qmp") => continue,
                "-blockdev" => {
                    let block: Value = serde_json::from_str(value)?;
                    let file = json!({"driver": "file", "filename": disk});
                    json!({
                        "driver": "raw",
                        "node-name": block["node-name"],
                        "discard": "unmap",
                        "file": file,
                    })
                    .to_string()
                }
                "-netdev" => {
                    let kept = value.split(',').filter(|part| !part.starts_with("hostfwd="));
                    kept.collect::<Vec<_>>().join(",")
                }
                _ => value.clone(),
            };
            line.extend([word.clone(), value]);
        }
        Ok(line)
    }

    /// Boots it to the marker, and ends it.
    pub(super) fn run(&self, disk: &Path, dir: &Path) -> Result<Phases> {
        let monitor: PathBuf = dir.join("plain.qmp");
        let _ = fs::remove_file(&monitor);
        let mut command = Command::new("qemu-system-x86_64");
        command.args(self.line(disk, &monitor)?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let began = now();
        let mut qemu = Ends(command.spawn()?);
        let output = qemu.0.stdout.take().ok_or("QEMU has no output")?;
        let read = thread::spawn(move || until_marker(output));
        let resumed = resume(&monitor)?;
        let until = Instant::now() + BOOT;
        while !read.is_finished() {
            if Instant::now() > until {
                return Err("the machine by hand did not boot in time".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let (first, marker) = read.join().map_err(|_| "reading the console failed")??;
        Ok(Phases {
            qemu: 0.0,
            first_instruction: resumed - began,
            first_byte: first - began,
            marker: marker - began,
            ..Phases::default()
        })
    }
}

/// A process that ends with its owner.
pub(in crate::bench) struct Ends(pub(in crate::bench) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When the first byte came, and the marker.
pub(in crate::bench) fn until_marker(mut output: impl io::Read) -> io::Result<(f64, f64)> {
    let (mut seen, mut first) = (Vec::new(), None);
    let mut piece = [0; 4096];
    loop {
        let n = output.read(&mut piece)?;
        if n == 0 {
            return Err(io::Error::other("QEMU ended before the guest was up"));
        }
        let first = *first.get_or_insert_with(now);
        seen.extend_from_slice(&piece[..n]);
        if String::from_utf8_lossy(&seen).contains(MARKER) {
            return Ok((first, now()));
        }
    }
}

/// Lets the guest go, as vmint does; when it began to run.
fn resume(monitor: &Path) -> Result<f64> {
    let until = Instant::now() + BOOT;
    let mut stream = loop {
        match UnixStream::connect(monitor) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_read_timeout(Some(BOOT))?;
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n")?;
    for line in BufReader::new(stream.take(1 << 20)).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["event"] == "RESUME" {
            let at = |key: &str| event["timestamp"][key].as_f64().unwrap_or_default();
            return Ok(at("seconds") * 1000.0 + at("microseconds") / 1000.0);
        }
    }
    Err("QEMU did not start the guest".into())
}
