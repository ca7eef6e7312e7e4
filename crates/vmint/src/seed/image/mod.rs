//! Puts the image together: partition table, boot partition, root file system.

mod packages;
mod tools;
mod tree;

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub(crate) use tools::{Missing, missing_tools};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
const BOOT_START: u64 = MIB;
const BOOT_SIZE: u64 = 32 * MIB;
const ROOT_START: u64 = BOOT_START + BOOT_SIZE;
/// For the second copy of the partition table.
const TAIL: u64 = MIB;
const MBR_CODE: usize = 440;

/// By this the kernel finds its root on whatever controller the disk hangs. The same in
/// every seed image, as nothing else in the machine is known when the image is made.
const ROOT_UUID: &str = "766d696e-7400-4000-8000-000000000001";
const BOOT_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const ROOT_TYPE: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

/// What the image is to be.
#[derive(Debug, Clone)]
pub(crate) struct SeedOptions {
    /// The root file system's size, 48 MiB to 64 GiB.
    pub(crate) root_mib: u64,
    /// The disk's size, up to 16 TiB; what lies behind the root is a hole. As small as it
    /// can be if `None`.
    pub(crate) size_gib: Option<u64>,
    /// Shown at boot and at login: printable, at most 1 KiB.
    pub(crate) marker: String,
    /// Whoever has the serial console is root, without a password.
    pub(crate) console_shell: bool,
    /// The static first-boot agent.
    pub(crate) agent: Cow<'static, [u8]>,
    /// Where packages are kept; `$XDG_CACHE_HOME/vmint/seed` if `None`. Delete it to have
    /// newer packages fetched.
    pub(crate) cache: Option<PathBuf>,
}

impl SeedOptions {
    pub(crate) fn with_agent(agent: Cow<'static, [u8]>) -> Self {
        Self {
            root_mib: 96,
            size_gib: None,
            marker: "vmint demo image".into(),
            console_shell: false,
            agent,
            cache: None,
        }
    }
}

/// What was built.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    /// What the file takes on disk.
    pub(crate) allocated_bytes: u64,
    /// The kernel's version.
    pub(crate) kernel: String,
    pub(crate) elapsed: Duration,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error("building the image needs {}; run: {}", tools::names(.0), tools::install(.0))]
    Missing(Vec<Missing>),
    #[error("a root of {0} MiB: use 48 to 65536")]
    RootSize(u64),
    #[error("a disk of {gib} GiB: use {least} to 16384 for this root")]
    DiskSize { gib: u64, least: u64 },
    #[error("the marker must be printable text of at most 1 KiB")]
    Marker,
    #[error("no kernel package for virtual machines is known to apt; run: sudo apt-get update")]
    NoKernel,
    #[error("package `{package}` holds no {what}: this distribution is not supported yet")]
    Package { package: String, what: &'static str },
    #[error("`{tool}` failed: {said}")]
    Tool { tool: String, said: String },
    #[error("`{path}` cannot be used")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl SeedError {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

type Result<T, E = SeedError> = std::result::Result<T, E>;

/// Builds the image at `out`, replacing it whole. Blocks for some seconds; fetches some
/// 30 MB of packages with apt the first time and works offline after.
pub(crate) fn build(out: &Path, options: &SeedOptions) -> Result<Report> {
    let started = Instant::now();
    let size = check(options)?;
    let missing = missing_tools();
    if !missing.is_empty() {
        return Err(SeedError::Missing(missing));
    }
    let packages = packages::obtain(options.cache.as_deref())?;
    let work = tempfile::tempdir().map_err(SeedError::file(std::env::temp_dir()))?;
    let root = work.path().join("root");
    tree::grow(&root, &packages, options)?;

    // A name of its own beside the last one, so that no reader sees half an image.
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let image = tempfile::NamedTempFile::new_in(folder).map_err(SeedError::file(folder))?;
    let path = image.path();
    image.as_file().set_len(size).map_err(SeedError::file(path))?;
    partition(path, options.root_mib)?;
    boot(path, work.path(), &packages.kernel)?;
    file_system(path, &root, options.root_mib)?;
    image.as_file().sync_all().map_err(SeedError::file(path))?;
    let image = image.persist(out).map_err(|e| SeedError::file(out)(e.error))?;
    let meta = image.metadata().map_err(SeedError::file(out))?;
    readable(&image).map_err(SeedError::file(out))?;
    Ok(Report {
        path: out.to_owned(),
        size_bytes: meta.len(),
        allocated_bytes: meta.blocks() * SECTOR,
        kernel: packages.version,
        elapsed: started.elapsed(),
    })
}

/// A temporary file is its maker's only; an image is like any other file.
fn readable(image: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    image.set_permissions(fs::Permissions::from_mode(0o644))
}

fn check(options: &SeedOptions) -> Result<u64> {
    if !(48..=65536).contains(&options.root_mib) {
        return Err(SeedError::RootSize(options.root_mib));
    }
    let plain = options.marker.chars().all(|c| !c.is_control() || c == '\n');
    if options.marker.len() > 1024 || !plain {
        return Err(SeedError::Marker);
    }
    let least = ROOT_START + options.root_mib * MIB + TAIL;
    match options.size_gib {
        None => Ok(least),
        Some(gib) if gib <= 16384 && gib << 30 >= least => Ok(gib << 30),
        Some(gib) => Err(SeedError::DiskSize { gib, least: least.div_ceil(1 << 30) }),
    }
}

fn partition(image: &Path, root_mib: u64) -> Result<()> {
    let table = format!(
        "label: gpt\n\
         start={}, size={}, type={BOOT_TYPE}, name=boot, attrs=LegacyBIOSBootable\n\
         start={}, size={}, type={ROOT_TYPE}, name=root, uuid={ROOT_UUID}\n",
        BOOT_START / SECTOR,
        BOOT_SIZE / SECTOR,
        ROOT_START / SECTOR,
        root_mib * MIB / SECTOR,
    );
    tools::run_with("sfdisk", &["--quiet", "--no-tell-kernel"], &[image], Some(&table))?;
    let code = tools::mbr_code().ok_or_else(|| SeedError::Missing(missing_tools()))?;
    let mut bytes = Vec::new();
    File::open(&code)
        .and_then(|f| f.take(MBR_CODE as u64).read_to_end(&mut bytes))
        .map_err(SeedError::file(code))?;
    let mut file = File::options().write(true).open(image).map_err(SeedError::file(image))?;
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&bytes))
        .map_err(SeedError::file(image))
}

/// The boot partition: SYSLINUX, its one line, and the kernel. No initrd: the kernel has
/// NVMe and ext4 built in.
fn boot(image: &Path, work: &Path, kernel: &Path) -> Result<()> {
    let blocks = (BOOT_SIZE / 1024).to_string();
    let sector = (BOOT_START / SECTOR).to_string();
    let image_text = image.display().to_string();
    let format = ["-F", "16", "-n", "BOOT", "-i", "766D696E", "--offset", &sector];
    tools::run("mkfs.vfat", &[&format[..], &[&image_text, &blocks]].concat())?;
    let inside = format!("{image_text}@@{BOOT_START}");
    let config = work.join("syslinux.cfg");
    let text = format!(
        "DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n KERNEL /vmlinuz\n APPEND \
         root=PARTUUID={ROOT_UUID} rootwait rw console=tty0 console=ttyS0,115200 panic=30\n"
    );
    fs::write(&config, text).map_err(SeedError::file(&config))?;
    for (from, to) in [(kernel, "::/vmlinuz"), (&config, "::/syslinux.cfg")] {
        tools::run("mcopy", &["-i", &inside, &from.display().to_string(), to])?;
    }
    tools::run("syslinux", &["--install", "--offset", &BOOT_START.to_string(), &image_text])
}

/// A journalled root, so that a copy taken of the running machine mounts again.
fn file_system(image: &Path, root: &Path, root_mib: u64) -> Result<()> {
    let extended = format!("offset={ROOT_START},root_owner=0:0,lazy_itable_init=1");
    let size = format!("{root_mib}M");
    let (root, image) = (root.display().to_string(), image.display().to_string());
    let words = ["-q", "-F", "-t", "ext4", "-L", "root", "-J", "size=4", "-m", "1", "-E"];
    let words = [&words[..], &[&extended, "-d", &root, &image, &size]].concat();
    // In a user namespace our files are root's, as they shall be in the guest. Where that
    // is not allowed the guest itself puts it right when it first boots.
    let mapped = [&["--map-root-user", "mke2fs"][..], &words].concat();
    tools::run("unshare", &mapped).or_else(|_| tools::run("mke2fs", &words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut SeedOptions)) -> SeedOptions {
        let mut options = SeedOptions::with_agent(Cow::Borrowed(b""));
        change(&mut options);
        options
    }

    #[test]
    fn sizes_and_markers_out_of_bounds_are_refused() {
        assert!(matches!(check(&options(|o| o.root_mib = 1)), Err(SeedError::RootSize(1))));
        let small = check(&options(|o| (o.root_mib, o.size_gib) = (2048, Some(2))));
        assert!(matches!(small, Err(SeedError::DiskSize { gib: 2, least: 3 })), "{small:?}");
        assert!(check(&options(|o| o.size_gib = Some(u64::MAX))).is_err());
        assert!(check(&options(|o| o.marker = "\x1b[2J".into())).is_err());
        assert_eq!(check(&options(|o| o.size_gib = Some(64))).expect("fits"), 64 << 30);
    }
}
