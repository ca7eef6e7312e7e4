//! What is left after kill -9, a full disk and a freeze in the middle of writing.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

mod client;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, FLUSH, Random, TRIM};
use tempfile::TempDir;
use vmint_blocks::{BlockStore, Domain, Options};
use vmint_disk::{Export, Volume};

const CHILD: &str = "VMINT_DISK_TEST_DIR";
const BLOCKS: u64 = 512;
const NO_SPACE: u32 = 28;

/// Not a test of its own: the process that the kill test kills.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let volume = match Volume::open(&dir.join("vol"), |_| unreachable!()) {
        Err(vmint_disk::DiskError::Missing(_)) => {
            Volume::create(&dir.join("vol"), BLOCKS * 4096, None).unwrap()
        }
        other => other.unwrap(),
    };
    let volume = Arc::new(volume);
    let _export = Export::start(&dir.join("sock"), 0o600, volume.clone()).unwrap();
    loop {
        // Layers come and go while the client writes.
        std::thread::sleep(Duration::from_millis(20));
        volume.freeze().unwrap();
        if volume.layer_count() > 8 {
            std::thread::sleep(Duration::from_hours(1));
        }
    }
}

/// Kills its process when it goes.
struct Server(Child);

impl Server {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env(CHILD, dir).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Child::kill is SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What a block may hold: the number last acknowledged, or one that was on its way.
#[derive(Clone, Copy, Default)]
struct Slot {
    acked: u64,
    sent: u64,
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut slots = vec![Slot::default(); BLOCKS as usize * 4];
    let mut random = Random(7);
    let mut number = 0;
    let mut total = 0;
    for round in 0..12 {
        let server = Server::start(dir.path());
        let mut client = Client::connect(&dir.path().join("sock")).unwrap();
        for (index, slot) in slots.iter_mut().enumerate() {
            let mut bytes = [0; 1024];
            assert_eq!(client.read(index as u64 * 1024, &mut bytes).unwrap(), 0);
            let found = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            assert!(bytes.chunks(8).all(|part| part == &bytes[..8]), "a torn sector");
            assert!(found == slot.acked || found == slot.sent, "round {round}: {found} at {index}");
            *slot = Slot { acked: found, sent: found };
        }
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20 + 25 * round));
            drop(server);
        });
        loop {
            number += 1;
            let at = random.below(slots.len() as u64);
            let result = match random.below(20) {
                0 => client.command(FLUSH, 0, 0),
                1 => {
                    slots[at as usize].sent = 0;
                    client.command(TRIM, at * 1024, 1024).inspect(|_| slots[at as usize].acked = 0)
                }
                _ => {
                    slots[at as usize].sent = number;
                    let bytes = number.to_be_bytes().repeat(128);
                    let done = client.write(at * 1024, &bytes);
                    done.inspect(|_| slots[at as usize].acked = number)
                }
            };
            match result {
                Ok(error) => assert_eq!(error, 0),
                Err(_) => break,
            }
            total += 1;
        }
        killer.join().unwrap();
    }
    assert!(total > 100, "hardly anything was written");
    let volume = Volume::open(&dir.path().join("vol"), |_| unreachable!()).unwrap();
    assert!(volume.layer_count() > 1);
}

#[test]
fn qemu_goes_on_after_the_server_was_killed() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("sock");
    let server = Server::start(dir.path());
    drop(Client::connect(&socket).unwrap());
    let spec =
        format!("driver=nbd,server.type=unix,server.path={},reconnect-delay=60", socket.display());
    let mut command = Command::new("qemu-io");
    command.args(["--image-opts", &spec]).stdout(Stdio::piped()).stderr(Stdio::piped());
    for step in [
        "write -P 1 0 64k",
        "sleep 1500",
        "write -P 2 64k 64k",
        "flush",
        "read -P 1 0 64k",
        "read -P 2 64k 64k",
    ] {
        command.args(["-c", step]);
    }
    let qemu = match command.spawn() {
        Ok(qemu) => qemu,
        Err(error) => {
            eprintln!("SKIPPED: qemu-io cannot be run: {error}");
            return;
        }
    };
    // Whenever the kill comes, QEMU must not notice more than a pause.
    std::thread::sleep(Duration::from_millis(700));
    drop(server);
    std::thread::sleep(Duration::from_millis(1200));
    let _server = Server::start(dir.path());
    let output = qemu.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("failed"), "{text}");
    assert_eq!(text.matches("wrote").count() + text.matches("read 65536").count(), 4, "{text}");
}

#[test]
fn a_freeze_is_a_moment_between_writes() {
    const SLOTS: u64 = 300;
    let dir = TempDir::new().unwrap();
    let store = BlockStore::open(&dir.path().join("blocks"), Options::default()).unwrap();
    let size = SLOTS * 4096;
    let domain = Domain::from_bytes([1; 32]);
    let mut base = store.ingest(domain, size).unwrap().finish().unwrap();
    let tree = Arc::new(store.tree(domain, base.root, size));
    let volume = Volume::create(&dir.path().join("vol"), size, Some(("0", tree))).unwrap();
    let volume = Arc::new(volume);
    let export = Export::start(&dir.path().join("sock"), 0o600, volume.clone()).unwrap();
    let (acked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(export.path()).unwrap();
            let mut number = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                // Small and unaligned, so that blocks are put together from below.
                let at = number % SLOTS * 4096 + 700;
                assert_eq!(client.write(at, &number.to_be_bytes()).unwrap(), 0);
                acked.store(number, Ordering::SeqCst);
            }
        });
        for round in 1..=10 {
            while acked.load(Ordering::SeqCst) < round * 400 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let before = acked.load(Ordering::SeqCst);
            let frozen = volume.freeze().unwrap();
            let after = acked.load(Ordering::SeqCst) + 1;
            let tree = store.tree(domain, base.root, size);
            let mut read = |range: std::ops::Range<u64>, buf: &mut [u8]| {
                frozen.read_at(range.start, &mut buf[..(range.end - range.start) as usize])
            };
            base = store.edit(&tree, size, &frozen.dirty(), &mut read).unwrap();
            let tree = Arc::new(store.tree(domain, base.root, size));
            let mut bytes = vec![0; size as usize];
            tree.read_at(0, &mut bytes).unwrap();
            let found: Vec<u64> = (0..SLOTS as usize)
                .map(|slot| slot * 4096 + 700)
                .map(|at| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()))
                .collect();
            let last = *found.iter().max().unwrap();
            assert!(last >= before && last <= after, "{before} <= {last} <= {after}");
            for (slot, found) in found.iter().enumerate() {
                // The last number up to `last` that went to this slot.
                let wanted = last.saturating_sub((last + SLOTS - slot as u64) % SLOTS);
                assert_eq!(*found, wanted, "slot {slot} of a snapshot at {last}");
            }
            assert!(volume.rebase(&round.to_string(), tree, &frozen).unwrap());
            assert_eq!(volume.layer_count(), 1);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let last = acked.load(Ordering::SeqCst);
    let mut bytes = [0; 8];
    volume.read_at(last % SLOTS * 4096 + 700, &mut bytes).unwrap();
    assert_eq!(u64::from_be_bytes(bytes), last);
}

/// A small file system of its own; gone at the end.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("mount");
        let status =
            command.args(["-t", "tmpfs", "-o", "size=6m", "none"]).arg(dir.path()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: a tmpfs cannot be mounted here");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_worse() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let dir = tmpfs.0.path();
    let volume = Arc::new(Volume::create(&dir.join("vol"), 64 << 20, None).unwrap());
    let sockets = TempDir::new().unwrap();
    let export = Export::start(&sockets.path().join("sock"), 0o600, volume.clone()).unwrap();
    let mut client = Client::connect(export.path()).unwrap();
    let mut acked = Vec::new();
    let mut random = Random(3);
    let mut refused = 0;
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![1; 2 << 20]).unwrap();
    for number in 1..3000_u64 {
        // Odd sizes, so that maps, new blocks and parts of blocks all meet the end.
        let len = 8 * (1 + random.below(1500));
        let at = number * 20_000;
        match client.write(at, &number.to_be_bytes().repeat(len as usize / 8)).unwrap() {
            0 => acked.push((number, at, len)),
            NO_SPACE => refused += 1,
            other => panic!("error {other}"),
        }
        if number % 50 == 0 {
            assert!(matches!(client.command(FLUSH, 0, 0).unwrap(), 0 | NO_SPACE));
        }
        if refused == 20 && filler.exists() {
            std::fs::remove_file(&filler).unwrap();
        }
        if refused > 40 {
            break;
        }
    }
    assert!(refused > 40 && acked.len() > 100, "{refused} refused, {} done", acked.len());
    check(&volume, &acked);
    assert_eq!(client.command(TRIM, 40_000, 1 << 20).unwrap(), 0, "space can be given back");
    acked.retain(|(_, at, len)| at + len <= 40_000 || *at >= 40_000 + (1 << 20));
    drop(client);
    export.stop();
    drop(export);
    drop(volume);
    let volume = Volume::open(&dir.join("vol"), |_| unreachable!()).unwrap();
    check(&volume, &acked);
}

/// Every acknowledged write (its number, offset and length) is there.
fn check(volume: &Volume, acked: &[(u64, u64, u64)]) {
    for (number, at, len) in acked {
        let mut bytes = vec![0; *len as usize];
        volume.read_at(*at, &mut bytes).unwrap();
        assert!(bytes == number.to_be_bytes().repeat(bytes.len() / 8), "write {number}");
    }
}
