//! What people's own tools compress is unfolded, at the settings that ask the most of a reader.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vmint_images::{Format, Limits, Opener};

/// 3 MiB that compress somewhat, with a hole in the middle.
fn content() -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes: Vec<u8> = (0..3 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 60) as u8
        })
        .collect();
    bytes[1 << 20..2 << 20].fill(0);
    bytes
}

#[test]
fn strangers_compress_as_they_like() {
    let dir = TempDir::new().unwrap();
    let content = content();
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, &content).unwrap();
    let tools: [(&str, &[&str], Format); 8] = [
        ("gzip", &["-1"], Format::Gzip),
        ("gzip", &["-9"], Format::Gzip),
        ("xz", &["-0"], Format::Xz),
        // Needs 65 MiB to be read.
        ("xz", &["-9", "--check=sha256"], Format::Xz),
        ("xz", &["-3", "--block-size=1MiB", "-T2"], Format::Xz),
        ("zstd", &["-1", "--no-check"], Format::Zstd),
        // A window of 128 MiB, the largest that is read.
        ("zstd", &["-3", "--long=27"], Format::Zstd),
        ("bzip2", &["-9"], Format::Bzip2),
    ];
    let limits = Limits::default();
    for (tool, options, format) in tools {
        let packed = dir.path().join("disk.packed");
        let mut command = Command::new(tool);
        command.args(options).arg("-c").stdin(File::open(&raw).unwrap());
        command.stdout(File::create(&packed).unwrap()).stderr(Stdio::null());
        match command.status() {
            Ok(status) => assert!(status.success(), "{tool} {options:?}"),
            Err(error) => {
                skip(&format!("{tool} cannot be run: {error}"));
                continue;
            }
        }
        let opener = Opener::new(&limits).declared(Some(Format::Raw)).staging(dir.path());
        let disk = opener.open(File::open(&packed).unwrap());
        let disk = disk.unwrap_or_else(|error| panic!("{tool} {options:?}: {error}"));
        assert_eq!(disk.layers(), [format, Format::Raw]);
        let mut bytes = vec![1; content.len()];
        disk.read_at(0, &mut bytes).unwrap();
        assert!(bytes == content, "{tool} {options:?} differs");
    }
}

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = File::options().create(true).append(true).open(log).unwrap();
    writeln!(log, "vmint-images compressors: {why}").unwrap();
}
