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
