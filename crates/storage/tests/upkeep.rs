//! What is stored is checked, measured, found damaged and healed.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod far;
mod harness;

use std::{fs, ops::Range};

use harness::{ANN, MIB, Place, Running, assert_same, from, image, noise, reason, saga, volume};
use tokio_stream::StreamExt as _;
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{check_storage_response::Holds, repair_chunks_request::Part};

const REGION: usize = 16 * MIB;

/// The records of a pack: where they are, and whether they list others.
fn records(pack: &[u8]) -> Vec<(Range<usize>, bool)> {
    let (mut at, mut found) = (16, Vec::new());
    while pack.len() > at + 64 {
        let word = |place: usize| {
            u32::from_le_bytes(*pack[at + place..].first_chunk::<4>().unwrap()) as usize
        };
        let length = match &pack[at..at + 4] {
            b"vmr1" => 64 + word(12),
            b"vmm1" => 32 + 44 * word(8),
            _ => break,
        };
        if &pack[at..at + 4] == b"vmr1" {
            found.push((at..at + length, !word(8).is_multiple_of(4096)));
        }
        at += length;
    }
    found
}

/// Turns a bit over in the first chunk, or in every list of chunks.
fn spoil(place: &Place, lists: bool) {
    for entry in fs::read_dir(place.data().join("blocks/packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut pack = fs::read(&path).unwrap();
        let all = records(&pack).into_iter().filter(|(_, list)| *list == lists);
        for (range, _) in all.take(if lists { usize::MAX } else { 1 }) {
            pack[range.end - 7] ^= 8;
        }
        fs::write(&path, pack).unwrap();
    }
}

async fn check(running: &mut Running) -> pb::CheckReport {
    let request = from(ANN, pb::CheckStorageRequest {});
    let mut answers = running.upkeep.check_storage(request).await.unwrap().into_inner();
    while let Some(answer) = answers.next().await {
        if let Some(Holds::Report(report)) = answer.unwrap().holds {
            return report;
        }
    }
    panic!("no report came");
}

async fn damage(running: &mut Running) -> Vec<pb::Damage> {
    let request = from(ANN, pb::ListDamageRequest::default());
    running.upkeep.list_damage(request).await.unwrap().into_inner().damage
}

async fn scrub(running: &mut Running) -> pb::Scrub {
    let request = from(ANN, pb::DescribeScrubRequest {});
    running.upkeep.describe_scrub(request).await.unwrap().into_inner().scrub.unwrap()
}

async fn start(running: &mut Running, bytes_per_second: i64, request_id: &str) -> pb::Scrub {
    let request = pb::StartScrubRequest { bytes_per_second, request_id: request_id.to_owned() };
    let request = from(ANN, request);
    running.upkeep.start_scrub(request).await.unwrap().into_inner().scrub.unwrap()
}

async fn until(running: &mut Running, met: impl Fn(&pb::Scrub) -> bool) -> pb::Scrub {
    for _ in 0..6000 {
        let now = scrub(running).await;
        if met(&now) {
            return now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", scrub(running).await);
}

/// Reads everything, as fast as it goes.
async fn scrubbed(running: &mut Running) -> pb::Scrub {
    start(running, 1 << 40, "").await;
    until(running, |scrub| scrub.state() == pb::ScrubState::Completed).await
}

async fn repair(
    running: &mut Running,
    snapshot: &str,
    disk: &[u8],
    ranges: &[Range<usize>],
) -> pb::RepairChunksResponse {
    let snapshot_id = snapshot.to_owned();
    let header = pb::RepairHeader { snapshot_id, ..Default::default() };
    let mut parts = vec![pb::RepairChunksRequest { part: Some(Part::Header(header)) }];
    for range in ranges {
        for (n, piece) in disk[range.clone()].chunks(300_000).enumerate() {
            let offset_bytes = (range.start + n * 300_000) as i64;
            let data = pb::RepairData { offset_bytes, content: piece.to_vec().into() };
            parts.push(pb::RepairChunksRequest { part: Some(Part::Data(data)) });
        }
    }
    let request = from(ANN, tokio_stream::iter(parts));
    running.upkeep.repair_chunks(request).await.unwrap().into_inner()
}

fn in_use(n: u64, snapshot: &str) -> pb::EnsureSnapshotUseRequest {
    pb::EnsureSnapshotUseRequest {
        saga: saga(1),
        image_id: image(n),
        snapshot_ids: vec![snapshot.to_owned()],
        account_id: ANN.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_keeps_its_pace_and_goes_on_after_a_restart() {
    let place = Place::new();
    let mut running = place.start().await;
    let made = running.import(&noise(1, 6 * MIB)).await;
    let begun = start(&mut running, 300 << 10, "one").await;
    assert_eq!(begun.state(), pb::ScrubState::Running);
    let first = until(&mut running, |scrub| scrub.checked_bytes > 0).await;
    assert_eq!(first.state(), pb::ScrubState::Running);
    assert!(first.checked_bytes < 2 * MIB as i64, "{first:?}");
    // The same request again begins nothing anew.
    assert!(start(&mut running, 300 << 10, "one").await.checked_bytes >= first.checked_bytes);
    running.stop().await;

    let mut running = place.start().await;
    let now = scrub(&mut running).await;
    assert_eq!((now.state(), now.start_time), (pb::ScrubState::Running, first.start_time));
    assert!(now.checked_bytes >= first.checked_bytes);
    // It is the same scrub at another pace, and each byte was read once.
    let done = scrubbed(&mut running).await;
    assert_eq!(done.start_time, first.start_time);
    assert_eq!((done.checked_bytes, done.damaged_chunks), (done.stored_bytes, 0));
    assert!(done.end_time.is_some());

    // The next one begins at the start, and can be ended.
    let next = start(&mut running, 300 << 10, "two").await;
    assert!(next.checked_bytes < 2 * MIB as i64 && next.end_time.is_none());
    let request = from(ANN, pb::CancelScrubRequest { request_id: String::new() });
    let ended = running.upkeep.cancel_scrub(request).await.unwrap().into_inner().scrub.unwrap();
    assert_eq!(ended.state(), pb::ScrubState::Cancelled);
    running.stop().await;
    let mut running = place.start().await;
    assert_eq!(scrub(&mut running).await.state(), pb::ScrubState::Cancelled);
    assert_eq!(scrubbed(&mut running).await.checked_bytes, done.stored_bytes);
    let refused = running
        .upkeep
        .start_scrub(from(
            ANN,
            pb::StartScrubRequest { bytes_per_second: -1, ..Default::default() },
        ))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    assert!(running.delete(&made.snapshot_id).await.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_says_what_it_hits_and_the_original_disk_heals_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(1, 3 * MIB + 700);
    let made = running.import(&disk).await.snapshot_id;
    running.internal.ensure_snapshot_use(in_use(9, &made)).await.unwrap();
    running.attach(4, &made, true).await;
    let other = running.import(&noise(2, MIB)).await.snapshot_id;
    let before = check(&mut running).await;
    assert!(before.sound && before.disks == 3 && before.live_bytes > 4 * MIB as i64, "{before:?}");
    assert!(damage(&mut running).await.is_empty());
    running.stop().await;

    for lists in [false, true] {
        let mut running = place.start().await;
        spoil(&place, lists);
        let done = scrubbed(&mut running).await;
        assert!(done.damaged_chunks >= 1, "{done:?}");
        let report = check(&mut running).await;
        assert!(!report.sound && report.lost_chunks >= 1, "{report:?}");
        let all = damage(&mut running).await;
        let hit = all.iter().find(|damage| damage.disks.iter().any(|at| at.snapshot_id == made));
        let hit = hit.unwrap_or_else(|| panic!("{all:?}"));
        assert_eq!(hit.lists_others, lists);
        let snapshot = hit.disks.iter().find(|at| at.snapshot_id == made).unwrap();
        assert_eq!((&snapshot.image_ids[..], &*snapshot.account_id), (&[image(9)][..], ANN));
        let under = hit.disks.iter().find(|at| at.volume_id == volume(4)).unwrap();
        assert_eq!(
            (under.offset_bytes, &*under.instance_id),
            (snapshot.offset_bytes, &*harness::instance(4))
        );
        // Other bytes change nothing.
        let range = snapshot.offset_bytes as usize
            ..((snapshot.offset_bytes + snapshot.length_bytes) as usize).min(disk.len());
        let all_of_it = std::slice::from_ref(&range);
        let wrong = repair(&mut running, &made, &noise(3, disk.len()), all_of_it).await;
        assert_eq!((wrong.repaired_chunks, wrong.lost_chunks), (0, 1));
        let right = repair(&mut running, &made, &disk, all_of_it).await;
        assert_eq!((right.repaired_chunks, right.lost_chunks), (1, 0));
        if lists {
            // Hit too, and healed by an ordinary import of the same disk.
            running.import(&noise(2, MIB)).await;
        }
        assert!(damage(&mut running).await.is_empty());
        assert!(check(&mut running).await.sound);
        assert_same(&running.content(&made).await[..disk.len()], &disk);
        assert_same(&running.content(&other).await, &noise(2, MIB));
        running.stop().await;
        let mut running = place.start().await;
        assert!(check(&mut running).await.sound, "what was healed stays so");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_region_has_heals_what_is_lost_here() {
    let (here, there) = (Place::new(), Place::new());
    let mut far = there.start().await;
    // Two stretches, the first mostly a hole.
    let mut disk = noise(1, REGION + 2 * MIB);
    disk[MIB..REGION].fill(0);
    let source = far.import(&disk).await.snapshot_id;
    let address = far::serve(far.storage.clone()).await;
    let address = vmint_rpc::ServiceAddress::Tcp(address);
    let region = vmint_storage::Region { address, token: "token".to_owned() };
    let start =
        || here.start_as(|config| drop(config.regions.insert("far".into(), region.clone())));
    let mut running = start().await;
    let made = running.import(&disk).await.snapshot_id;
    running.stop().await;
    for lists in [false, true] {
        let mut running = start().await;
        spoil(&here, lists);
        scrubbed(&mut running).await;
        assert!(!check(&mut running).await.sound);
        let mut request = pb::RepairFromRegionRequest {
            snapshot_id: made.clone(),
            region: "near".to_owned(),
            source_image_id: String::new(),
            source_snapshot_id: source.clone(),
            request_id: String::new(),
        };
        let refused = running.upkeep.repair_from_region(from(ANN, request.clone())).await;
        assert_eq!(reason(&refused.unwrap_err()), "REGION_UNKNOWN");
        request.region = "far".to_owned();
        let done = running.upkeep.repair_from_region(from(ANN, request)).await.unwrap();
        let done = done.into_inner();
        assert!(done.repaired_chunks >= 1 && done.lost_chunks == 0, "{done:?}");
        // Only what was lost has come.
        let most = if lists { disk.len() } else { 260 << 10 };
        assert!(done.fetched_bytes > 0 && done.fetched_bytes <= most as i64, "{done:?}");
        assert!(check(&mut running).await.sound);
        assert_same(&running.content(&made).await, &disk);
        running.stop().await;
    }
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deletion_frees_is_said_to_the_byte() {
    let place = Place::new();
    let mut running = place.start().await;
    // Three disks that have parts in common, two of them images'.
    let base = noise(1, 2 * MIB);
    let mut second = base.clone();
    second.extend(noise(2, MIB));
    let mut third = second.clone();
    third[..MIB].copy_from_slice(&noise(3, MIB));
    let mut ids = Vec::new();
    for disk in [&base, &second, &third] {
        ids.push(running.import(disk).await.snapshot_id);
    }
    running.internal.ensure_snapshot_use(in_use(1, &ids[1])).await.unwrap();
    running.internal.ensure_snapshot_use(in_use(2, &ids[2])).await.unwrap();
    running.collect().await;
    let measure = |ids: &[String]| pb::MeasureSnapshotsRequest { snapshot_ids: ids.to_vec() };
    let mut live = check(&mut running).await.live_bytes;
    let whole = running.upkeep.measure_snapshots(from(ANN, measure(&ids))).await.unwrap();
    let whole = whole.into_inner();
    assert_eq!((whole.stored_bytes, whole.shared_bytes), (live, 0));
    assert_eq!(whole.logical_bytes, (base.len() + second.len() + third.len()) as i64);
    let one = running.upkeep.measure_snapshots(from(ANN, measure(&ids[..1]))).await.unwrap();
    let one = one.into_inner();
    assert!(one.shared_bytes > MIB as i64 && one.unique_bytes < MIB as i64 / 2, "{one:?}");
    let refused = running.upkeep.measure_snapshots(from(harness::BOB, measure(&ids))).await;
    assert_eq!(reason(&refused.unwrap_err()), "SNAPSHOT_NOT_FOUND");

    // One that an image needs does not go, and is not said to.
    let deletion = |id: &str, dry_run| pb::DeleteSnapshotRequest {
        snapshot_id: id.to_owned(),
        request_id: String::new(),
        dry_run,
    };
    let refused = running.users.delete_snapshot(from(ANN, deletion(&ids[1], true))).await;
    assert_eq!(reason(&refused.unwrap_err()), "SNAPSHOT_IN_USE");
    // The second image goes with its snapshot, then the free one, then the first image.
    let release = |n, dry_run| pb::ReleaseSnapshotUseRequest {
        saga: saga(1),
        image_id: image(n),
        delete_snapshots: true,
        dry_run,
    };
    for step in 0..3 {
        let said = match step {
            0 | 2 => {
                let n = if step == 0 { 2 } else { 1 };
                let said = running.internal.release_snapshot_use(release(n, true)).await.unwrap();
                let said = said.into_inner();
                assert_eq!(said.deleted_snapshot_ids, [ids[n as usize].clone()]);
                assert_eq!(check(&mut running).await.live_bytes, live, "nothing was changed");
                let done = running.internal.release_snapshot_use(release(n, false)).await.unwrap();
                assert_eq!(done.into_inner().deleted_snapshot_ids, said.deleted_snapshot_ids);
                said.freed_bytes
            }
            _ => {
                let said = running.users.delete_snapshot(from(ANN, deletion(&ids[0], true))).await;
                let said = said.unwrap().into_inner().freed_bytes;
                running.delete(&ids[0]).await.unwrap();
                said
            }
        };
        assert!(said > 0, "step {step}");
        let before = running.stats();
        let after = running.collect().await;
        let now = check(&mut running).await.live_bytes;
        assert_eq!(live - now, said, "step {step}");
        // And so much less lies on disk, but for what is left in packs mostly alive.
        let less = before.pack_bytes - after.pack_bytes;
        let left = check(&mut running).await.orphan_bytes;
        assert!(less as i64 + left >= said, "{less} and {left} of {said}");
        live = now;
    }
    assert_eq!((live, running.stats().chunks), (0, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_not_running_is_checked_too() {
    let place = Place::new();
    let mut running = place.start().await;
    let made = running.import(&noise(1, 2 * MIB)).await.snapshot_id;
    running.stop().await;
    fs::write(place.data().join("domains.key"), [7; 32]).unwrap();
    let config = || {
        let (at, name) = (place.path(), "storage");
        vmint_storage::Config::new(vmint_daemon::ServiceConfig::under(name, at, at, at))
    };
    let found = vmint_storage::check_offline(config(), true).await.unwrap();
    assert!(found.checked.is_sound() && found.damage.is_empty(), "{found:?}");
    assert_eq!(found.scrubbed.unwrap().damaged, []);
    spoil(&place, false);
    // The lists are whole; only reading the chunks tells.
    let found = vmint_storage::check_offline(config(), false).await.unwrap();
    assert!(found.checked.is_sound());
    let found = vmint_storage::check_offline(config(), true).await.unwrap();
    assert!(!found.checked.is_sound());
    assert_eq!((found.scrubbed.unwrap().damaged.len(), found.damage.len()), (1, 1));
    let hit = &found.damage[0].disks[0].disk;
    assert!(
        matches!(hit, vmint_storage::Disk::Snapshot { id, .. } if id.to_string() == made),
        "{hit:?}"
    );
    let running = place.start().await;
    let busy = vmint_storage::check_offline(config(), false).await;
    assert!(busy.is_err(), "it is running");
    running.stop().await;
}
