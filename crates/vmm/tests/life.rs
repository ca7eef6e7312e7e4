//! A real QEMU's life, without a guest system: launch, states, adoption, end.

mod host;

use std::time::Duration;

use host::{Disk, LONG, machine, shim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vmint_vmm::{Machine, MachineSpec, Status, VmmError};

const SIZE: u64 = 1 << 20;

/// A launched machine with an empty disk, or `None` where there is no QEMU.
async fn launched() -> Option<(tempfile::TempDir, Disk, Machine)> {
    let (disk, spec) = prepared().await?;
    let dir = tempfile::tempdir().expect("a directory");
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
    found.quit().await.expect("quit");
}

#[tokio::test]
async fn a_disk_that_is_not_served_is_an_error_and_leaves_nothing() {
    let Some((_disk, mut spec)) = prepared().await else { return };
    let dir = tempfile::tempdir().expect("a directory");
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
