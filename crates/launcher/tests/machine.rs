//! One real machine under QEMU: launched, heard, stopped, started, found again, ended.
//!
//! This program is also the shim of that machine, so it has no test harness.

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::process::{Child, Command};
use vmint_daemon::ServiceConfig;
use vmint_ids::{ImageId, InstanceId, VolumeId};
use vmint_launcher::{Config, Launcher, QemuHypervisor, Reservation, State, Volume};
use vmint_store::{Asked, Store};

const NAME: &str = "a_real_machine_lives_and_ends";
const ACCOUNT: &str = "111122223333";
const MARKER: &str = "vmint-launcher-test-marker";
const SIZE: u64 = 1 << 20;
/// Generous: for a host that is very busy.
const LONG: Duration = Duration::from_mins(4);

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [verb, dir] = words.as_slice()
        && verb == "__machine"
    {
        return vmint_vmm::shim::main(Path::new(dir));
    }
    if words.iter().any(|w| w == "--list") {
        if !words.iter().any(|w| w == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let path = dir.path().to_owned();
    let outcome = runtime.block_on(async {
        let outcome = tokio::spawn(async move { lives_and_ends(&path).await }).await;
        end_all(&dir.path().join("m")).await;
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whatever went wrong: no machine stays behind.
async fn end_all(instances: &Path) {
    let Ok(entries) = std::fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        if let Ok(Some(machine)) = vmint_vmm::Machine::adopt(&entry.path()).await {
            drop(machine.kill().await);
        }
    }
}

/// A boot sector that says the marker on the serial port and halts.
fn disk() -> Vec<u8> {
    const CODE: &[u8] = &[
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x21, 0x7c, // mov si, text
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x11, // jz end
        0x88, 0xc4, // mov ah, al
        0xba, 0xfd, 0x03, // mov dx, 0x3fd
        0xec, // wait: in al, dx
        0xa8, 0x20, // test al, 0x20
        0x74, 0xfb, // jz wait
        0x88, 0xe0, // mov al, ah
        0xb2, 0xf8, // mov dl, 0xf8
        0xee, // out dx, al
        0xeb, 0xea, // jmp next
        0xf4, // end: hlt
        0xeb, 0xfd, // jmp end
    ];
    let mut disk = vec![0; usize::try_from(SIZE).expect("a small disk")];
    disk[..CODE.len()].copy_from_slice(CODE);
    let text = format!("{MARKER}\r\n");
    disk[CODE.len()..CODE.len() + text.len()].copy_from_slice(text.as_bytes());
    disk[510] = 0x55;
    disk[511] = 0xaa;
    disk
}

async fn serve(dir: &Path) -> Option<(Child, PathBuf)> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(dir.join("disk.img"), disk()).expect("a disk");
    let exports = dir.join("export");
    std::fs::create_dir(&exports).expect("a directory");
    let socket = exports.join("nbd.sock");
    let server = Command::new("nbdkit")
        .args(["--foreground", "--unix"])
        .arg(&socket)
        .arg("file")
        .arg(dir.join("disk.img"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let bound = async {
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, bound).await.expect("nbdkit serves");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).expect("mode");
    Some((server, socket))
}

fn asked() -> Asked {
    Asked {
        account: ACCOUNT.into(),
        method: String::new(),
        request_id: String::new(),
        digest: [0; 32],
    }
}

async fn launcher(store: &Store, config: &Config) -> Launcher {
    let shim = std::env::current_exe().expect("our own program");
    let hypervisor = Arc::new(QemuHypervisor::new(shim, None));
    let launcher = Launcher::new(store.clone(), hypervisor, config).expect("settings");
    launcher.adopt().await.expect("adopted");
    launcher
}

async fn until(launcher: &Launcher, id: &str, state: State) {
    let mut following = launcher.follow(ACCOUNT, id).expect("it exists");
    let wait = async {
        while let Some(now) = following.next().await.expect("read") {
            if now.state == state {
                return;
            }
        }
        panic!("it ended before it was {state}");
    };
    tokio::time::timeout(LONG, wait).await.expect("it gets there");
}

/// Waits until the guest has said its marker `times` times in all.
async fn heard(launcher: &Launcher, id: &str, times: usize) {
    let wait = async {
        let mut said = Vec::new();
        let mut console = launcher.console(ACCOUNT, id, true).await.expect("a console");
        while String::from_utf8_lossy(&said).matches(MARKER).count() < times {
            said.extend(console.next().await.expect("read").expect("it runs"));
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the guest speaks");
}

async fn lives_and_ends(dir: &Path) {
    if let Err(error) = vmint_vmm::qemu::locate().await {
        eprintln!("SKIPPED: {error}");
        return;
    }
    let Some((_server, export)) = serve(dir).await else {
        eprintln!("SKIPPED: nbdkit is not installed");
        return;
    };
    let mut service = ServiceConfig::of("launcher");
    service.data = dir.to_owned();
    let mut config = Config::new(service);
    config.instances_dir = dir.join("m");
    config.stop_grace_seconds = 1;
    let store = Store::in_memory();
    let first = launcher(&store, &config).await;

    let id = InstanceId::random();
    let new = Reservation {
        epoch: 1,
        account: ACCOUNT.into(),
        image: ImageId::random().to_string(),
        instance_type: "v1.nano".into(),
        reservation: "r-0123456789abcdef0".into(),
        ids: vec![id],
        ..Reservation::default()
    };
    let volume = Volume {
        id: VolumeId::random().to_string(),
        device: "/dev/sda1".into(),
        delete_on_termination: true,
        export,
        size_bytes: SIZE,
        attached_at: 0,
    };
    first.reserve(new).await.expect("reserved");
    first.identify(1, vec![(id, vec![volume])]).await.expect("identified");
    let running = first.ensure_machines(1, &[id]).await.expect("launched").remove(0);
    assert_eq!(running.state, State::Running);
    eprintln!("{} {:?} {:?}", running.accelerator, running.sandbox_gaps, running.ssh);
    let text = id.to_string();
    heard(&first, &text, 1).await;
    let endpoint = running.ssh.expect("an address");
    let way_in = tokio::net::TcpStream::connect((endpoint.address, endpoint.port)).await;
    way_in.expect("someone listens there");

    first.reboot(ACCOUNT, &text, asked()).await.expect("reset");
    heard(&first, &text, 2).await;

    first.stop(ACCOUNT, &text, false, asked()).await.expect("stopping");
    until(&first, &text, State::Stopped).await;
    first.start(ACCOUNT, &text, asked()).await.expect("starting");
    until(&first, &text, State::Running).await;
    heard(&first, &text, 1).await;

    first.let_go().await;
    drop(first);
    let second = launcher(&store, &config).await;
    let found = second.get(ACCOUNT, &text).expect("it is there");
    assert_eq!((found.state, found.run, found.ssh), (State::Running, 2, Some(endpoint)));
    second.reboot(ACCOUNT, &text, asked()).await.expect("it is ours again");

    let ended = second.terminate(1, ACCOUNT, vec![id]).await.expect("terminated");
    assert_eq!(ended[0].state, State::Terminated);
    assert!(!config.instances_dir.join(&text).exists());
    let kinds: Vec<_> = second.events(0, 0).await.expect("events");
    assert_eq!(kinds.iter().map(|e| e.run).collect::<Vec<_>>(), [1, 1, 2, 2, 2]);
    let (last, _) = second.console_output(ACCOUNT, &text).await.expect("its last words");
    assert!(String::from_utf8_lossy(&last).contains(MARKER));
}
