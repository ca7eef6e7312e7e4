//! A real guest in a real machine: the demo image boots, finds its metadata, takes the
//! key, runs user data, is reached by ssh, and heeds the power button.

#![allow(clippy::duration_suboptimal_units)]

mod host;
#[path = "../../vmint/src/seed/image/mod.rs"]
#[allow(dead_code, unreachable_pub)]
mod image;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use host::{Disk, Home, LONG, machine, shim};
use image::{SeedOptions, build, missing_tools};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, UnixListener},
    process::Command,
    task::JoinHandle,
};
use vmint_vmm::{DiskSpec, Machine, Status, VmmError, layout};

/// How long the disk server stays away in the middle.
const PAUSE: Duration = Duration::from_secs(3);

/// The image, built once for this test's process; `None` if this host cannot.
async fn image(dir: &Path) -> Option<(PathBuf, u64)> {
    let missing = missing_tools();
    if !missing.is_empty() {
        eprintln!("SKIPPED: the image cannot be built: {missing:?}");
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/Cargo.toml");
    let triple = "x86_64-unknown-linux-gnu";
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--target", triple])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .status();
    assert!(built.await.expect("cargo").success(), "the agent does not build");
    let agent = std::fs::read(target.join(triple).join("release/vmint-guest")).expect("agent");
    let out = dir.join("disk.img");
    let to = out.clone();
    let report =
        tokio::task::spawn_blocking(move || build(&to, &SeedOptions::with_agent(agent.into())));
    let report = report.await.expect("builder").expect("built");
    eprintln!("{report:?}");
    Some((out, report.size_bytes))
}

/// What one instance's metadata service says, and what it was asked.
struct Metadata {
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Metadata {
    fn serve(dir: &Path, instance: &str, key: &str, user_data: &str) -> Self {
        std::fs::create_dir_all(dir).expect("directory");
        let socket = layout::metadata(dir);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).expect("bind");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let pages = [
            ("PUT /latest/api/token", "a-token".to_owned()),
            ("GET /latest/meta-data/instance-id", instance.to_owned()),
            ("GET /latest/meta-data/ami-id", "ami-0123456789abcdef0".to_owned()),
            ("GET /latest/meta-data/hostname", format!("host-{instance}")),
            ("GET /latest/meta-data/public-keys/0/openssh-key", key.to_owned()),
            ("GET /latest/user-data", user_data.to_owned()),
        ];
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut head, mut token) = (String::new(), false);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.expect("request") <= 2 {
                        break;
                    }
                    token |= line.to_lowercase().starts_with("x-aws-ec2-metadata-token: a-token");
                    head += &line;
                }
                let path = head.rsplit_once(" HTTP/1.1").map_or("", |_| {
                    head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1")
                });
                log.lock().expect("log").push(path.to_owned());
                let page = pages.iter().find(|(p, _)| *p == path).map(|(_, body)| body);
                let (status, body) = match page {
                    _ if !token && path.starts_with("GET") => ("401 Unauthorized", ""),
                    Some(body) => ("200 OK", body.as_str()),
                    None => ("404 Not Found", ""),
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.expect("answer");
            }
        });
        Self { asked, task }
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A host port that leads to the guest's ssh, as the launcher would give it an address.
async fn ssh_port(machine: &Machine) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let machine = machine.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let machine = machine.clone();
            tokio::spawn(async move {
                let mut guest = machine.forward(22).await.expect("forward");
                let _ = copy_bidirectional(&mut client, &mut guest).await;
            });
        }
    });
    (port, task)
}

async fn ssh(port: u16, key: &Path, command: &str) -> Output {
    Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
        .args(["-o", "ConnectTimeout=60", "-p", &port.to_string(), "-i"])
        .arg(key)
        .args(["root@127.0.0.1", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("ssh runs")
}

async fn key(dir: &Path, name: &str) -> Option<(PathBuf, String)> {
    let path = dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "launch", "-f"])
        .arg(&path)
        .status()
        .await;
    if !made.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: openssh-client is not installed");
        return None;
    }
    let public = std::fs::read_to_string(path.with_extension("pub")).expect("key");
    Some((path, public))
}

/// Waits for `wanted` on the serial port; returns all that came until then.
async fn seen(machine: &Machine, wanted: &str) -> String {
    let stream = machine.console_stream(true).await.expect("console");
    let mut lines = BufReader::new(stream);
    let mut all = Vec::new();
    let found = tokio::time::timeout(LONG, async {
        while lines.read_until(b'\n', &mut all).await.expect("console") > 0 {
            if String::from_utf8_lossy(&all).contains(wanted) {
                return;
            }
        }
    });
    let found = found.await;
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(found.is_ok() && text.contains(wanted), "no `{wanted}` in: {text}");
    text
}

/// A disk given to the running guest: written there, taken away, given back by another
/// launcher, read there.
async fn comes_and_goes(machine: Machine, dir: &Path, key: &Path) -> Machine {
    let (port, forwarding) = ssh_port(&machine).await;
    let extra = Disk::serve(&["memory", "64M"]).await.expect("nbdkit serves");
    let spec = DiskSpec {
        socket: extra.socket.clone(),
        serial: "vol0fedcba9876543210".into(),
        size_bytes: 64 << 20,
        ..machine.spec().disks[0].clone()
    };
    // How many disks of that size the guest has, once it has `count` of them.
    let look = |port: u16, count: usize| {
        let script = format!(
            "for i in $(seq 300); do set -- $(grep -lx 131072 /sys/block/nvme*/size); \
             [ $# = {count} ] && break; sleep 0.1; done; echo $#; cat ${{1%size}}device/serial"
        );
        async move {
            let said = ssh(port, key, &script).await;
            String::from_utf8_lossy(&said.stdout).into_owned()
        }
    };
    assert!(look(port, 0).await.starts_with("0\n"));
    machine.plug(&spec).await.expect("plugged");
    machine.plug(&spec).await.expect("asked again");
    assert_eq!(machine.plugged().await.expect("asked"), [spec.serial.as_str()]);
    let seen = look(port, 1).await;
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["1", spec.serial.as_str()]);
    let write = "d=/dev/$(grep -lx 131072 /sys/block/nvme*/size | cut -d/ -f4); \
                 echo kept by the disk > /tmp/x; dd if=/tmp/x of=$d bs=512 seek=9 conv=sync \
                 2>/dev/null && sync && echo written";
    let said = ssh(port, key, write).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "written\n");

    // Another launcher finds it plugged, and takes it away.
    forwarding.abort();
    drop(forwarding.await);
    drop(machine);
    let other = Machine::adopt(dir).await.expect("looked").expect("it runs");
    let (port, forwarding) = ssh_port(&other).await;
    assert_eq!(other.plugged().await.expect("asked"), [spec.serial.as_str()]);
    other.unplug(&spec.serial, LONG, false).await.expect("unplugged");
    other.unplug(&spec.serial, LONG, false).await.expect("asked again");
    assert_eq!(other.plugged().await.expect("asked"), [""; 0]);
    assert!(look(port, 0).await.starts_with("0\n"));
    let root = other.spec().disks[0].serial.clone();
    let refused = other.unplug(&root, LONG, false).await;
    assert!(matches!(refused, Err(VmmError::DiskFixed { .. })), "{refused:?}");

    other.plug(&spec).await.expect("plugged again");
    assert!(look(port, 1).await.starts_with("1\n"));
    let read = "dd if=/dev/$(grep -lx 131072 /sys/block/nvme*/size | cut -d/ -f4) bs=512 \
                skip=9 count=1 2>/dev/null | head -1";
    let said = ssh(port, key, read).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "kept by the disk\n");
    other.unplug(&spec.serial, LONG, false).await.expect("unplugged");
    forwarding.abort();
    other
}

#[tokio::test]
async fn the_demo_image_becomes_an_instance_and_then_another() {
    let work = Home::new();
    let Some((first_key, first_public)) = key(work.path(), "first").await else { return };
    let Some((second_key, second_public)) = key(work.path(), "second").await else { return };
    let Some((image, size)) = image(work.path()).await else { return };
    let file = format!("file={}", image.display());
    let Some(mut disk) = Disk::serve(&["file", &file]).await else {
        eprintln!("SKIPPED: nbdkit is not installed");
        return;
    };
    let mut spec = match machine(&disk, size).await {
        Ok(spec) => spec,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };

    let dir = work.path().join("one");
    let script = "#!/bin/sh\necho ran >> /root/runs\n";
    let metadata = Metadata::serve(&dir, "i-first", &first_public, script);
    let machine = Machine::launch(&dir, &spec, shim()).await.expect("launched");
    let console = seen(&machine, "user-data exit=0").await;
    let ready =
        "vmint-guest: ready instance=i-first image=ami-0123456789abcdef0 ssh-host-key=SHA256:";
    assert!(console.contains(ready), "{console}");
    let asked = metadata.asked.lock().expect("log").clone();
    assert_eq!(asked[0], "PUT /latest/api/token", "{asked:?}");
    assert!(asked.contains(&"GET /latest/user-data".to_owned()), "{asked:?}");

    let (port, forwarding) = ssh_port(&machine).await;
    let said =
        ssh(port, &first_key, "hostname; cat /root/runs; echo mine > /root/change; sync").await;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(text, "host-i-first\nran\n", "{}", String::from_utf8_lossy(&said.stderr));
    let stranger = ssh(port, &second_key, "true").await;
    assert!(!stranger.status.success(), "a key that was not given opens the door");
    // A disk server that crashes costs the guest a pause, and no error.
    let write = "dd if=/dev/urandom of=/root/data bs=64k count=64 2>/dev/null && sync && \
                 dmesg | grep -c 'I/O error'";
    let ((), written) = tokio::join!(disk.crash(PAUSE), ssh(port, &first_key, write));
    assert_eq!(String::from_utf8_lossy(&written.stdout), "0\n");
    let size = ssh(port, &first_key, "sync; stat -c %s /root/data").await;
    assert_eq!(String::from_utf8_lossy(&size.stdout), "4194304\n");

    // Nothing but the metadata service is there to be reached.
    let probe = "ping -c1 -W1 10.0.2.1 >/dev/null; for a in 10.0.2.1:22 127.0.0.1:8773 \
                 169.254.169.254:22 1.1.1.1:53; do nc -w 2 ${a%:*} ${a#*:} </dev/null \
                 >/dev/null 2>&1 && echo open $a; done; true";
    let open = ssh(port, &first_key, probe).await;
    assert_eq!(String::from_utf8_lossy(&open.stdout), "", "the guest reaches the host");

    forwarding.abort();
    drop(forwarding.await);
    let machine = comes_and_goes(machine, &dir, &first_key).await;

    // The button switches off; QEMU stays to tell, and its log too.
    machine.powerdown().await.expect("button");
    let off = machine.wait(LONG, Status::is_over).await.expect("off");
    assert_eq!(off, Status::Shutdown);
    let log = machine.console_log().await.expect("log");
    assert!(String::from_utf8_lossy(&log).contains("power button pressed"));
    assert_eq!(machine.quit().await.expect("quit").code, Some(0));

    // The same disk as another instance: its own name and keys, the owner's change kept.
    drop(metadata);
    let host_key = |console: &str| {
        let at = console.find("ssh-host-key=").expect("host key");
        console[at..].split_whitespace().next().expect("key").to_owned()
    };
    let dir = work.path().join("two");
    spec.instance = "i-second".into();
    let _metadata = Metadata::serve(&dir, "i-second", &second_public, script);
    let machine = Machine::launch(&dir, &spec, shim()).await.expect("launched");
    let second = seen(&machine, "user-data exit=0").await;
    assert_ne!(host_key(&console), host_key(&second));
    let (port, _task) = ssh_port(&machine).await;
    let said = ssh(port, &second_key, "hostname; cat /root/change /root/runs").await;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(text, "host-i-second\nmine\nran\nran\n");
    let stranger = ssh(port, &first_key, "true").await;
    assert!(!stranger.status.success(), "the last instance's key still opens the door");
    machine.quit().await.expect("quit");
}
