//! Instances from launch to end, on pretended machines.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use std::time::Duration;

use fleet::{ACCOUNT, Running, asked, now, reservation, volume};
use tokio::io::AsyncReadExt as _;
use vmint_ids::InstanceId;
use vmint_launcher::{Filters, Happening as H, LauncherError as E, Query, Reservation, State};

async fn kinds(running: &Running) -> Vec<(H, u64)> {
    let events = running.launcher.events(0, 0).await.unwrap();
    events.into_iter().map(|e| (e.kind, e.run)).collect()
}

#[tokio::test]
async fn a_launch_asked_step_by_step_twice_runs_one_machine() {
    let running = Running::start().await;
    let new = reservation(2);
    for _ in 0..2 {
        running.launch_as(new.clone()).await.unwrap();
    }
    let instances = running.launcher.batch_get(&new.ids).unwrap();
    assert_eq!(*running.machines.launches.lock().unwrap(), 2);
    assert_eq!(kinds(&running).await, [(H::Started, 1), (H::Started, 1)]);
    for (instance, index) in instances.iter().zip(0..) {
        assert_eq!((instance.state, instance.launch_index), (State::Running, index));
        assert_eq!(instance.sandbox_gaps, ["no cgroup"]);
        let identity = instance.identity.as_ref().unwrap();
        let plan = &running.machine(instance.id).plan;
        assert_eq!((plan.mac, plan.private_ip), (identity.mac, identity.private_ip));
    }
    let ip = |at: usize| instances[at].identity.as_ref().unwrap().private_ip;
    assert_ne!(ip(0), ip(1));
}

#[tokio::test]
async fn stop_and_start_make_runs_that_are_told_once_each() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    let text = id.to_string();

    let stopping = running.launcher.stop(ACCOUNT, &text, false, asked("1")).await.unwrap();
    assert_eq!(stopping.state, State::Stopping);
    let stopped = running.until(id, State::Stopped).await;
    assert_eq!(stopped.reason, "stopped on request");
    let started = running.launcher.start(ACCOUNT, &text, asked("2")).await.unwrap();
    assert_eq!((started.state, started.run), (State::Running, 2));
    // An old request come again must not stop the new run.
    let again = running.launcher.stop(ACCOUNT, &text, false, asked("1")).await.unwrap();
    assert_eq!(again.state, State::Stopping);
    assert_eq!(running.get(id).state, State::Running);

    let expected = [(H::Started, 1), (H::Stopped, 1), (H::Started, 2)];
    assert_eq!(kinds(&running).await, expected);
}

#[tokio::test]
async fn a_guest_that_ignores_its_power_button_is_forced() {
    let running = Running::start().await;
    let new = Reservation { instance_type: "v1.small".into(), ..reservation(2) };
    let ids = new.ids.clone();
    running.launch_as(new).await.unwrap();

    running.launcher.stop(ACCOUNT, &ids[0].to_string(), false, asked("1")).await.unwrap();
    running.launcher.stop(ACCOUNT, &ids[1].to_string(), true, asked("2")).await.unwrap();

    let late = running.until(ids[0], State::Stopped).await;
    assert!(late.reason.contains("did not power off in time"), "{}", late.reason);
    let forced = running.until(ids[1], State::Stopped).await;
    assert!(forced.reason.contains("by force"), "{}", forced.reason);
}

#[tokio::test]
async fn a_machine_is_off_while_it_is_imaged_and_runs_again_unless_somebody_minds() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    for _ in 0..2 {
        let halted = running.launcher.halt(1, ACCOUNT, id).await.unwrap();
        assert_eq!((halted.state, halted.run), (State::Stopped, 1));
        assert_eq!(halted.reason_code(), "Client.UserInitiatedShutdown");
    }
    let theirs = running.launcher.halt(1, "999999999999", id).await.unwrap_err();
    assert!(matches!(theirs, E::NoSuchInstance { .. }), "{theirs}");
    for _ in 0..2 {
        running.launcher.resume(1, ACCOUNT, id).await.unwrap();
        let again = running.until(id, State::Running).await;
        assert_eq!(again.run, 2);
    }

    // Who stops it meanwhile finds it stopped.
    running.launcher.stop(ACCOUNT, &id.to_string(), false, asked("1")).await.unwrap();
    running.until(id, State::Stopped).await;
    running.launcher.halt(1, ACCOUNT, id).await.unwrap();
    running.launcher.resume(1, ACCOUNT, id).await.unwrap();
    assert_eq!(running.get(id).state, State::Stopped);

    let stubborn = Reservation { instance_type: "v1.small".into(), ..reservation(1) };
    let id = stubborn.ids[0];
    running.launch_as(stubborn).await.unwrap();
    let forced = running.launcher.halt(1, ACCOUNT, id).await.unwrap();
    assert!(forced.reason.contains("did not power off in time"), "{}", forced.reason);
    running.launcher.resume(1, ACCOUNT, id).await.unwrap();
    running.until(id, State::Running).await;

    running.launcher.terminate(1, ACCOUNT, vec![id]).await.unwrap();
    assert!(running.launcher.halt(1, ACCOUNT, id).await.is_err());
    running.launcher.resume(1, ACCOUNT, id).await.unwrap();
    assert_eq!(running.get(id).state, State::Terminated);
}

#[tokio::test]
async fn whatever_ends_a_machine_stops_its_instance() {
    let running = Running::start().await;
    let (off, killed) = (running.launch().await.id, running.launch().await.id);
    running.machine(off).end("the guest powered off", Some(now()));
    running.machine(killed).end("the machine's process ended (killed by signal 9)", None);
    assert_eq!(running.until(off, State::Stopped).await.reason, "the guest powered off");
    assert!(running.until(killed, State::Stopped).await.reason.contains("signal 9"));
}

#[tokio::test]
async fn machines_are_found_again_by_the_next_launcher() {
    let mut running = Running::start().await;
    let (kept, lost) = (running.launch().await, running.launch().await.id);
    let waiting = reservation(1);
    running.launcher.reserve(waiting.clone()).await.unwrap();
    running.launcher.let_go().await;
    running.machine(lost).end("lost", None);

    running.restart().await;

    let again = running.get(kept.id);
    assert_eq!((again.state, again.run), (State::Running, 1));
    assert_eq!(again.ssh, kept.ssh);
    assert!(
        tokio::net::UnixStream::connect(running.dir(kept.id).join("metadata.sock")).await.is_ok()
    );
    assert_eq!(running.get(lost).state, State::Stopped);
    assert_eq!(running.get(waiting.ids[0]).state, State::Pending);
    // And its end is still noticed.
    running.machine(kept.id).end("the guest powered off", Some(now()));
    running.until(kept.id, State::Stopped).await;
}

#[tokio::test]
async fn a_machine_no_record_speaks_of_is_ended() {
    let mut running = Running::start().await;
    let id = running.launch().await.id;
    running.launcher.let_go().await;
    running.store = vmint_store::Store::in_memory();
    running.restart().await;
    assert_eq!(running.machines.running(), 0);
    assert!(!running.dir(id).exists());
}

#[tokio::test]
async fn a_terminated_instance_leaves_its_last_words_only() {
    let running = Running::start().await;
    let new = Reservation { name: "web".into(), user_data: b"x".to_vec(), ..reservation(1) };
    let id = running.launch_as(new.clone()).await.unwrap()[0].id;
    assert_eq!(running.launcher.get(ACCOUNT, "web").unwrap().id, id);
    for _ in 0..2 {
        let ended = running.launcher.terminate(1, ACCOUNT, vec![id]).await.unwrap();
        assert_eq!(ended[0].state, State::Terminated);
    }
    assert_eq!(running.machines.running(), 0);
    assert!(!running.dir(id).exists());
    assert!(running.launcher.get(ACCOUNT, "web").is_err());
    let expected = [(H::Started, 1), (H::Stopped, 1), (H::Terminated, 1)];
    assert_eq!(kinds(&running).await, expected);
    let console = running.launcher.console_output(ACCOUNT, &id.to_string()).await.unwrap();
    assert_eq!(console.0, b"last words");
    // A launch asked again does not bring it back.
    running.launch_as(new).await.unwrap();
    assert_eq!(running.machines.running(), 0);
}

#[tokio::test]
async fn a_released_launch_is_undone_and_stays_undone() {
    let running = Running::start().await;
    let half = reservation(2);
    running.launcher.reserve(half.clone()).await.unwrap();
    running.launcher.release(1, half.ids.clone(), "no volumes").await.unwrap();
    running.launcher.release(1, half.ids.clone(), "no volumes").await.unwrap();
    let found = running.get(half.ids[0]);
    assert_eq!((found.state, found.reason.as_str()), (State::Terminated, "no volumes"));
    assert!(matches!(running.launch_as(half).await, Err(E::WrongState { .. })));

    let late = reservation(1);
    running.launcher.release(1, late.ids.clone(), "").await.unwrap();
    assert!(matches!(running.launch_as(late).await, Err(E::WrongState { .. })));
    assert_eq!(running.machines.running(), 0);
}

#[tokio::test]
async fn a_machine_that_does_not_start_leaves_the_launch_to_its_saga() {
    let running = Running::start().await;
    *running.machines.broken.lock().unwrap() = true;
    let new = reservation(1);
    let refused = running.launch_as(new.clone()).await.unwrap_err();
    assert!(matches!(&refused, E::MachineFailed { why, .. } if why == "it is broken"));
    assert_eq!(running.get(new.ids[0]).state, State::Pending);
    *running.machines.broken.lock().unwrap() = false;
    running.launch_as(new).await.unwrap();
    assert_eq!(running.machines.running(), 1);
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_instance_stopped() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    running.launcher.stop(ACCOUNT, &id.to_string(), true, asked("")).await.unwrap();
    running.until(id, State::Stopped).await;
    *running.machines.broken.lock().unwrap() = true;
    let refused = running.launcher.start(ACCOUNT, &id.to_string(), asked("")).await;
    assert!(matches!(refused, Err(E::MachineFailed { .. })));
    let stopped = running.until(id, State::Stopped).await;
    assert!(stopped.reason.contains("it is broken"), "{}", stopped.reason);
    assert_eq!(kinds(&running).await, [(H::Started, 1), (H::Stopped, 1)]);
}

#[tokio::test]
async fn what_the_host_does_not_have_is_refused() {
    let running = Running::with(|config| config.max_memory_mib = Some(600)).await;
    let refused = running.launch_as(reservation(3)).await;
    assert!(matches!(refused, Err(E::NoCapacity { .. })));
    let id = running.launch_as(reservation(2)).await.unwrap()[0].id;
    assert!(matches!(running.launch_as(reservation(1)).await, Err(E::NoCapacity { .. })));
    running.launcher.terminate(1, ACCOUNT, vec![id]).await.unwrap();
    running.launch().await;

    *running.machines.missing.lock().unwrap() = true;
    let refused = running.launch_as(reservation(1)).await.unwrap_err();
    assert!(matches!(refused, E::NoHypervisor { hint } if hint.contains("apt-get")));
}

#[tokio::test]
async fn a_launch_that_cannot_be_is_refused_before_anything_is_made() {
    let running = Running::start().await;
    let base = reservation(1);
    let with = |change: fn(&mut Reservation)| {
        let mut new = base.clone();
        change(&mut new);
        running.launcher.reserve(new)
    };
    let key = with(|r| r.key_name = "mine".into()).await;
    assert!(matches!(key, Err(E::NoSuchKeyPair { .. })));
    let size = with(|r| r.instance_type = "v1.none".into()).await;
    assert!(matches!(size, Err(E::NoSuchType { .. })));
    for bad in [
        with(|r| r.ids.clear()).await,
        with(|r| r.ids = vec![r.ids[0]; 2]).await,
        with(|r| r.ids = (0..21).map(|_| InstanceId::random()).collect()).await,
        with(|r| r.user_data = vec![0; (16 << 10) + 1]).await,
        with(|r| r.name = r.ids[0].to_string()).await,
        with(|r| r.product_codes = vec!["A".into()]).await,
    ] {
        assert!(matches!(bad, Err(E::BadField { .. })), "{bad:?}");
    }
    let tag = with(|r| r.tags = vec![(String::new(), String::new())]).await;
    assert!(matches!(tag, Err(E::BadTag { .. })), "{tag:?}");
    for bad in [
        with(|r| r.boot_mode = "uefi".into()).await,
        with(|r| r.architecture = "arm64".into()).await,
    ] {
        assert!(matches!(bad, Err(E::Unsupported { .. })), "{bad:?}");
    }
    assert!(running.launcher.batch_get(&base.ids).unwrap().is_empty());
    let mut relative = volume();
    relative.export = "nbd.sock".into();
    running.launcher.reserve(base.clone()).await.unwrap();
    let refused = running.launcher.identify(1, vec![(base.ids[0], vec![relative])]).await;
    assert!(matches!(refused, Err(E::BadField { .. })));
}

#[tokio::test]
async fn an_older_gateway_is_fenced_off() {
    let running = Running::start().await;
    let new = Reservation { epoch: 5, ..reservation(1) };
    running.launcher.reserve(new.clone()).await.unwrap();
    let given = vec![(new.ids[0], vec![volume()])];
    let fenced = running.launcher.identify(4, given).await;
    assert!(matches!(fenced, Err(E::Fenced(f)) if (f.epoch, f.seen) == (4, 5)));
    assert!(matches!(running.launcher.ensure_machines(4, &new.ids).await, Err(E::Fenced(_))));
    assert!(matches!(running.launcher.release(4, new.ids, "").await, Err(E::Fenced(_))));
}

#[tokio::test]
async fn others_find_nothing() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    let (other, text) = ("999999999999", id.to_string());
    let absent = |e: E| e.to_string().replace(&text, "x");
    let theirs = absent(running.launcher.get(other, &text).unwrap_err());
    let none = InstanceId::random();
    let never = running.launcher.get(other, &none.to_string()).unwrap_err().to_string();
    assert_eq!(theirs, never.replace(&none.to_string(), "x"));
    assert!(running.launcher.stop(other, &text, true, asked("")).await.is_err());
    assert!(running.launcher.console(other, &text, true).await.is_err());
    assert!(running.launcher.terminate(1, other, vec![id]).await.is_err());
    assert_eq!(running.get(id).state, State::Running);
}

#[tokio::test]
async fn a_reboot_resets_once_for_each_request() {
    let running = Running::start().await;
    let id = running.launch().await.id;
    for request in ["1", "1", "2"] {
        running.launcher.reboot(ACCOUNT, &id.to_string(), asked(request)).await.unwrap();
    }
    assert_eq!(*running.machine(id).resets.lock().unwrap(), 2);
    assert_eq!(kinds(&running).await, [(H::Started, 1)]);
}

#[tokio::test]
async fn ssh_reaches_the_guest_at_the_address_given() {
    let running = Running::start().await;
    let at = running.launch().await.ssh.expect("an address");
    let mut stream = tokio::net::TcpStream::connect((at.address, at.port)).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "port 22");
}

#[tokio::test]
async fn the_console_is_read_bounded_and_followed_both_ways() {
    let running = Running::start().await;
    let text = running.launch().await.id.to_string();
    let (tail, _) = running.launcher.console_output(ACCOUNT, &text).await.unwrap();
    assert_eq!(tail.len(), 64 << 10);
    assert!(tail.ends_with(b"login:"));
    let mut once = running.launcher.console(ACCOUNT, &text, false).await.unwrap();
    let mut sum = 0;
    while let Some(piece) = once.next().await.unwrap() {
        sum += piece.len();
    }
    assert_eq!(sum, 64 << 10);
    let (mut console, mut input) = running.launcher.attach(ACCOUNT, &text).await.unwrap();
    assert!(input.write(b"abc").await);
    let mut said = Vec::new();
    while !said.ends_with(b"ABC") {
        said.extend(console.next().await.unwrap().expect("more to come"));
    }
    assert_eq!(said, b"hello ABC");
}

#[tokio::test]
async fn listings_join_up_and_honour_filters() {
    let running = Running::start().await;
    let new = Reservation { tags: vec![("Stage".into(), "test".into())], ..reservation(5) };
    running.launch_as(new).await.unwrap();
    let gone = running.launch().await.id;
    running.launcher.terminate(1, ACCOUNT, vec![gone]).await.unwrap();

    let mut seen = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let all = Query::default();
        let page = running.launcher.list(ACCOUNT, &all, after.as_deref(), 2).unwrap();
        assert!(page.instances.len() <= 2);
        seen.extend(page.instances.into_iter().map(|i| i.id));
        let Some(next) = page.next else { break };
        after = Some(next.to_key().to_vec());
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.is_sorted());

    let (tag, state) = (["te*".to_owned()], ["running".to_owned()]);
    let filters = [("tag:Stage", tag.as_slice()), ("instance-state-name", state.as_slice())];
    let filters = Query { filters: Filters::read(filters).unwrap(), ids: vec![] };
    assert_eq!(running.launcher.list(ACCOUNT, &filters, None, 50).unwrap().instances.len(), 5);
    assert!(
        running.launcher.list("999999999999", &filters, None, 50).unwrap().instances.is_empty()
    );
}

#[tokio::test]
async fn events_are_waited_for() {
    let running = Running::start().await;
    let launcher = running.launcher.clone();
    let waiting = tokio::spawn(async move { launcher.events(0, 10).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let instance = running.launch().await;
    let events = waiting.await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].instance.clone(), events[0].sequence), (instance.id.to_string(), 1));
    assert_eq!(Some(events[0].at), instance.started_at);
    assert_eq!(events[0].product_codes, ["abc"]);
}
