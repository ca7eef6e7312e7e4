//! Others who store disk images, told to do the same as we do: one file, read anew each time, at
//! the compression they have that is nearest to zstd 1, durable at the end.

use std::{
    fs,
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Result,
    bench::clock::{Took, clock, ran},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Casync,
    Restic,
    Borg,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Casync, Self::Restic, Self::Borg];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Casync => "casync",
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }

    /// What it was told.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Casync => "casync (zstd, a file a chunk)",
            Self::Restic => "restic (compression auto, its fastest; always encrypts; --force)",
            Self::Borg => "borg (zstd,1; no encryption; no cache of files)",
        }
    }

    fn command(self, dir: &Path) -> Command {
        let mut command = Command::new(self.name());
        command.stdin(Stdio::null()).current_dir(dir);
        command.env("BORG_BASE_DIR", dir).env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command.env("RESTIC_PASSWORD", "bench").env("RESTIC_CACHE_DIR", dir.join("cache"));
        command
    }

    /// Makes an empty place for images in `dir`.
    pub(super) fn prepare(self, dir: &Path) -> Result {
        fs::create_dir_all(dir)?;
        match self {
            Self::Casync => Ok(()),
            Self::Restic => ran(self.command(dir).args(["init", "-q", "-r", "repo"])).map(drop),
            Self::Borg => ran(self.command(dir).args(["init", "-e", "none", "repo"])).map(drop),
        }
    }

    /// Stores an image, durably.
    pub(super) fn store(self, dir: &Path, image: &Path, name: &str) -> Result<Took> {
        let mut command = self.command(dir);
        match self {
            Self::Casync => {
                command.args(["make", "--compression=zstd", "--store=repo.castr"]);
                command.arg(format!("{name}.caibx")).arg(image);
            }
            Self::Restic => {
                command.args(["backup", "-q", "--force", "--compression", "auto", "-r", "repo"]);
                command.args(["--tag", name]).arg(image);
            }
            Self::Borg => {
                command.args(["create", "--compression", "zstd,1", "--files-cache", "disabled"]);
                command.arg(format!("repo::{name}")).arg(image);
            }
        }
        let ((), took) = clock(|| {
            ran(&mut command)?;
            durable(dir)
        })?;
        Ok(took)
    }

    /// Writes an image out again, somewhere below `out`, durably.
    pub(super) fn extract(self, dir: &Path, name: &str, out: &Path) -> Result<Took> {
        fs::create_dir_all(out)?;
        let mut command = self.command(dir);
        match self {
            Self::Casync => {
                command.args(["extract", "--store=repo.castr", &format!("{name}.caibx")]);
                command.arg(out.join("image"));
            }
            Self::Restic => {
                command.args(["restore", "-q", "-r", "repo", "latest", "--tag", name, "--target"]);
                command.arg(out);
            }
            Self::Borg => {
                command.current_dir(out).args(["extract", "--sparse"]);
                command.arg(format!("{}::{name}", dir.join("repo").display()));
            }
        }
        let ((), took) = clock(|| {
            ran(&mut command)?;
            durable(dir)
        })?;
        fs::remove_dir_all(out)?;
        Ok(took)
    }

    /// Forgets an image and gives its space back; `kept` is what stays.
    pub(super) fn forget(self, dir: &Path, gone: &str, kept: &str) -> Result<Took> {
        let mut steps = Vec::new();
        match self {
            Self::Casync => {
                let mut collect = self.command(dir);
                collect.args(["gc", "--store=repo.castr", &format!("{kept}.caibx")]);
                steps.push(collect);
            }
            Self::Restic => {
                let mut forget = self.command(dir);
                forget.args(["forget", "-q", "-r", "repo", "--prune", "--max-unused", "0"]);
                forget.args(["--keep-tag", kept]);
                steps.push(forget);
            }
            Self::Borg => {
                let (mut delete, mut compact) = (self.command(dir), self.command(dir));
                delete.args(["delete", &format!("repo::{gone}")]);
                compact.args(["compact", "--threshold", "0", "repo"]);
                steps.extend([delete, compact]);
            }
        }
        let ((), took) = clock(|| {
            for step in &mut steps {
                ran(step)?;
            }
            durable(dir)
        })?;
        Ok(took)
    }

    /// Bytes of all it keeps.
    pub(super) fn bytes(self, dir: &Path) -> Result<u64> {
        match self {
            Self::Casync => bytes_below(&dir.join("repo.castr")),
            Self::Restic | Self::Borg => bytes_below(&dir.join("repo")),
        }
    }
}

/// Bytes that the chunks of casync's store would take if each were compressed as ours are.
pub(super) fn casync_at_our_level(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for folder in fs::read_dir(dir.join("repo.castr"))? {
        for chunk in fs::read_dir(folder?.path())? {
            let raw = zstd::decode_all(fs::File::open(chunk?.path())?)?;
            sum += zstd::bulk::compress(&raw, 1)?.len().min(raw.len()) as u64;
        }
    }
    Ok(sum)
}

/// Makes all of the file system that `dir` is on durable.
pub(super) fn durable(dir: &Path) -> Result {
    let dir = fs::File::open(dir)?;
    Ok(rustix::fs::syncfs(dir.as_fd())?)
}

/// The lengths of all files.
pub(super) fn bytes_below(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { bytes_below(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// Whether a program can be started.
pub(super) fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
