//! The root file system, as a folder.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{Result, SeedError, SeedOptions, packages::Packages, tools};

const FOLDERS: [&str; 19] = [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "mnt",
    "etc",
    "etc/dropbear",
    "root",
    "home",
    "var/log",
    "var/lib",
    "lib/modules",
    "lib64",
];
/// What the kernel does not have built in; what they need comes along.
const MODULES: [&str; 7] =
    ["virtio_pci", "virtio_net", "virtio_blk", "virtio-rng", "button", "evdev", "e1000"];
const LOADER: &str = "ld-linux-x86-64.so.2";
/// `scp` is what builders of images put their files through.
const SSH_PROGRAMS: [&str; 3] = ["usr/sbin/dropbear", "usr/bin/dropbearkey", "usr/bin/scp"];

/// The first process: without device files there is no console, so they come first.
const INIT: &str = "#!/bin/sh
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
exec /bin/busybox init
";
const INITTAB: &str = "::sysinit:/etc/rc
::respawn:/usr/sbin/dropbear -F -R -s
::respawn:/sbin/vmint-guest power-button
::once:/sbin/vmint-guest finish
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/rc.shutdown
";
const CONSOLE_SHELL: &str = "ttyS0::askfirst:-/bin/sh\n";
const RC: &str = "#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=755,nosuid,nodev run /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
# An image built where it could not be root's own is put right once.
[ \"$(stat -c %u /root)\" = 0 ] || find / -xdev -exec chown -h 0:0 {} +
while read -r module; do insmod \"/lib/modules/$module\"; done < /etc/modules
[ -s /etc/hostname ] && hostname -F /etc/hostname
ip link set lo up
for card in /sys/class/net/e*; do
    [ -e \"$card\" ] || continue
    ip link set \"${card##*/}\" up
    udhcpc -b -S -t 20 -T 1 -i \"${card##*/}\" -s /etc/udhcpc >/dev/null 2>&1
done
cat /etc/motd
vmint-guest boot
";
const SHUTDOWN: &str = "#!/bin/sh
sync
umount -a -r
";
const UDHCPC: &str = "#!/bin/sh
case \"$1\" in
deconfig)
    ip addr flush dev \"$interface\"
    ip link set \"$interface\" up
    ;;
bound | renew)
    ip addr replace \"$ip/$mask\" dev \"$interface\"
    for one in $router; do ip route replace default via \"$one\" dev \"$interface\"; done
    for one in $dns; do echo \"nameserver $one\"; done > /etc/resolv.conf
    ;;
esac
";
const PASSWD: &str = "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";

/// Fills `root`.
pub(super) fn grow(root: &Path, packages: &Packages, options: &SeedOptions) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder)).map_err(SeedError::file(root))?;
    }
    mode(&root.join("root"), 0o700)?;
    copy(&packages.busybox, &root.join("bin/busybox"), 0o755)?;
    let busybox = packages.busybox.display().to_string();
    for applet in tools::ask(&busybox, &["--list"])?.lines() {
        // Ours comes first on the path only where it must not be busybox's.
        if applet != "busybox" && applet != "init" && !applet.contains('/') {
            let link = root.join("bin").join(applet);
            symlink("busybox", &link).map_err(SeedError::file(link))?;
        }
    }
    ssh(root, &packages.ssh)?;
    let modules = modules(root, &packages.modules)?;
    let agent = root.join("sbin/vmint-guest");
    write(&agent, &options.agent, 0o755)?;
    let shell = if options.console_shell { CONSOLE_SHELL } else { "" };
    let inittab = format!("{INITTAB}{shell}");
    let motd = format!("{}\n", options.marker.trim_end());
    for (path, text, mode) in [
        ("sbin/init", INIT, 0o755),
        ("etc/inittab", inittab.as_str(), 0o644),
        ("etc/rc", RC, 0o755),
        ("etc/rc.shutdown", SHUTDOWN, 0o755),
        ("etc/udhcpc", UDHCPC, 0o755),
        ("etc/passwd", PASSWD, 0o644),
        ("etc/group", GROUP, 0o644),
        ("etc/modules", &modules, 0o644),
        ("etc/motd", &motd, 0o644),
        ("etc/hosts", "127.0.0.1 localhost\n", 0o644),
        ("etc/hostname", "vmint\n", 0o644),
    ] {
        write(&root.join(path), text.as_bytes(), mode)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], bits: u32) -> Result<()> {
    fs::write(path, bytes).map_err(SeedError::file(path))?;
    mode(path, bits)
}

fn copy(from: &Path, to: &Path, bits: u32) -> Result<()> {
    fs::copy(from, to).map_err(SeedError::file(from))?;
    mode(to, bits)
}

fn mode(path: &Path, bits: u32) -> Result<()> {
    let bits = fs::Permissions::from_mode(bits);
    fs::set_permissions(path, bits).map_err(SeedError::file(path))
}

/// The ssh server and the libraries it names, and those that they name.
fn ssh(root: &Path, packages: &[PathBuf]) -> Result<()> {
    let mut libraries = BTreeMap::new();
    for package in packages {
        find(package, &mut |path, name| {
            if name.contains(".so") {
                libraries.insert(name.to_owned(), path.to_owned());
            }
        })?;
    }
    let mut queue = vec![LOADER.to_owned()];
    for path in SSH_PROGRAMS {
        let program = packages.iter().map(|p| p.join(path)).find(|p| p.is_file());
        let program = program
            .ok_or_else(|| SeedError::Package { package: "dropbear-bin".into(), what: path })?;
        copy(&program, &root.join(path), 0o755)?;
        queue.extend(named(&program, &libraries)?);
    }
    let mut done = Vec::new();
    while let Some(name) = queue.pop() {
        if done.contains(&name) {
            continue;
        }
        let from = &libraries[&name];
        let folder = if name == LOADER { "lib64" } else { "usr/lib" };
        copy(from, &root.join(folder).join(&name), 0o755)?;
        queue.extend(named(from, &libraries)?);
        done.push(name);
    }
    Ok(())
}

/// Which of `libraries` a program names: its strings end in NUL wherever they stand.
fn named(program: &Path, libraries: &BTreeMap<String, PathBuf>) -> Result<Vec<String>> {
    let bytes = fs::read(program).map_err(SeedError::file(program))?;
    let mut names = Vec::new();
    for string in bytes.split(|b| *b == 0) {
        if let Ok(text) = str::from_utf8(string)
            && libraries.contains_key(text)
        {
            names.push(text.to_owned());
        }
    }
    Ok(names)
}

/// Copies the modules; returns their file names in the order they must be loaded in.
fn modules(root: &Path, from: &Path) -> Result<String> {
    let mut all = BTreeMap::new();
    find(from, &mut |path, name| {
        if let Some((stem, rest)) = name.split_once('.')
            && rest.starts_with("ko")
        {
            all.insert(stem.replace('-', "_"), path.to_owned());
        }
    })?;
    let mut order = Vec::new();
    for name in MODULES {
        add(name, &all, root, &mut order)?;
    }
    Ok(order.into_iter().map(|name| name + ".ko\n").collect())
}

/// Adds a module after all it depends on. One that is not there is built in.
fn add(
    name: &str,
    all: &BTreeMap<String, PathBuf>,
    root: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    let name = name.replace('-', "_");
    let Some(from) = all.get(&name).filter(|_| !order.contains(&name)) else { return Ok(()) };
    let to = root.join("lib/modules").join(format!("{name}.ko"));
    let packed = from.extension().is_some_and(|e| e == "xz" || e == "zst");
    if packed {
        let tool = if from.extension().is_some_and(|e| e == "xz") { "xz" } else { "zstd" };
        let plain = to.display().to_string();
        let script = format!("{tool} -dc \"$1\" > \"$2\"");
        tools::run("sh", &["-c", &script, "sh", &from.display().to_string(), &plain])?;
    } else {
        copy(from, &to, 0o644)?;
    }
    let bytes = fs::read(&to).map_err(SeedError::file(&to))?;
    for wanted in depends(&bytes) {
        add(&wanted, all, root, order)?;
    }
    order.push(name);
    Ok(())
}

/// What a module says it depends on.
fn depends(module: &[u8]) -> Vec<String> {
    let line = module.split(|b| *b == 0).find_map(|s| s.strip_prefix(b"depends="));
    let line = line.map(String::from_utf8_lossy).unwrap_or_default();
    line.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

/// Calls `found` for every plain file, and every link to one, below `dir`.
fn find(dir: &Path, found: &mut impl FnMut(&Path, &str)) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(SeedError::file(dir))? {
        let entry = entry.map_err(SeedError::file(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(SeedError::file(&path))?;
        if kind.is_dir() {
            find(&path, found)?;
        } else if path.is_file() {
            found(&path, &entry.file_name().to_string_lossy());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_depend_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, root) = (dir.path().join("m"), dir.path().join("r"));
        fs::create_dir_all(from.join("net")).expect("folder");
        fs::create_dir_all(root.join("lib/modules")).expect("folder");
        let module = |name: &str, depends: &str| {
            let text = format!("\0license=GPL\0depends={depends}\0");
            fs::write(from.join("net").join(name), text).expect("write");
        };
        module("virtio_net.ko", "net_failover,virtio");
        module("net_failover.ko", "failover");
        module("failover.ko", "");
        module("virtio.ko", "virtio_ring");
        module("virtio_ring.ko", "");
        module("unwanted.ko", "");
        let order = modules(&root, &from).expect("copied");
        let expected = "failover.ko\nnet_failover.ko\nvirtio_ring.ko\nvirtio.ko\nvirtio_net.ko\n";
        assert_eq!(order, expected);
        assert!(!root.join("lib/modules/unwanted.ko").exists());
    }
}
