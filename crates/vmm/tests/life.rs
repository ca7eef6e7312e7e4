//! A real QEMU's life, without a guest system: launch, states, adoption, end.

#![allow(clippy::duration_suboptimal_units)]

mod host;

use std::time::Duration;

use host::{Disk, Home, LONG, machine, shim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vmint_vmm::{Exit, Machine, MachineSpec, Status, VmmError};

const SIZE: u64 = 1 << 20;

/// A launched machine with an empty disk, or `None` where there is no QEMU.
async fn launched() -> Option<(Home, Disk, Machine)> {
    let (disk, spec) = prepared().await?;
    let dir = Home::new();
    let machine = Machine::launch(dir.path(), &spec, shim()).await.expect("launched");
    Some((dir, disk, machine))
}

async fn prepared() -> Option<(Disk, MachineSpec)> {
    let Some(disk) = Disk::serve(&["memory", "1M"]).await else {
        eprintln!("SKIPPED: nbdkit is not installed");
        return None;
    };
    match machine(&disk, SIZE).await {
        Ok(spec) => Some((disk, spec)),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

#[tokio::test]
async fn a_machine_runs_pauses_resumes_and_quits() {
    let Some((dir, _disk, machine)) = launched().await else { return };
    eprintln!("{:?} {:?}", machine.confinement(), machine.timings());
    assert_eq!(machine.status().await.expect("status"), Status::Running);
    machine.pause().await.expect("pause");
    let paused = machine.wait(LONG, |s| matches!(s, Status::Paused { .. })).await;
    assert_eq!(paused.expect("paused"), Status::Paused { reason: "paused".into() });
    machine.resume().await.expect("resume");
    machine.reset().await.expect("reset");
    let running = machine.wait(LONG, |s| *s == Status::Running).await;
    assert_eq!(running.expect("running"), Status::Running);
    let picture = machine.screendump().await.expect("a picture");
    assert!(picture.starts_with(b"\x89PNG"), "{} bytes", picture.len());

    let again = Machine::launch(dir.path(), machine.spec(), shim()).await;
    assert!(matches!(again, Err(VmmError::AlreadyRunning { .. })), "{again:?}");

    let exit = machine.quit().await.expect("quit");
    assert_eq!((exit.code, exit.signal), (Some(0), None), "{exit:?}");
    assert!(matches!(machine.status().await, Ok(Status::Gone(_))));
    assert!(Machine::adopt(dir.path()).await.expect("looked").is_none());
    assert_eq!(Machine::last_exit(dir.path()).await, exit);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("the directory")
        .map(|e| e.expect("entry").file_name().into_string().expect("text"))
        .filter(|n| n.contains(".sock") || n == "view")
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // Stopped, it starts again where it was.
    let machine = Machine::launch(dir.path(), machine.spec(), shim()).await.expect("again");
    assert_eq!(machine.status().await.expect("status"), Status::Running);
    machine.quit().await.expect("quit");
}

#[tokio::test]
async fn a_killed_machine_is_found_gone_by_its_watcher() {
    let Some((_dir, _disk, machine)) = launched().await else { return };
    let mut states = machine.watch();
    let exit = machine.kill().await.expect("kill");
    assert_eq!(exit.signal, Some(9), "{exit:?}");
    let gone = states.wait_for(|s| matches!(s, Some(Status::Gone(_)))).await.expect("told");
    assert_eq!(*gone, Some(Status::Gone(exit)));
}

#[tokio::test]
async fn a_dropped_handle_leaves_the_machine_to_be_adopted() {
    let Some((dir, _disk, machine)) = launched().await else { return };
    let pid = machine.pid();
    drop(machine);
    let found = Machine::adopt(dir.path()).await.expect("looked").expect("found");
    assert_eq!(found.pid(), pid);
    assert_eq!(found.status().await.expect("status"), Status::Running);
    // Asking how it ended, while it runs, must not hurt it.
    assert_eq!(Machine::last_exit(dir.path()).await, Exit::default());
    found.console_stream(false).await.expect("its sockets are there");
    found.quit().await.expect("quit");
}

#[tokio::test]
async fn a_disk_that_is_not_served_is_an_error_and_leaves_nothing() {
    let Some((_disk, mut spec)) = prepared().await else { return };
    let dir = Home::new();
    spec.disks[0].socket = dir.path().join("exports/nbd.sock");
    std::fs::create_dir(dir.path().join("exports")).expect("a directory");
    let run = dir.path().join("run");
    let error = Machine::launch(&run, &spec, shim()).await.expect_err("no disk");
    let VmmError::Ended { ref exit } = error else { panic!("{error:?}") };
    assert!(exit.stderr.contains("nbd.sock"), "{error}");
    assert!(Machine::adopt(&run).await.expect("looked").is_none());
}

#[tokio::test]
async fn only_declared_ports_are_forwarded() {
    let Some((_dir, _disk, machine)) = launched().await else { return };
    let error = machine.forward(80).await.expect_err("not declared");
    assert!(matches!(error, VmmError::PortNotForwarded { port: 80 }));
    // Nothing listens in an empty guest, but the way there is open.
    let mut stream = machine.forward(22).await.expect("the way in");
    // The shim itself refuses what this handle would not even ask for.
    let path = machine.dir().join("forward.sock");
    let mut raw = tokio::net::UnixStream::connect(path).await.expect("connect");
    raw.write_all(&80u16.to_be_bytes()).await.expect("ask");
    assert_eq!(raw.read_u8().await.expect("answer"), 1);
    machine.quit().await.expect("quit");
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

/// Not a test: the launcher that [`a_machine_outlives_its_killed_launcher`] kills.
#[tokio::test]
#[ignore = "run as a process of its own by another test"]
async fn launch_and_linger() {
    let Ok(dir) = std::env::var("VMINT_TEST_DIR") else { return };
    let spec = std::env::var("VMINT_TEST_SPEC").expect("a description");
    let spec: MachineSpec = serde_json::from_str(&spec).expect("JSON");
    let machine = Machine::launch(dir.as_ref(), &spec, shim()).await.expect("launched");
    println!("pid={}.", machine.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_machine_outlives_its_killed_launcher() {
    let Some((_disk, spec)) = prepared().await else { return };
    let dir = Home::new();
    let mut launcher = tokio::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "launch_and_linger", "--ignored", "--nocapture"])
        .env("VMINT_TEST_DIR", dir.path())
        .env("VMINT_TEST_SPEC", serde_json::to_string(&spec).expect("JSON"))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a launcher");
    let mut said = String::new();
    let mut out = launcher.stdout.take().expect("piped");
    while !said.contains("pid=") || !said.ends_with(".\n") {
        let mut part = [0; 256];
        let size = out.read(&mut part).await.expect("read");
        assert!(size > 0, "the launcher ended: {said}");
        said += std::str::from_utf8(&part[..size]).expect("text");
    }
    let pid = said.split("pid=").nth(1).expect("pid").trim().trim_end_matches('.');

    launcher.kill().await.expect("killed");
    let machine = Machine::adopt(dir.path()).await.expect("looked").expect("found");
    assert_eq!(machine.pid().to_string(), pid);
    assert_eq!(machine.status().await.expect("status"), Status::Running);
    let mut stream = machine.console_stream(true).await.expect("console");
    stream.write_all(b"x").await.expect("typed");
    machine.forward(22).await.expect("the way in");
    assert_eq!(machine.quit().await.expect("quit").code, Some(0));
}

#[tokio::test]
async fn a_machine_dies_with_its_shim() {
    let Some((dir, _disk, machine)) = launched().await else { return };
    let record = std::fs::read_to_string(dir.path().join("machine.json")).expect("record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let shim = record["shim"]["pid"].as_i64().expect("pid").to_string();
    let status = tokio::process::Command::new("kill").args(["-9", &shim]).status().await;
    assert!(status.expect("kill").success());
    let gone = machine.wait(LONG, |_| false).await.expect("gone");
    assert!(matches!(gone, Status::Gone(_)), "{gone:?}");
    assert!(Machine::adopt(dir.path()).await.expect("looked").is_none());
    let qemu = format!("/proc/{}/cmdline", machine.pid());
    // Killed in the same moment, but perhaps not yet reaped.
    for _ in 0..200 {
        if std::fs::read(&qemu).unwrap_or_default().is_empty() {
            // Whoever asks next clears away what the shim could not.
            Machine::last_exit(dir.path()).await;
            assert!(!dir.path().join("qmp.sock").exists());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("QEMU outlived its shim");
}

#[tokio::test]
async fn a_machine_needs_no_root() {
    let ourselves = std::env::current_exe().expect("ourselves");
    // The tests above proved it already.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some((_disk, _spec)) = prepared().await else { return };
    let dir = Home::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).expect("mode");
    let as_nobody = |program: &std::path::Path| {
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
        command.env("TMPDIR", dir.path()).kill_on_drop(true);
        command
    };
    let run = as_nobody(&ourselves).arg("--list").output().await;
    if !run.is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: another user cannot run {}", ourselves.display());
        return;
    }
    let output = as_nobody(&ourselves)
        .args(["--exact", "a_machine_runs_pauses_resumes_and_quits", "--nocapture"])
        .output()
        .await
        .expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("user_namespace: true, mounts: true, landlock: true"), "{said}");
}
