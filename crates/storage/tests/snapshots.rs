//! Snapshots that accounts make, copy, share, label and look for.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

#[path = "snapshots/labels.rs"]
mod labels;

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same, from, instance, nbd::Nbd, noise, reason, saga,
    snap, sparse, volume, volumes,
};
use tonic::Status;
use vmint_api::{
    storage::v1 as pb,
    types::v1::{Filter, Tag},
};

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter { name: name.to_owned(), values: values.iter().map(ToString::to_string).collect() }
}

fn create(n: u64, request_id: &str) -> pb::CreateSnapshotRequest {
    pb::CreateSnapshotRequest {
        volume_id: volume(n),
        description: "nightly".to_owned(),
        tags: vec![tag("Stage", "test")],
        request_id: request_id.to_owned(),
    }
}

async fn made(running: &mut Running, request: pb::CreateSnapshotRequest) -> pb::Snapshot {
    let answer = running.snapshots.create_snapshot(from(ANN, request)).await.unwrap();
    answer.into_inner().snapshot.unwrap()
}

async fn listed(
    running: &mut Running,
    account: &str,
    request: pb::ListSnapshotsRequest,
) -> Result<Vec<String>, Status> {
    let (mut request, mut ids) = (request, Vec::new());
    loop {
        let page = running.users.list_snapshots(from(account, request.clone())).await?.into_inner();
        ids.extend(page.snapshots.into_iter().map(|one| one.snapshot_id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_what_was_written_before_it_was_answered_and_no_more() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = sparse(1, 24);
    let base = running.import(&disk).await;
    let exported = running.attach(1, &base.snapshot_id, true).await;
    let mut machine = Nbd::connect(&exported.export_path);
    let change = noise(11, 2 * MIB);
    machine.write(4 * MIB as u64, &change);
    disk[4 * MIB..6 * MIB].copy_from_slice(&change);

    let answered = made(&mut running, create(1, "one")).await;
    machine.write(4 * MIB as u64, &noise(12, 2 * MIB));
    assert_eq!(answered.volume_id, volume(1));
    assert_eq!(answered.description, "nightly");
    assert_eq!(answered.tags, [tag("Stage", "test")]);
    let whole = running.settled(ANN, &answered.snapshot_id).await;
    assert_eq!((whole.state(), whole.progress_percent), (pb::SnapshotState::Completed, 100));
    assert_eq!(whole.consistency, "crash-consistent");
    assert!(whole.new_bytes >= 2 * MIB as i64, "{}", whole.new_bytes);
    assert_same(&running.content(&answered.snapshot_id).await, &disk);

    // Asked again it is the same; another request under the same id is not.
    let again = made(&mut running, create(1, "one")).await;
    assert_eq!(again.snapshot_id, answered.snapshot_id);
    let other = pb::CreateSnapshotRequest { description: "x".to_owned(), ..create(1, "one") };
    let refused = running.snapshots.create_snapshot(from(ANN, other)).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // It is nobody else's volume.
    let refused = running.snapshots.create_snapshot(from(BOB, create(1, ""))).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_NOT_FOUND");
    let long = pb::CreateSnapshotRequest { description: "x".repeat(256), ..create(1, "") };
    let refused = running.snapshots.create_snapshot(from(ANN, long)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let twice = vec![tag("a", "1"), tag("a", "2")];
    let twice = pb::CreateSnapshotRequest { tags: twice, ..create(1, "") };
    let refused = running.snapshots.create_snapshot(from(ANN, twice)).await.unwrap_err();
    assert_eq!(reason(&refused), "TAG_INVALID");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_at_no_instance_is_frozen_too() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(2, 8);
    let base = running.import(&disk).await;
    running.attach(1, &base.snapshot_id, false).await;
    running.release(1, false).await;
    let first = made(&mut running, create(1, "")).await;
    let second = made(&mut running, create(1, "")).await;
    for id in [&first.snapshot_id, &second.snapshot_id] {
        let whole = running.settled(ANN, id).await;
        assert_eq!(whole.consistency, "stopped");
        assert_same(&running.content(id).await, &disk);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_of_one_moment_and_leaves_out_what_it_is_told_to() {
    let place = Place::new();
    let mut running = place.start().await;
    // Three volumes at one instance, the first of them its root.
    let mut wanted = volumes(1, "");
    wanted.volumes[0].size_gib = 1;
    for n in [2, 3] {
        let mut more = wanted.volumes[0].clone();
        (more.volume_id, more.device_name, more.boot) = (volume(n), format!("/dev/sd{n}"), false);
        wanted.volumes.push(more);
    }
    let exported = running.internal.ensure_volumes(wanted).await.unwrap().into_inner().volumes;
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, paths) =
        (stop.clone(), exported.iter().map(|one| one.export_path.clone()).collect::<Vec<_>>());
    let writer = thread::spawn(move || {
        // Written from the last volume to the first.
        let mut machines = paths.iter().rev().map(Nbd::connect).collect::<Vec<_>>();
        let mut count = 0_u64;
        while !ended.load(Ordering::Acquire) {
            count += 1;
            for machine in &mut machines {
                machine.write(0, &count.to_be_bytes());
            }
        }
    });
    let all = pb::CreateSnapshotsRequest {
        instance_id: instance(1),
        description: "set".to_owned(),
        tags: vec![tag("Set", "1")],
        ..Default::default()
    };
    let mut sets = Vec::new();
    for _ in 0..4 {
        let answer = running.snapshots.create_snapshots(from(ANN, all.clone())).await.unwrap();
        sets.push(answer.into_inner().snapshots);
    }
    stop.store(true, Ordering::Release);
    writer.join().unwrap();
    for set in &sets {
        assert_eq!(
            set.iter().map(|one| one.volume_id.clone()).collect::<Vec<_>>(),
            [volume(1), volume(2), volume(3)]
        );
        let mut counts = Vec::new();
        for one in set {
            running.settled(ANN, &one.snapshot_id).await;
            let n = 0xfff_0001;
            let over = running.attach(n, &one.snapshot_id, true).await;
            let bytes = Nbd::connect(&over.export_path).read(0, 8);
            running.release(n, false).await;
            counts.push(u64::from_be_bytes(bytes.try_into().unwrap()));
        }
        // What was written later is there only with what was written before.
        assert!(counts.is_sorted() && counts[2] <= counts[0] + 1, "{counts:?}");
    }

    let some = pb::CreateSnapshotsRequest {
        exclude_boot_volume: true,
        exclude_data_volume_ids: vec![volume(3)],
        ..all.clone()
    };
    let answer = running.snapshots.create_snapshots(from(ANN, some.clone())).await.unwrap();
    let set = answer.into_inner().snapshots;
    assert_eq!(set.len(), 1);
    assert_eq!((&set[0].volume_id, &set[0].tags[..]), (&volume(2), &[tag("Set", "1")][..]));
    let none = pb::CreateSnapshotsRequest {
        exclude_data_volume_ids: vec![volume(2), volume(3)],
        ..some.clone()
    };
    let foreign = pb::CreateSnapshotsRequest { exclude_data_volume_ids: vec![volume(9)], ..some };
    for (account, request, why) in [
        (ANN, none, "INSTANCE_WITHOUT_VOLUMES"),
        (ANN, foreign, "VOLUME_NOT_FOUND"),
        (BOB, all, "INSTANCE_WITHOUT_VOLUMES"),
    ] {
        let refused = running.snapshots.create_snapshots(from(account, request)).await;
        assert_eq!(reason(&refused.unwrap_err()), why);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_frozen_before_an_end_is_made_after_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let base = running.import(&sparse(5, 32)).await;
    let exported = running.attach(1, &base.snapshot_id, true).await;
    let mut machine = Nbd::connect(&exported.export_path);
    machine.write(MIB as u64, &noise(50, 24 * MIB));
    machine.flush();
    let want = machine.read_all();
    let answered = made(&mut running, create(1, "")).await;
    machine.write(MIB as u64, &noise(51, 24 * MIB));
    machine.flush();
    drop(machine);
    // The files as a kill right after the answer would leave them: each is
    // copied before what must be no older than it.
    let copy = Place::new();
    for part in ["volumes", "records/sled", "records/journal", "blocks"] {
        let (old, new) = (place.data().join(part), copy.data().join(part));
        harness::copy(&old, &new);
    }
    running.stop().await;

    let mut running = copy.start().await;
    let whole = running.settled(ANN, &answered.snapshot_id).await;
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    running.collect().await;
    assert_same(&running.content(&answered.snapshot_id).await, &want);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_says_which_image_needs_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(6, 2)).await.snapshot_id;
    let using = pb::EnsureSnapshotUseRequest {
        saga: saga(1),
        image_id: harness::image(1),
        snapshot_ids: vec![snapshot.clone()],
        account_id: ANN.to_owned(),
    };
    running.internal.ensure_snapshot_use(using).await.unwrap();
    let refused = running.delete(&snapshot).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_IN_USE");
    assert!(refused.message().contains(&harness::image(1)), "{}", refused.message());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_a_snapshot_may_copy_it_until_that_is_revoked() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(7, 6);
    let shared = running.import(&disk).await.snapshot_id;
    let label = pb::TagResourcesRequest {
        resource_ids: vec![shared.clone()],
        tags: vec![tag("Secret", "mine")],
        request_id: String::new(),
    };
    running.snapshots.tag_resources(from(ANN, label)).await.unwrap();
    let copy = |id: &str| pb::CopySnapshotRequest {
        source_snapshot_id: id.to_owned(),
        description: "copy".to_owned(),
        tags: vec![tag("Mine", "now")],
        ..Default::default()
    };
    let stored = running.stats().stored_bytes;
    let refused = running.snapshots.copy_snapshot(from(BOB, copy(&shared))).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    running.share(&shared, false, &[BOB], 5).await;
    let copied = running.snapshots.copy_snapshot(from(BOB, copy(&shared))).await.unwrap();
    let copied = copied.into_inner().snapshot.unwrap();
    assert_eq!((copied.account_id.as_str(), copied.state()), (BOB, pb::SnapshotState::Completed));
    assert_eq!(copied.tags, [tag("Mine", "now")]);
    assert_eq!(running.stats().stored_bytes, stored, "a copy takes no room");

    // Bob sees it where he looks for what is shared, without the owner's labels.
    let scoped = |scope: pb::SnapshotScope| pb::ListSnapshotsRequest {
        scope: scope.into(),
        page_size: 1,
        ..Default::default()
    };
    use pb::SnapshotScope::{Public, Readable, Shared, Unspecified};
    let own = vec![copied.snapshot_id.clone()];
    assert_eq!(listed(&mut running, BOB, scoped(Unspecified)).await.unwrap(), own);
    let theirs = vec![shared.clone()];
    assert_eq!(listed(&mut running, BOB, scoped(Shared)).await.unwrap(), theirs);
    assert!(listed(&mut running, BOB, scoped(Public)).await.unwrap().is_empty());
    let mut both = [own.clone(), theirs.clone()].concat();
    both.sort();
    assert_eq!(listed(&mut running, BOB, scoped(Readable)).await.unwrap(), both);
    let by_tag = pb::ListSnapshotsRequest {
        filters: vec![filter("tag-key", &["Secret"])],
        ..scoped(Readable)
    };
    assert!(listed(&mut running, BOB, by_tag.clone()).await.unwrap().is_empty());
    assert_eq!(listed(&mut running, ANN, by_tag).await.unwrap(), theirs);
    let seen = running.settled(BOB, &shared).await;
    assert!(seen.tags.is_empty() && seen.image_ids.is_empty());

    // Public, to all; older news changes nothing; a revoke binds the next call.
    running.share(&shared, true, &[], 6).await;
    running.share(&shared, false, &[BOB], 5).await;
    assert_eq!(listed(&mut running, "300000000003", scoped(Public)).await.unwrap(), theirs);
    running.share(&shared, false, &[], 7).await;
    let refused = running.snapshots.copy_snapshot(from(BOB, copy(&shared))).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    assert_eq!(listed(&mut running, BOB, scoped(Readable)).await.unwrap(), own);
    // The copy outlives the source.
    running.delete(&shared).await.unwrap();
    running.collect().await;
    let over = pb::CreateVolumeRequest { snapshot_id: own[0].clone(), ..Default::default() };
    running.volumes.create_volume(from(BOB, over)).await.unwrap();
    running.stop().await;
}
