//! What someone who took QEMU over could do: a probe runs in its place.

mod host;

use host::{Disk, Home, machine, shim};
use vmint_vmm::{Machine, VmmError};

#[tokio::test]
async fn nothing_of_the_host_is_within_reach_of_qemu() {
    let Some(disk) = Disk::serve(&["memory", "1M"]).await else {
        eprintln!("SKIPPED: nbdkit is not installed");
        return;
    };
    let mut spec = match machine(&disk, 1 << 20).await {
        Ok(spec) => spec,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    // A folder with the probe alone, as QEMU's folder is shown to it.
    let dir = Home::new();
    let folder = dir.path().join("program");
    std::fs::create_dir(&folder).expect("folder");
    spec.qemu = folder.join("probe");
    std::fs::copy(env!("CARGO_BIN_EXE_vmint-probe"), &spec.qemu).expect("copied");
    let run = dir.path().join("run");
    let error = Machine::launch(&run, &spec, shim()).await.expect_err("it is no QEMU");
    let VmmError::Ended { exit } = error else { panic!("{error:?}") };
    assert_eq!(exit.code, Some(3), "the probe did not come to its end: {exit:?}");
    eprintln!("{}", exit.stderr);
    assert!(exit.stderr.contains("probe: 0 of 42 worked"), "{}", exit.stderr);
}
