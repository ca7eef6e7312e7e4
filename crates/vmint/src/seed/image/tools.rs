//! The programs the image is built with, and the packages they come from.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Result, SeedError};

/// A program that is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) tool: &'static str,
    /// The package that holds it.
    pub(crate) package: &'static str,
}

const TOOLS: [(&str, &str); 9] = [
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("tar", "tar"),
    ("sfdisk", "fdisk"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("unshare", "util-linux"),
    ("syslinux", "syslinux"),
];
const MBR: (&str, &str) = ("gptmbr.bin", "syslinux-common");
const MBR_FILES: [&str; 2] = ["/usr/lib/syslinux/mbr/gptmbr.bin", "/usr/lib/SYSLINUX/gptmbr.bin"];
/// Not on everybody's PATH, but where half of these programs are.
const MORE: [&str; 2] = ["/usr/sbin", "/sbin"];
const SAID_LIMIT: usize = 500;

/// What must be installed before an image can be built; empty if nothing.
#[must_use]
pub(crate) fn missing_tools() -> Vec<Missing> {
    let path = search_path();
    let found = |tool: &str| env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let mut missing: Vec<_> = TOOLS
        .into_iter()
        .filter(|(tool, _)| !found(tool))
        .map(|(tool, package)| Missing { tool, package })
        .collect();
    if mbr_code().is_none() {
        missing.push(Missing { tool: MBR.0, package: MBR.1 });
    }
    missing
}

pub(super) fn names(missing: &[Missing]) -> String {
    missing.iter().map(|m| m.tool).collect::<Vec<_>>().join(", ")
}

/// The one line that installs them.
pub(super) fn install(missing: &[Missing]) -> String {
    let mut packages: Vec<_> = missing.iter().map(|m| m.package).collect();
    packages.dedup();
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

pub(super) fn mbr_code() -> Option<PathBuf> {
    MBR_FILES.into_iter().map(PathBuf::from).find(|p| p.is_file())
}

fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = env::split_paths(&path).chain(MORE.map(PathBuf::from));
    env::join_paths(all).unwrap_or(path)
}

pub(super) fn run(tool: &str, words: &[&str]) -> Result<()> {
    run_with(tool, words, &[], None)
}

/// Runs a tool to its end; what it says is told only if it fails.
pub(super) fn run_with(
    tool: &str,
    words: &[&str],
    paths: &[&Path],
    input: Option<&str>,
) -> Result<()> {
    output(tool, words, paths, input).map(drop)
}

/// As [`run`], for what the tool writes.
pub(super) fn ask(tool: &str, words: &[&str]) -> Result<String> {
    let bytes = output(tool, words, &[], None)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs `apt-get` in `dir`, where it leaves what it fetches.
pub(super) fn download(dir: &Path, words: &[&str]) -> Result<()> {
    let failed = |said: String| SeedError::Tool { tool: "apt-get".into(), said };
    let output = command("apt-get")
        .args(words)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).chars().take(SAID_LIMIT).collect()))
}

fn output(tool: &str, words: &[&str], paths: &[&Path], input: Option<&str>) -> Result<Vec<u8>> {
    let failed = |said: String| SeedError::Tool { tool: tool.to_owned(), said };
    let mut child = command(tool)
        .args(words)
        .args(paths)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // Our inputs fit a pipe; a tool that does not read them fails by itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().chars().take(SAID_LIMIT).collect::<String>();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

fn command(tool: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(tool);
    command
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        // mtools' taste in disk geometry is not ours.
        .env("MTOOLS_SKIP_CHECK", "1");
    command
}

/// Unpacks what `wanted` names (all of it, if nothing) from a package into `dir`.
pub(super) fn unpack(package: &Path, dir: &Path, wanted: &[&str]) -> Result<()> {
    let failed = |said: String| SeedError::Tool { tool: "dpkg-deb".into(), said };
    fs::create_dir_all(dir).map_err(SeedError::file(dir))?;
    let mut read = command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let tar = read.stdout.take().ok_or_else(|| failed("no output".into()))?;
    let written = command("tar")
        .args(["--extract", "--no-same-owner", "--wildcards", "--directory"])
        .arg(dir)
        .args(wanted)
        .stdin(tar)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let read = read.wait().map_err(|e| failed(e.to_string()))?;
    let written = written.map_err(|e| failed(e.to_string()))?;
    if read.success() && written.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&written.stderr).chars().take(SAID_LIMIT).collect();
        Err(failed(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_one_line_to_install() {
        let missing = [
            Missing { tool: "mcopy", package: "mtools" },
            Missing { tool: "sfdisk", package: "fdisk" },
        ];
        assert_eq!(names(&missing), "mcopy, sfdisk");
        assert!(install(&missing).ends_with("install --no-install-recommends mtools fdisk"));
    }

    #[test]
    fn a_failing_tool_is_quoted() {
        let error = run("sh", &["-c", "echo no such luck >&2; false"]).expect_err("fails");
        assert_eq!(error.to_string(), "`sh` failed: no such luck");
        assert!(run("no-such-tool", &[]).is_err());
    }
}
