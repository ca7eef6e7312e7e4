//! Other people's NBD clients understand the block server.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use vmint_disk::{Export, Volume};

const MIB: u64 = 1 << 20;

/// A tool's output; `None` (with a note) when it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<String> {
    let output = match Command::new(tool).args(args).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: {tool} cannot be run: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {args:?}\n{text}{errors}");
    Some(text)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

struct Served {
    dir: TempDir,
    volume: Arc<Volume>,
    export: Export,
}

impl Served {
    fn new(size: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let volume = Arc::new(Volume::create(&dir.path().join("vol"), size, None).unwrap());
        let export = Export::start(&dir.path().join("sock"), 0o600, volume.clone()).unwrap();
        Self { dir, volume, export }
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.export.path().display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.volume.size() as usize];
        self.volume.read_at(0, &mut bytes).unwrap();
        bytes
    }
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn nbdinfo_sees_size_and_abilities() {
    let served = Served::new(5 * MIB + 512);
    let Some(text) = run("nbdinfo", &[&served.uri()]) else { return };
    for line in [
        "export-size: 5243392",
        "can_flush: true",
        "can_fua: true",
        "can_trim: true",
        "can_zero: true",
        "can_multi_conn: true",
        "is_read_only: false",
        "block_size_minimum: 1",
        "block_size_maximum: 33554432",
        "base:allocation",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let list = run("nbdinfo", &["--list", &served.uri()]).unwrap();
    assert!(list.contains("export=\"\""), "{list}");
}

#[test]
fn nbdinfo_maps_what_is_written() {
    let served = Served::new(8 * MIB);
    served.volume.write_at(MIB, &noise(1, 65_536)).unwrap();
    served.volume.write_at(3 * MIB, &noise(2, 4_096)).unwrap();
    served.volume.write_zeroes(MIB + 4_096, 4_096).unwrap();
    let Some(text) = run("nbdinfo", &["--map", &served.uri()]) else { return };
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let wanted = [
        ["0", "1048576", "3"],
        ["1048576", "4096", "0"],
        ["1052672", "4096", "3"],
        ["1056768", "57344", "0"],
        ["1114112", "2031616", "3"],
        ["3145728", "4096", "0"],
        ["3149824", "5238784", "3"],
    ];
    assert_eq!(rows.len(), wanted.len(), "{text}");
    for (row, wanted) in rows.iter().zip(wanted) {
        assert_eq!(row[..3], wanted, "{text}");
    }
}

#[test]
fn nbdcopy_brings_a_disk_in_and_out() {
    let served = Served::new(70 * MIB);
    let (input, output) = (served.file("in"), served.file("out"));
    let file = File::create(&input).unwrap();
    file.set_len(70 * MIB).unwrap();
    for (seed, at, len) in [(1, 0, 3_000_000), (2, 33_333_333, 500_001), (3, 73_400_000, 320)] {
        std::os::unix::fs::FileExt::write_all_at(&file, &noise(seed, len), at).unwrap();
    }
    let (from, to) = (input.to_str().unwrap(), output.to_str().unwrap());
    if run("nbdcopy", &["--flush", from, &served.uri()]).is_none() {
        return;
    }
    assert!(served.content() == read(&input), "what arrived differs");
    assert!(served.volume.allocated_bytes() < 8 * MIB, "holes were stored");
    run("nbdcopy", &[&served.uri(), to]).unwrap();
    assert!(read(&output) == read(&input), "what came back differs");
    run(
        "nbdcopy",
        &["--connections=4", "--requests=16", "--request-size=33554432", &served.uri(), to],
    )
    .unwrap();
    assert!(read(&output) == read(&input), "what came back in large requests differs");
}

#[test]
fn qemu_reads_writes_trims_and_zeroes() {
    let served = Served::new(64 * MIB);
    let spec = format!(
        "driver=nbd,server.type=unix,server.path={},reconnect-delay=60",
        served.export.path().display()
    );
    let commands = [
        "write -P 1 0 1M",
        "write -P 2 12345 678",
        "write -f -P 3 20M 40M",
        "write -z 30M 1M",
        "write -z -u 32M 1M",
        "discard 34M 1M",
        "write -z 40000001 33",
        "flush",
        "read -P 1 0 12345",
        "read -P 2 12345 678",
        "read -P 1 13023 1000",
        "read -P 0 30M 1M",
        "read -P 0 32M 1M",
        "read -P 0 40000001 33",
        "read -P 3 40000034 100",
        "read -P 3 20M 10M",
    ];
    let mut args = vec!["--image-opts", &spec];
    for command in &commands {
        args.extend(["-c", command]);
    }
    let Some(text) = run("qemu-io", &args) else { return };
    assert!(!text.contains("failed") && !text.contains("rror"), "{text}");
    let mut model = vec![0; 64 * MIB as usize];
    model[..MIB as usize].fill(1);
    model[12_345..12_345 + 678].fill(2);
    model[20 << 20..60 << 20].fill(3);
    model[30 << 20..31 << 20].fill(0);
    model[32 << 20..33 << 20].fill(0);
    model[34 << 20..35 << 20].fill(0);
    model[40_000_001..40_000_034].fill(0);
    assert!(served.content() == model);
    let out = served.file("out");
    let nbd = served.uri();
    run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &nbd, out.to_str().unwrap()]).unwrap();
    assert!(read(&out) == model);
}

#[test]
fn an_export_ends_and_is_replaced() {
    let served = Served::new(MIB);
    served.volume.write_at(5, b"here").unwrap();
    let path = served.export.path().to_owned();
    // A second export takes the path over; the first one's end must not take it away.
    let second = Export::start(&path, 0o600, served.volume.clone()).unwrap();
    served.export.stop();
    assert!(path.exists());
    if let Some(text) = run("nbdinfo", &["--size", &served.uri()]) {
        assert_eq!(text.trim(), "1048576");
    }
    second.stop();
    assert!(!path.exists());
    std::fs::write(&path, "a file of somebody's").unwrap();
    assert!(Export::start(&path, 0o600, served.volume.clone()).is_err());
    assert!(path.exists());
}
