//! What can be changed about instances, and how they are found to be.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{ACCOUNT, Running, asked, now, reservation};
use vmint_ids::InstanceId;
use vmint_launcher::{
    Change, Happening as H, Health, InstanceType, LauncherError as E, OnPoweroff, Particulars,
    Query, Reservation, State, TagChange,
};

fn tag(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

async fn stopped(running: &Running, id: InstanceId) {
    running.launcher.stop(ACCOUNT, &id.to_string(), true, asked("")).await.unwrap();
    running.until(id, State::Stopped).await;
}

#[tokio::test]
async fn tags_change_on_all_resources_or_on_none() {
    let running = Running::start().await;
    let (a, b) = (running.launch().await.id, running.launch().await.id);
    let both = [a.to_string(), b.to_string()];
    let put = |tags: &[(String, String)]| TagChange::Put(tags.to_vec());
    let launcher = &running.launcher;
    launcher.tag(ACCOUNT, &both, put(&[tag("k", "1"), tag("l", "2")]), asked("a")).await.unwrap();
    launcher.tag(ACCOUNT, &both, put(&[tag("k", "1"), tag("l", "2")]), asked("a")).await.unwrap();
    assert_eq!(running.get(b).tags, [tag("k", "1"), tag("l", "2")]);

    let unknown = [a.to_string(), InstanceId::random().to_string()];
    let refused = launcher.tag(ACCOUNT, &unknown, put(&[tag("k", "9")]), asked("")).await;
    assert!(matches!(refused, Err(E::NoSuchInstance { .. })));
    let theirs = launcher.tag("999999999999", &both, put(&[tag("k", "9")]), asked("")).await;
    assert!(matches!(theirs, Err(E::NoSuchInstance { .. })));
    let many: Vec<_> = (0..49).map(|n| tag(&format!("t{n}"), "")).collect();
    let full = launcher.tag(ACCOUNT, &both, put(&many), asked("")).await;
    assert!(matches!(full, Err(E::TooManyTags)));
    assert_eq!(running.get(a).tags, [tag("k", "1"), tag("l", "2")], "nothing was changed");

    let take = TagChange::Take(vec![("k".into(), None), ("l".into(), Some("9".into()))]);
    launcher.tag(ACCOUNT, &both, take, asked("b")).await.unwrap();
    assert_eq!(running.get(a).tags, [tag("l", "2")]);
    launcher.tag(ACCOUNT, &both[..1], TagChange::Take(vec![]), asked("c")).await.unwrap();
    assert_eq!((running.get(a).tags.len(), running.get(b).tags.len()), (0, 1));
}

#[tokio::test]
async fn a_protected_instance_is_terminated_by_nobody_until_it_is_not() {
    let running = Running::start().await;
    let new = Reservation { protected: true, ..reservation(1) };
    let id = running.launch_as(new).await.unwrap()[0].id;
    let other = running.launch().await.id;
    let refused = running.launcher.terminate(1, ACCOUNT, vec![other, id]).await.unwrap_err();
    assert!(matches!(refused, E::Protected { .. }), "{refused}");
    assert_eq!(running.get(other).state, State::Running, "none of them was");
    let off = Change { protected: Some(false), ..Change::default() };
    let now = running.launcher.modify(ACCOUNT, &id.to_string(), off, asked("")).await.unwrap();
    assert!(!now.protected);
    running.launcher.terminate(1, ACCOUNT, vec![other, id]).await.unwrap();
}

#[tokio::test]
async fn an_undone_launch_is_not_kept_by_its_protection() {
    let running = Running::start().await;
    let new = Reservation { protected: true, ..reservation(1) };
    let id = new.ids[0];
    running.launcher.reserve(new).await.unwrap();
    running.launcher.release(1, vec![id], "undone").await.unwrap();
    assert_eq!(running.get(id).state, State::Terminated);
}

#[tokio::test]
async fn only_a_stopped_instance_takes_another_size_or_other_user_data() {
    let running = Running::start().await;
    let new = Reservation { user_data: b"first".to_vec(), ..reservation(1) };
    let id = running.launch_as(new).await.unwrap()[0].id;
    let text = id.to_string();
    let launcher = &running.launcher;
    let larger = Change { size: InstanceType::named("t2.nano"), ..Change::default() };
    let data = Change { user_data: Some(b"second".to_vec()), ..Change::default() };
    for change in [larger.clone(), data.clone()] {
        let refused = launcher.modify(ACCOUNT, &text, change, asked("")).await.unwrap_err();
        assert!(matches!(refused, E::WrongState { .. }), "{refused}");
    }
    assert_eq!(launcher.user_data(ACCOUNT, &text).unwrap(), b"first");
    stopped(&running, id).await;
    launcher.modify(ACCOUNT, &text, larger, asked("1")).await.unwrap();
    launcher.modify(ACCOUNT, &text, data, asked("2")).await.unwrap();
    assert_eq!(launcher.user_data(ACCOUNT, &text).unwrap(), b"second");
    launcher.start(ACCOUNT, &text, asked("3")).await.unwrap();
    running.until(id, State::Running).await;
    let plan = running.machine(id).plan.clone();
    assert_eq!((plan.memory_mib, plan.cpus), (512, 1));
    assert_eq!(running.get(id).instance_type, "t2.nano");
}

#[tokio::test]
async fn a_volume_may_outlive_its_instance_after_all() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    let keep = |device: &str| Change {
        devices: vec![(device.into(), false)],
        protected: Some(true),
        ..Change::default()
    };
    let text = id.to_string();
    let refused = running.launcher.modify(ACCOUNT, &text, keep("/dev/sdz"), asked("")).await;
    assert!(matches!(refused, Err(E::BadField { .. })));
    assert!(!running.get(id).protected, "all of it or nothing");
    running.launcher.modify(ACCOUNT, &text, keep("/dev/sda1"), asked("")).await.unwrap();
    let now = running.get(id);
    assert!(now.protected && !now.identity.unwrap().volumes[0].delete_on_termination);
}

#[tokio::test]
async fn a_guest_that_powers_off_ends_its_instance_if_it_was_launched_so() {
    let running = Running::start().await;
    let new = Reservation { on_poweroff: OnPoweroff::Terminate, ..reservation(1) };
    let id = running.launch_as(new).await.unwrap()[0].id;
    running.machine(id).end("the guest powered off", Some(now()));
    let ended = running.until(id, State::Terminated).await;
    assert_eq!(ended.reason_code(), "Client.InstanceInitiatedShutdown");
    let told: Vec<_> = running.launcher.events(0, 0).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|event| event.kind).collect();
    assert_eq!(told, [H::Started, H::Stopped, H::Terminated]);

    // By request it only stops, and by a crash too.
    for crash in [false, true] {
        let new = Reservation { on_poweroff: OnPoweroff::Terminate, ..reservation(1) };
        let id = running.launch_as(new).await.unwrap()[0].id;
        if crash {
            running.machine(id).end("the guest crashed", Some(now()));
        } else {
            running.launcher.stop(ACCOUNT, &id.to_string(), false, asked("")).await.unwrap();
        }
        running.until(id, State::Stopped).await;
    }
}

#[tokio::test]
async fn instances_are_told_by_id_and_keep_what_their_image_was_called() {
    let running = Running::start().await;
    let about = Particulars {
        image_name: "base".into(),
        image_owner: "999988887777".into(),
        image_created: 1_700_000_000_000,
        image_platform: "windows".into(),
        subnet: "subnet-1".into(),
        security_groups: vec!["sg-1".into()],
        ..Particulars::default()
    };
    let new = Reservation { particulars: about, ..reservation(3) };
    let ids: Vec<_> = running.launch_as(new).await.unwrap().iter().map(|i| i.id).collect();
    let launcher = &running.launcher;
    let query = |ids: &[InstanceId]| Query {
        ids: ids.iter().map(ToString::to_string).collect(),
        ..Query::default()
    };
    let first = launcher.list(ACCOUNT, &query(&ids), None, 2).unwrap();
    let after = first.next.unwrap().to_key();
    let rest = launcher.list(ACCOUNT, &query(&ids), Some(after.as_slice()), 2).unwrap();
    assert_eq!((first.instances.len(), rest.instances.len(), rest.next), (2, 1, None));
    let about = &rest.instances[0].particulars;
    assert_eq!((about.image_name.as_str(), about.image_owner.as_str()), ("base", "999988887777"));
    assert_eq!((about.image_created, &*about.image_platform), (1_700_000_000_000, "windows"));
    assert_eq!((about.zone.as_str(), about.architecture.as_str()), ("local-1a", "x86_64"));

    let unknown = InstanceId::random();
    let missing = launcher.list(ACCOUNT, &query(&[ids[0], unknown]), None, 9).unwrap_err();
    assert_eq!(missing.to_string(), format!("instance `{unknown}` does not exist"));
    assert!(launcher.list("999999999999", &query(&ids), None, 9).is_err());
    launcher.terminate(1, ACCOUNT, vec![ids[0]]).await.unwrap();
    let ended = launcher.list(ACCOUNT, &query(&ids[..1]), None, 9).unwrap();
    assert_eq!(ended.instances[0].state, State::Terminated);
}

#[tokio::test]
async fn a_status_is_what_was_seen_of_machine_and_guest() {
    let running = Running::start().await;
    let (id, other) = (running.launch().await.id, running.launch().await.id);
    let look = async |all| {
        let query = Query::default();
        running.launcher.statuses(ACCOUNT, &query, all, None, 9).await.unwrap().0
    };
    let of = |statuses: &[vmint_launcher::Status], id| {
        let found = statuses.iter().find(|s| s.id == id).unwrap();
        (found.system, found.guest)
    };
    // The pretended console says `login:` without what comes before it.
    assert_eq!(of(&look(false).await, id), (Health::Ok, Health::Initializing));
    std::fs::write(running.dir(id).join("heard"), "").unwrap();
    assert_eq!(of(&look(false).await, id), (Health::Ok, Health::Ok));
    assert_eq!(of(&look(false).await, other), (Health::Ok, Health::Initializing));
    stopped(&running, id).await;
    assert_eq!(look(false).await.len(), 1);
    assert_eq!(of(&look(true).await, id), (Health::NotApplicable, Health::NotApplicable));

    // The next run's guest has to show itself anew.
    running.launcher.start(ACCOUNT, &id.to_string(), asked("")).await.unwrap();
    running.until(id, State::Running).await;
    assert_eq!(of(&look(false).await, id), (Health::Ok, Health::Initializing));
}
