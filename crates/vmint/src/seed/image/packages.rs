//! The packages the image is made from: fetched by apt once, kept unpacked.

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{Result, SeedError, tools};

/// Kernels for virtual machines, by the names distributions give their newest.
const KERNELS: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-kvm"];
const SHELL: &str = "busybox-static";
const SSH: &str = "dropbear-bin";
/// Of this one program is wanted, which needs no more than the ssh server does.
const COPY: &str = "openssh-client";
const LIST: &str = "packages.list";

/// Unpacked packages, ready to copy from.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) kernel: PathBuf,
    pub(super) modules: PathBuf,
    pub(super) version: String,
    pub(super) busybox: PathBuf,
    /// The ssh server's package, all it depends on, and `scp`'s.
    pub(super) ssh: Vec<PathBuf>,
}

/// Takes the packages from `cache`, or has apt fetch them into it.
pub(super) fn obtain(cache: Option<&Path>) -> Result<Packages> {
    let cache = cache.map_or_else(default_cache, Path::to_owned);
    fs::create_dir_all(&cache).map_err(SeedError::file(&cache))?;
    let files = match kept(&cache) {
        Some(files) => files,
        None => fetch(&cache)?,
    };
    let mut unpacked = Vec::new();
    for file in &files {
        unpacked.push((name(file), unpack(&cache, file)?));
    }
    let of = |wanted: &str| {
        let found = unpacked.iter().find(|(name, _)| name.starts_with(wanted));
        found.map(|(_, dir)| dir.clone()).ok_or(SeedError::NoKernel)
    };
    let kernel = of("linux-image-")?;
    let absent = |what| SeedError::Package { package: kernel.display().to_string(), what };
    let image = first(&kernel.join("boot"), "vmlinuz-").ok_or_else(|| absent("kernel"))?;
    let version = image.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let version = version.trim_start_matches("vmlinuz-").to_owned();
    let modules = ["lib/modules", "usr/lib/modules"]
        .into_iter()
        .find_map(|dir| first(&kernel.join(dir), &version))
        .ok_or_else(|| absent("modules"))?;
    let busybox = of(SHELL)?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|p| busybox.join(p));
    let busybox = busybox
        .into_iter()
        .find(|p| p.is_file())
        .ok_or_else(|| SeedError::Package { package: SHELL.into(), what: "busybox" })?;
    let other = |name: &str| name.starts_with("linux-image-") || name == SHELL;
    let ssh = unpacked.iter().filter(|(name, _)| !other(name)).map(|(_, dir)| dir.clone());
    Ok(Packages { kernel: image, modules, version, busybox, ssh: ssh.collect() })
}

fn default_cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|h| Path::new(&h).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    base.or_else(home).unwrap_or_else(env::temp_dir).join("vmint/seed")
}

/// `NAME_VERSION_ARCH.deb`'s name.
fn name(file: &str) -> String {
    file.split('_').next().unwrap_or_default().to_owned()
}

/// The packages of an earlier fetch, if all are there and whole.
fn kept(cache: &Path) -> Option<Vec<String>> {
    let list = fs::read_to_string(cache.join(LIST)).ok()?;
    let mut files = Vec::new();
    for line in list.lines() {
        let (file, size) = line.split_once(' ')?;
        if fs::metadata(cache.join(file)).ok()?.len().to_string() != size {
            return None;
        }
        files.push(file.to_owned());
    }
    // One that is older than what is wanted now is made anew.
    files.iter().any(|file| name(file) == COPY).then_some(files)
}

/// Has apt fetch, and so verify, the newest packages.
fn fetch(cache: &Path) -> Result<Vec<String>> {
    let mut packages = vec![kernel()?, SHELL.to_owned(), COPY.to_owned()];
    let hide = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let hide: Vec<_> = hide.iter().map(|h| format!("--no-{h}")).collect();
    let hide: Vec<_> = hide.iter().map(String::as_str).collect();
    let tree = tools::ask("apt-cache", &[&["depends", "--recurse"], &hide[..], &[SSH]].concat())?;
    for line in tree.lines().filter(|l| !l.starts_with([' ', '<', '|'])) {
        // Another architecture's, on a machine that knows several.
        if !line.contains(':') && !packages.iter().any(|p| p == line) {
            packages.push(line.to_owned());
        }
    }
    let names: Vec<_> = packages.iter().map(String::as_str).collect();
    let patience = ["-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2"];
    let words = [&["download", "-qq"], &patience[..]].concat();
    let work = tempfile::tempdir_in(cache).map_err(SeedError::file(cache))?;
    tools::download(work.path(), &[&words[..], &names].concat())?;

    let mut list = String::new();
    let mut files = Vec::new();
    for entry in fs::read_dir(work.path()).map_err(SeedError::file(work.path()))? {
        let from = entry.map_err(SeedError::file(work.path()))?.path();
        let Some(file) = from.file_name().and_then(|n| n.to_str()) else { continue };
        let size = fs::metadata(&from).map_err(SeedError::file(&from))?.len();
        fs::rename(&from, cache.join(file)).map_err(SeedError::file(&from))?;
        list.extend([format!("{file} {size}\n")]);
        files.push(file.to_owned());
    }
    let fresh = work.path().join(LIST);
    fs::write(&fresh, list).map_err(SeedError::file(&fresh))?;
    fs::rename(&fresh, cache.join(LIST)).map_err(SeedError::file(&fresh))?;
    Ok(files)
}

/// The package behind the name that always means the newest kernel.
fn kernel() -> Result<String> {
    for meta in KERNELS {
        let Ok(text) = tools::ask("apt-cache", &["depends", meta]) else { continue };
        let depends = text.lines().filter_map(|l| l.trim().strip_prefix("Depends: "));
        let mut images = depends.filter(|p| p.starts_with("linux-image-"));
        if let Some(package) = images.next_back() {
            return Ok(package.to_owned());
        }
    }
    Err(SeedError::NoKernel)
}

/// The package's files, unpacked at most once.
fn unpack(cache: &Path, file: &str) -> Result<PathBuf> {
    let dir = cache.join(file.trim_end_matches(".deb"));
    if dir.is_dir() {
        return Ok(dir);
    }
    let wanted: &[&str] = if file.starts_with("linux-image-") {
        &["./boot/vmlinuz-*", "*/modules/*/kernel/*"]
    } else if name(file) == COPY {
        &["./usr/bin/scp"]
    } else {
        &["./*bin/*", "./*lib*"]
    };
    let work = tempfile::tempdir_in(cache).map_err(SeedError::file(cache))?;
    let fresh = work.path().join("files");
    // A package without programs or libraries has nothing to match.
    if let Err(error) = tools::unpack(&cache.join(file), &fresh, wanted)
        && !error.to_string().contains("Not found in archive")
    {
        return Err(error);
    }
    match fs::rename(&fresh, &dir) {
        // Another run was quicker; its files are the same.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(dir),
        Err(error) => Err(SeedError::file(dir)(error)),
        Ok(()) => Ok(dir),
    }
}

fn first(dir: &Path, prefix: &str) -> Option<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
        .map(|e| e.path())
        .collect();
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_counts_only_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(kept(dir.path()), None);
        let (one, scp) = ("a_1_amd64.deb", "openssh-client_1_amd64.deb");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("write");
        put(one, "abc");
        put(LIST, &format!("{one} 3\n"));
        assert_eq!(kept(dir.path()), None);
        put(scp, "abcd");
        put(LIST, &format!("{one} 3\n{scp} 4\n"));
        assert_eq!(kept(dir.path()), Some(vec![one.into(), scp.into()]));
        put(one, "ab");
        assert_eq!(kept(dir.path()), None);
        assert_eq!(name("a_1_amd64.deb"), "a");
    }
}
