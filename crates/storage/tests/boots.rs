//! What the first machine of an image reads while it boots is in memory before the next one asks.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::time::Duration;

use harness::{ANN, MIB, Place, Running, assert_same, from, nbd::Nbd, noise, snap, volume};
use vmint_api::storage::v1 as pb;

/// What a boot reads: a loader at the front, then here and there, some of it again.
const READS: [(usize, usize); 8] = [
    (0, 64 << 10),
    (20 * MIB, 600 << 10),
    (3 * MIB + 4096, 500 << 10),
    (64 << 10, 300 << 10),
    (30 * MIB + 12_288, 400 << 10),
    (20 * MIB, 100 << 10),
    (11 * MIB, 700 << 10),
    (3 * MIB + 8192, 4096),
];

/// Bytes of the disk that the boot reads, each once.
fn touched() -> u64 {
    (64 + 600 + 500 + 300 + 400 + 700) << 10
}

fn boot(socket: &str, disk: &[u8]) {
    let mut machine = Nbd::connect(socket);
    for (at, len) in READS {
        assert_same(&machine.read(at as u64, len), &disk[at..at + len]);
    }
}

/// Waits until nothing more is read ahead: the work ends by itself.
async fn quiet(running: &Running, wanted: u64) {
    for _ in 0..6000 {
        if running.storage.read_ahead_bytes() >= wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} of {wanted} bytes were read ahead", running.storage.read_ahead_bytes());
}

/// Waits until reading ahead makes no more headway.
async fn settle(running: &Running) {
    let mut before = (0, u64::MAX);
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = (running.stats().loads, running.storage.read_ahead_bytes());
        if now == before {
            return;
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_launch_reads_ahead_what_the_first_one_read() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(1, 32 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    running.stop().await;

    let mut running = place.start().await;
    let first = running.attach(1, &snapshot, true).await;
    boot(&first.export_path, &disk);
    let cold = running.stats();
    assert!(cold.loads > 10);
    // No more than chunks reach over what was asked for.
    let bound = touched() * 13 / 10;
    assert!(cold.loaded_bytes <= bound, "{} of {bound} bytes", cold.loaded_bytes);
    assert_eq!(running.storage.read_ahead_bytes(), 0, "nothing was known of it");
    // Its watch ends with the service at the latest; the set outlives both.
    running.stop().await;

    let mut running = place.start().await;
    assert_eq!(running.stats().loads, 0, "a machine that runs on is no boot");
    let second = running.attach(2, &snapshot, true).await;
    let request = pb::GetVolumeRequest { volume_id: volume(2) };
    let found = running.volumes.get_volume(from(ANN, request)).await.unwrap().into_inner();
    // Chunks in a directory are all here.
    assert_eq!(found.volume.unwrap().hydrated_percent, Some(100));
    let request = pb::ListVolumesRequest::default();
    let listed = running.users.list_volumes(from(ANN, request)).await.unwrap().into_inner();
    assert!(!listed.volumes.is_empty());
    assert!(listed.volumes.iter().all(|volume| volume.hydrated_percent == Some(100)));
    quiet(&running, touched()).await;
    let ahead = running.stats();
    assert_eq!((ahead.loads, ahead.loaded_bytes), (cold.loads, cold.loaded_bytes));
    boot(&second.export_path, &disk);
    assert_eq!(running.stats().loads, ahead.loads, "the boot had to wait for a chunk");
    // Asked for again, as a saga does, nothing happens twice.
    running.attach(2, &snapshot, true).await;
    assert_eq!(running.storage.read_ahead_bytes(), touched());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_boots_at_once_fetch_each_chunk_once() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(2, 32 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    running.stop().await;
    let mut running = place.start().await;
    let mut sockets = Vec::new();
    for n in 1..=12 {
        sockets.push(running.attach(n, &snapshot, true).await.export_path);
    }
    std::thread::scope(|threads| {
        for socket in &sockets {
            threads.spawn(|| boot(socket, &disk));
        }
    });
    let (together, bytes) = (running.stats().loads, running.stats().loaded_bytes);
    assert!(bytes <= touched() * 13 / 10, "{bytes} bytes for twelve machines");
    boot(&sockets[0], &disk);
    assert_eq!(running.stats().loads, together);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_is_forgotten_with_its_content() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(3, 32 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    let made = running.attach(1, &snapshot, true).await;
    boot(&made.export_path, &disk);
    running.stop().await;

    let mut running = place.start().await;
    running.collect().await;
    // Kept while the content is needed, and for a disk that is not booted from of no use.
    let mut request = harness::volumes(2, &snapshot);
    request.volumes[0].boot = false;
    running.internal.ensure_volumes(request).await.unwrap();
    running.attach(3, &snapshot, true).await;
    quiet(&running, touched()).await;
    assert_eq!(running.storage.read_ahead_bytes(), touched());
    for n in [1, 2, 3] {
        running.release(n, false).await;
    }
    running.delete(&snapshot).await.unwrap();
    running.collect().await;
    let snapshot = running.import(&disk).await.snapshot_id;
    running.attach(4, &snapshot, true).await;
    let frozen = running.freeze(4, 4).await;
    assert_eq!(frozen.snapshot_id, snap(4));
    assert_eq!(running.storage.read_ahead_bytes(), touched(), "it was remembered");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_booted_machine_begins_with_what_that_one_read() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = noise(5, 32 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    let made = running.attach(1, &snapshot, true).await;
    boot(&made.export_path, &disk);
    // The machine changes what it read at 11 MiB, and goes on.
    let written = noise(6, 300 << 10);
    let mut machine = Nbd::connect(&made.export_path);
    machine.write(11 * MIB as u64, &written);
    machine.flush();
    disk[11 * MIB..11 * MIB + written.len()].copy_from_slice(&written);
    // Its boot is still being watched.
    let child = running.freeze(1, 1).await.snapshot_id;
    running.stop().await;

    let mut running = place.start().await;
    let next = running.attach(2, &child, true).await;
    // Chunks that were cut anew reach a little over what was written.
    let kept = touched() - (written.len() as u64);
    quiet(&running, kept - (512 << 10)).await;
    settle(&running).await;
    let ahead = running.storage.read_ahead_bytes();
    assert!(ahead <= kept, "{ahead} of {kept} bytes: what has changed is no longer known");
    let loads = running.stats().loads;
    boot(&next.export_path, &disk);
    let missed = running.stats().loads - loads;
    assert!((1..=25).contains(&missed), "{missed} chunks were not read ahead");
    running.stop().await;

    // It was watched in its turn, and is known by its own boot from now on.
    let mut running = place.start().await;
    let third = running.attach(3, &child, true).await;
    quiet(&running, touched()).await;
    let loads = running.stats().loads;
    boot(&third.export_path, &disk);
    assert_eq!(running.stats().loads, loads, "the boot had to wait for a chunk");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_larger_than_the_memory_is_read_ahead_as_it_goes() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(7, 32 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    // Eight MiB of memory for chunks, and a boot that reads twelve.
    let reads: Vec<usize> = (0..192).map(|n| n * 7 % 192 * (128 << 10)).collect();
    let read = |socket: &str| {
        let mut machine = Nbd::connect(socket);
        for at in &reads {
            assert_same(&machine.read(*at as u64, 64 << 10), &disk[*at..*at + (64 << 10)]);
        }
    };
    let made = running.attach(1, &snapshot, true).await;
    read(&made.export_path);
    let cold = running.stats().loads;
    running.stop().await;

    let mut running = place.start().await;
    let next = running.attach(2, &snapshot, true).await;
    // Half of the memory is filled, and nothing of that is displaced.
    settle(&running).await;
    let (first, loads) = (running.storage.read_ahead_bytes(), running.stats().loads);
    assert!((1 << 20..=4 << 20).contains(&first), "{first} bytes");
    assert!(running.stats().cache_bytes <= 8 << 20);
    settle(&running).await;
    assert_eq!(running.stats().loads, loads, "it reads on though nobody asked");
    // With each chunk that is asked for another one comes.
    read(&next.export_path);
    quiet(&running, (192 * 64) << 10).await;
    let stats = running.stats();
    let more = "chunks were displaced before they were asked for";
    assert!(stats.loads <= cold * 13 / 10, "{more}: {cold} cold, {stats:?}");
    assert!(stats.cache_bytes <= 8 << 20);
    running.stop().await;
}
