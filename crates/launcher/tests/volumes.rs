//! Volumes that come to instances and go.

#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{ACCOUNT, Running, asked, volume};
use vmint_ids::InstanceId;
use vmint_launcher::{LauncherError, State, Volume};

fn at(device: &str) -> Volume {
    Volume { device: device.into(), ..volume() }
}

fn ids(running: &Running, id: InstanceId) -> Vec<String> {
    running.get(id).identity.unwrap().volumes.into_iter().map(|v| v.id).collect()
}

#[tokio::test]
async fn a_volume_comes_to_a_running_machine_and_goes() {
    let mut running = Running::start().await;
    let id = running.launch().await.id;
    let data = at("/dev/sdf");
    let given = running.launcher.plug(1, ACCOUNT, id, data.clone()).await.unwrap();
    assert!(given.attached_at > 0);
    let again = Volume { delete_on_termination: false, ..data.clone() };
    let again = running.launcher.plug(1, ACCOUNT, id, again).await.unwrap();
    assert!(!again.delete_on_termination && again.attached_at == given.attached_at);
    assert_eq!(*running.machine(id).plugged.lock().unwrap(), [data.id.as_str()]);
    assert_eq!(ids(&running, id)[1..], [data.id.as_str()]);

    // Over a restart of the launcher, and over a stop and a start.
    running.restart().await;
    assert_eq!(ids(&running, id)[1..], [data.id.as_str()]);
    running.launcher.stop(ACCOUNT, &id.to_string(), true, asked("stop")).await.unwrap();
    running.until(id, State::Stopped).await;
    running.launcher.start(ACCOUNT, &id.to_string(), asked("start")).await.unwrap();
    running.until(id, State::Running).await;
    let plan = running.machine(id).plan.volumes.clone();
    assert_eq!(plan.iter().map(|v| v.id.clone()).collect::<Vec<_>>(), ids(&running, id));

    // A guest that clings to it keeps it, unless it is taken by force.
    *running.machine(id).clings.lock().unwrap() = true;
    let held = running.launcher.unplug(1, ACCOUNT, id, &data.id, false).await.unwrap_err();
    assert!(matches!(held, LauncherError::VolumeHeld { .. }), "{held}");
    assert_eq!(ids(&running, id).len(), 2);
    running.launcher.unplug(1, ACCOUNT, id, &data.id, true).await.unwrap();
    *running.machine(id).clings.lock().unwrap() = false;
    running.launcher.unplug(1, ACCOUNT, id, &data.id, false).await.unwrap();
    assert_eq!(ids(&running, id).len(), 1);
}

#[tokio::test]
async fn a_stopped_instance_takes_note_of_volumes() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    running.launcher.stop(ACCOUNT, &id.to_string(), true, asked("stop")).await.unwrap();
    running.until(id, State::Stopped).await;
    let root = ids(&running, id).remove(0);
    let data = at("/dev/sdf");
    running.launcher.plug(1, ACCOUNT, id, data.clone()).await.unwrap();

    // Another root: it comes first again, whatever came before it.
    running.launcher.unplug(1, ACCOUNT, id, &root, false).await.unwrap();
    let bare = running.launcher.start(ACCOUNT, &id.to_string(), asked("bare")).await.unwrap_err();
    assert!(matches!(bare, LauncherError::NoRoot { .. }), "{bare}");
    let new = at("/dev/sda1");
    running.launcher.plug(1, ACCOUNT, id, new.clone()).await.unwrap();
    assert_eq!(ids(&running, id), [new.id, data.id]);
    running.launcher.start(ACCOUNT, &id.to_string(), asked("start")).await.unwrap();
    running.until(id, State::Running).await;
}

#[tokio::test]
async fn what_cannot_be_attached_or_detached_is_refused_and_leaves_nothing() {
    let running = Running::start().await;
    let launcher = &running.launcher;
    let id = running.launch().await.id;
    let root = ids(&running, id).remove(0);

    let taken = launcher.plug(1, ACCOUNT, id, at("/dev/sda1")).await.unwrap_err();
    assert!(matches!(taken, LauncherError::DeviceTaken { .. }), "{taken}");
    let fixed = launcher.unplug(1, ACCOUNT, id, &root, true).await.unwrap_err();
    assert!(matches!(fixed, LauncherError::VolumeFixed { .. }), "{fixed}");
    let theirs = launcher.plug(1, "999999999999", id, at("/dev/sdf")).await.unwrap_err();
    assert!(matches!(theirs, LauncherError::NoSuchInstance { .. }), "{theirs}");
    let old = launcher.plug(0, ACCOUNT, id, at("/dev/sdf")).await.unwrap_err();
    assert!(matches!(old, LauncherError::Fenced { .. }), "{old}");
    for bad in [
        Volume { id: "x".into(), ..at("/dev/sdf") },
        at("/dev/s f"),
        Volume { export: "nbd.sock".into(), ..at("/dev/sdf") },
        Volume { size_bytes: 7, ..at("/dev/sdf") },
    ] {
        let refused = launcher.plug(1, ACCOUNT, id, bad).await.unwrap_err();
        assert!(matches!(refused, LauncherError::BadField { .. }), "{refused}");
    }
    launcher.plug(1, ACCOUNT, id, at("/dev/sdf")).await.unwrap();
    launcher.plug(1, ACCOUNT, id, at("/dev/sdg")).await.unwrap();
    let full = launcher.plug(1, ACCOUNT, id, at("/dev/sdh")).await.unwrap_err();
    assert!(matches!(full, LauncherError::NoPlace { .. }), "{full}");
    assert_eq!(ids(&running, id).len(), 3, "what was not plugged is not recorded");

    let unknown = InstanceId::random();
    launcher.unplug(1, ACCOUNT, unknown, &root, false).await.unwrap();
    launcher.terminate(1, ACCOUNT, vec![id]).await.unwrap();
    launcher.unplug(1, ACCOUNT, id, &root, false).await.unwrap();
    let ended = launcher.plug(1, ACCOUNT, id, at("/dev/sdi")).await.unwrap_err();
    assert!(matches!(ended, LauncherError::WrongState { .. }), "{ended}");
}
