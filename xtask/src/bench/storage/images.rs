//! Four disk images as they follow one another in life, made of the distribution's packages.
//!
//! `v1` holds packages in the newest version but one; `v2` is `v1` with the newest ones put in
//! place of them; `v3` is `v2` with further packages and noise put in; `v3fresh` is what `v3`
//! holds, in a file system made anew.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, bench::clock::ran};

pub(super) const NAMES: [&str; 4] = ["v1", "v2", "v3", "v3fresh"];

const SMALL: [&str; 5] =
    ["python3.11-minimal", "libpython3.11-stdlib", "openssl", "perl-modules-5.36", "git"];
const LARGE: [&str; 10] = [
    "libssl3",
    "libperl5.36",
    "libruby3.1",
    "libicu72",
    "vim-runtime",
    "cpp-12",
    "gcc-12",
    "libllvm14",
    "mariadb-server-core",
    "postgresql-15",
];
const FURTHER: [&str; 2] = ["redis-tools", "nginx-core"];
const MUCH_FURTHER: [&str; 4] =
    ["imagemagick-6-common", "libmagickcore-6.q16-6", "systemd", "python3-pip"];

/// Where the four lie, and what they were made of.
pub(super) struct Images {
    dir: PathBuf,
    pub(super) made_of: String,
}

impl Images {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name).with_extension("img")
    }

    /// Makes them under `dir`, or takes those that an earlier run made.
    pub(super) fn obtain(dir: &Path, quick: bool) -> Result<Self> {
        let dir = dir.join(if quick { "quick" } else { "full" });
        let done = dir.join("made-of");
        if let Ok(made_of) = fs::read_to_string(&done) {
            return Ok(Self { dir, made_of });
        }
        fs::create_dir_all(&dir)?;
        let (mut base, mut further) = (SMALL.to_vec(), FURTHER.to_vec());
        if !quick {
            base.extend(LARGE);
            further.extend(MUCH_FURTHER);
        }
        let work = tempfile::tempdir_in(&dir)?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for name in &base {
            let mut versions = versions(name)?;
            versions.truncate(2);
            let newest = versions.first().ok_or_else(|| format!("apt knows no {name}"))?;
            new.push(format!("{name}={newest}"));
            old.push(format!("{name}={}", versions.last().unwrap_or(newest)));
        }
        let further: Vec<_> = further.iter().map(ToString::to_string).collect();
        let noise = if quick { 4 << 20 } else { 40 << 20 };
        let trees = [("old", &old), ("new", &new), ("more", &further)];
        for (tree, packages) in trees {
            eprintln!("fetching and unpacking {} packages ({tree})", packages.len());
            unpack(&work.path().join(format!("{tree}.debs")), packages, &work.path().join(tree))?;
        }
        fs::write(work.path().join("more/noise"), xorshift(7, noise))?;
        let images = Self { dir, made_of: made_of(&old, &new, &further, noise) };
        images.make(work.path(), if quick { "512M" } else { "2G" })?;
        fs::write(done, &images.made_of)?;
        Ok(images)
    }

    fn make(&self, work: &Path, size: &str) -> Result {
        let [v1, v2, v3, fresh] = NAMES.map(|name| self.path(name));
        let (old, new, more) = (work.join("old"), work.join("new"), work.join("more"));
        file_system(&old, &v1, size)?;
        let copy = |from: &Path, to: &Path| {
            ran(Command::new("cp").args(["--sparse=always", "--reflink=never"]).args([from, to]))
        };
        copy(&v1, &v2)?;
        put_in(&old, &new, &v2)?;
        copy(&v2, &v3)?;
        // What lies in the image already is known from here on.
        ran(Command::new("cp").arg("-a").arg("--remove-destination").arg(new.join(".")).arg(&old))?;
        put_in(&old, &more, &v3)?;
        ran(Command::new("cp")
            .arg("-a")
            .arg("--remove-destination")
            .arg(more.join("."))
            .arg(&old))?;
        file_system(&old, &fresh, size)
    }
}

fn made_of(old: &[String], new: &[String], further: &[String], noise: usize) -> String {
    let changed = old.iter().zip(new).filter(|(old, new)| old != new).count();
    let names: Vec<_> = old.iter().filter_map(|package| package.split('=').next()).collect();
    format!(
        "v1: ext4 of the packages {}; v2: {changed} of them replaced by newer versions in place; \
         v3: {} and {} MiB of noise put in; v3fresh: the same files in a new file system",
        names.join(", "),
        further.join(", "),
        noise >> 20,
    )
}

/// Newest first.
fn versions(package: &str) -> Result<Vec<String>> {
    let listed = ran(Command::new("apt-cache").args(["madison", package]))?;
    let column = |line: &str| line.split('|').nth(1).map(|version| version.trim().to_owned());
    let mut versions: Vec<String> = listed.lines().filter_map(column).collect();
    versions.dedup();
    Ok(versions)
}

fn unpack(debs: &Path, packages: &[String], tree: &Path) -> Result {
    fs::create_dir_all(debs)?;
    let mut fetch = Command::new("apt-get");
    fetch.args(["download", "-qq", "-o", "Acquire::Retries=2", "-o", "APT::Sandbox::User=root"]);
    ran(fetch.args(packages).current_dir(debs))?;
    fs::create_dir_all(tree)?;
    for deb in fs::read_dir(debs)? {
        ran(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(tree))?;
    }
    Ok(fs::remove_dir_all(debs)?)
}

fn file_system(tree: &Path, image: &Path, size: &str) -> Result {
    let _ = fs::remove_file(image);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-b", "4096", "-E", "root_owner=0:0", "-d"]);
    make.arg(tree).arg(image).arg(size).env("PATH", sbin());
    ran(&mut make).map(drop)
}

fn sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Puts what `change` holds into the image, whose files are those of `there`, as an upgrade
/// would: a file that differs is removed and written anew.
fn put_in(there: &Path, change: &Path, image: &Path) -> Result {
    let mut script = String::new();
    let mut folders = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(change.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = path.display().to_string();
            // The words of a script are apart by blanks.
            if name.contains([' ', '"']) {
                continue;
            }
            let (kind, old) = (entry.file_type()?, there.join(&path));
            if kind.is_dir() {
                if !old.is_dir() && folders.insert(path.clone()) {
                    writeln!(script, "mkdir /{name}")?;
                }
                waiting.push(path);
            } else if kind.is_file() && !same(&entry.path(), &old)? {
                if old.symlink_metadata().is_ok() {
                    writeln!(script, "rm /{name}")?;
                }
                writeln!(script, "write {} /{name}", entry.path().display())?;
            }
        }
    }
    let file = image.with_extension("script");
    fs::write(&file, script)?;
    let mut change = Command::new("debugfs");
    change.args(["-w", "-f"]).arg(&file).arg(image).env("PATH", sbin());
    ran(&mut change)?;
    Ok(fs::remove_file(file)?)
}

fn same(new: &Path, old: &Path) -> Result<bool> {
    let there = old.symlink_metadata().is_ok_and(|meta| meta.is_file());
    Ok(there && fs::read(new)? == fs::read(old)?)
}

/// Bytes that no compressor makes smaller.
pub(super) fn xorshift(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The bytes of an image that are not holes, and where they lie.
pub(super) fn data(image: &Path) -> Result<Vec<u8>> {
    let file = File::open(image)?;
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(range) = vmint_images::Source::next_data(&file, at)? {
        let from = bytes.len();
        bytes.resize(from + usize::try_from(range.end - range.start)?, 0);
        file.read_exact_at(&mut bytes[from..], range.start)?;
        at = range.end;
    }
    Ok(bytes)
}

/// Puts an image into the page cache.
pub(super) fn warm(image: &Path) -> Result {
    let (mut file, mut piece) = (File::open(image)?, vec![0; 1 << 20]);
    while file.read(&mut piece)? > 0 {}
    Ok(())
}
