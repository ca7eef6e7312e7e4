//! Machines that are only on paper: every state, volume and event, and no guest.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use std::{path::Path, sync::Arc};

use fleet::{ACCOUNT, asked, reservation, volume};
use vmint_daemon::ServiceConfig;
use vmint_ids::InstanceId;
use vmint_launcher::{
    Config, Happening as H, Health, HypervisorKind, Instance, Launcher, OnPoweroff, Query,
    Reservation, SimulatedHypervisor, State, Volume, hypervisor::Hypervisor as _,
};
use vmint_store::Store;

async fn launcher(store: &Store, dir: &Path) -> Launcher {
    let mut service = ServiceConfig::of("launcher");
    service.data = dir.to_owned();
    let mut config = Config::new(service);
    config.hypervisor = HypervisorKind::Simulated;
    let third = std::process::id() % 200 + 20;
    config.ssh_range = format!("127.102.{third}.0/24");
    let hypervisor = Arc::new(SimulatedHypervisor::default());
    let launcher = Launcher::new(store.clone(), hypervisor, &config).unwrap();
    launcher.adopt().await.unwrap();
    launcher
}

async fn launch(launcher: &Launcher, new: Reservation) -> Instance {
    let ids = new.ids.clone();
    launcher.reserve(new).await.unwrap();
    launcher.identify(1, vec![(ids[0], vec![volume()])]).await.unwrap();
    launcher.ensure_machines(1, &ids).await.unwrap().remove(0)
}

async fn until(launcher: &Launcher, id: InstanceId, state: State) -> Instance {
    let mut following = launcher.follow(ACCOUNT, &id.to_string()).unwrap();
    loop {
        let now = following.next().await.unwrap().expect("it does not end before");
        if now.state == state {
            return now;
        }
    }
}

#[tokio::test]
async fn a_paper_machine_lives_as_a_real_one_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::in_memory();
    let first = launcher(&store, dir.path()).await;
    assert_eq!(first.host().await.accelerator, "simulated");
    // Larger than any host: nothing of it is taken.
    let new = Reservation { instance_type: "m5.4xlarge".into(), ..reservation(1) };
    let instance = launch(&first, new).await;
    let (id, text) = (instance.id, instance.id.to_string());
    assert_eq!((instance.state, instance.accelerator.as_str()), (State::Running, "simulated"));
    let (said, _) = first.console_output(ACCOUNT, &text).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("is simulated, no guest runs"), "{said}");
    assert!(!said.contains("vmint-guest"), "no story can take it for a guest: {said}");
    let (statuses, _) = first.statuses(ACCOUNT, &Query::default(), true, None, 9).await.unwrap();
    assert_eq!((statuses[0].system, statuses[0].guest), (Health::Ok, Health::Ok));

    let data = Volume { device: "/dev/sdf".into(), ..volume() };
    first.plug(1, ACCOUNT, id, data.clone()).await.unwrap();
    first.reboot(ACCOUNT, &text, asked("")).await.unwrap();

    // It outlives its launcher, and ends with its instance.
    first.let_go().await;
    drop(first);
    let second = launcher(&store, dir.path()).await;
    assert_eq!(second.get(ACCOUNT, &text).unwrap().state, State::Running);
    second.unplug(1, ACCOUNT, id, &data.id, false).await.unwrap();
    second.stop(ACCOUNT, &text, false, asked("")).await.unwrap();
    until(&second, id, State::Stopped).await;
    second.start(ACCOUNT, &text, asked("")).await.unwrap();
    until(&second, id, State::Running).await;
    let ended = second.terminate(1, ACCOUNT, vec![id]).await.unwrap();
    assert_eq!(ended[0].state, State::Terminated);
    let told = second.events(0, 0).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|event| (event.kind, event.run)).collect();
    let expected =
        [(H::Started, 1), (H::Stopped, 1), (H::Started, 2), (H::Stopped, 2), (H::Terminated, 2)];
    assert_eq!(told, expected);
    let (last, _) = second.console_output(ACCOUNT, &text).await.unwrap();
    assert!(String::from_utf8(last).unwrap().contains("the simulated machine ended"));
}

#[tokio::test]
async fn a_paper_machine_that_ended_unseen_is_found_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::in_memory();
    let first = launcher(&store, dir.path()).await;
    let new = Reservation { on_poweroff: OnPoweroff::Terminate, ..reservation(1) };
    let id = launch(&first, new).await.id;
    first.let_go().await;
    drop(first);
    let place = dir.path().join("instances").join(id.to_string());
    let other = SimulatedHypervisor::default();
    other.adopt(&place).await.unwrap().unwrap().powerdown().await.unwrap();
    assert!(other.adopt(&place).await.unwrap().is_none());

    let second = launcher(&store, dir.path()).await;
    let ended = until(&second, id, State::Terminated).await;
    assert_eq!(ended.reason_code(), "Client.InstanceInitiatedShutdown");
}
