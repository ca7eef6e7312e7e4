//! What a service finds when it comes back, after an end and after a crash.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{fs, io, path::Path, sync::Arc};

use harness::{MIB, Place, assert_same, copy, nbd::Nbd, noise, saga, snap, sparse, volume};
use vmint_api::storage::v1 as pb;
use vmint_disk::{Base, Span, Volume as Disk};

/// Stands in for a base that nobody will read.
struct Blank(u64);

impl Base for Blank {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn span(&self, _: u64) -> io::Result<Span> {
        Ok(Span { end: self.0, data: true })
    }
}

fn open(dir: &Path, size: usize) -> Disk {
    Disk::open(dir, |_| Ok(Arc::new(Blank(size as u64)) as Arc<dyn Base>)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_find_their_disks_where_they_were() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 16);
    let snapshot = running.import(&disk).await;
    let mut served = Vec::new();
    for n in 1..=3_u64 {
        let made = running.attach(n, &snapshot.snapshot_id, true).await;
        let mut machine = Nbd::connect(&made.export_path);
        machine.write(n * MIB as u64, &noise(n, 4096));
        machine.flush();
        served.push((n, made.export_path));
    }
    let frozen = running.freeze(2, 1).await;
    running.stop().await;
    for (_, path) in &served {
        assert!(!Path::new(path).exists(), "a socket without a service");
    }
    let nobodys = place.path().join("e").join("0123456789abcdef".repeat(2));
    fs::create_dir_all(&nobodys).unwrap();
    let orphan = place.volume_dir(0xeee);
    drop(Disk::create(&orphan, 4096, None).unwrap());

    let mut running = place.start().await;
    for (n, path) in &served {
        let mut machine = Nbd::connect(path);
        let mut wanted = disk.clone();
        let at = *n as usize * MIB;
        wanted[at..at + 4096].copy_from_slice(&noise(*n, 4096));
        assert_same(&machine.read_all(), &wanted);
        let again = running.attach(*n, &snapshot.snapshot_id, true).await;
        assert_eq!(&again.export_path, path);
    }
    assert!(!nobodys.exists(), "a socket's directory of nobody");
    assert!(!orphan.exists(), "a volume's directory without a record");
    // Nothing is new since it was frozen.
    let quiet = running.freeze(2, 2).await;
    assert_eq!(quiet.new_bytes, 0);
    assert_eq!(quiet.size_bytes, frozen.size_bytes);
    let request = pb::ListAttachedVolumesRequest { page_size: 2, page_token: String::new() };
    let page = running.internal.list_attached_volumes(request).await.unwrap().into_inner();
    assert_eq!(page.volumes.len(), 2);
    let request = pb::ListAttachedVolumesRequest { page_size: 2, page_token: page.next_page_token };
    let rest = running.internal.list_attached_volumes(request).await.unwrap().into_inner();
    assert_eq!(rest.volumes[0].volume_id, volume(3));
    assert_eq!(rest.next_page_token, "");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_a_crash_cut_off_is_made_up_for() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = sparse(2, 16);
    let snapshot = running.import(&disk).await;
    let path = running.attach(1, &snapshot.snapshot_id, true).await.export_path;
    let mut machine = Nbd::connect(&path);
    machine.write(3 * MIB as u64, &noise(33, MIB));
    drop(machine);
    running.stop().await;
    // As if the process had ended between freezing and rebasing.
    let crashed = open(&place.volume_dir(1), disk.len());
    drop(crashed.freeze().unwrap());
    assert_eq!(crashed.layer_count(), 2);
    drop(crashed);

    let mut running = place.start().await;
    let mut machine = Nbd::connect(&path);
    machine.write(3 * MIB as u64 + 4096, &noise(34, 4096));
    disk[3 * MIB..4 * MIB].copy_from_slice(&noise(33, MIB));
    disk[3 * MIB + 4096..3 * MIB + 8192].copy_from_slice(&noise(34, 4096));
    assert_same(&machine.read_all(), &disk);
    let frozen = running.freeze(1, 1).await;
    assert_same(&running.content(&frozen.snapshot_id).await, &disk);
    drop(machine);
    running.stop().await;
    assert_eq!(open(&place.volume_dir(1), disk.len()).layer_count(), 1, "the layers went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_behind_its_volume_costs_no_data() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = noise(5, 4 * MIB);
    let snapshot = running.import(&disk).await;
    for n in [1, 2] {
        // The second stays when its instance ends, so that nothing opens it.
        let made = running.attach(n, &snapshot.snapshot_id, n == 1).await;
        let mut machine = Nbd::connect(&made.export_path);
        machine.write(MIB as u64, &noise(55, MIB));
    }
    running.release(2, false).await;
    running.stop().await;
    let (records, aside) = (place.data().join("records"), place.path().join("aside"));
    copy(&records, &aside);
    let mut running = place.start().await;
    for n in [1, 2] {
        running.freeze(n, n).await;
    }
    running.stop().await;
    // As if the process had ended before it recorded what the volumes lie on
    // now, and the snapshots had been undone.
    fs::remove_dir_all(&records).unwrap();
    fs::rename(&aside, &records).unwrap();

    let mut running = place.start().await;
    running.delete(&snapshot.snapshot_id).await.unwrap();
    running.collect().await;
    running.stop().await;
    let mut running = place.start().await;
    running.collect().await;
    disk[MIB..2 * MIB].copy_from_slice(&noise(55, MIB));
    for n in [1, 2] {
        let frozen = running.freeze(n, 10 + n).await;
        assert_same(&running.content(&frozen.snapshot_id).await, &disk);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_undone_while_it_is_made_stays_away() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&noise(6, 2 * MIB)).await;
    let made = running.attach(1, &snapshot.snapshot_id, true).await;
    for n in 1..=10_u64 {
        let mut machine = Nbd::connect(&made.export_path);
        machine.write(0, &noise(60 + n, MIB));
        let mut internal = running.internal.clone();
        let freezing = tokio::spawn(async move {
            internal.ensure_volume_snapshots(harness::freeze(&[(1, n)])).await
        });
        let undo = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids: vec![snap(n)] };
        running.internal.release_snapshots(undo.clone()).await.unwrap();
        // Refused or made, whichever was first; nothing else.
        if let Err(status) = freezing.await.unwrap() {
            assert_eq!(harness::reason(&status), "SNAPSHOT_NOT_FOUND");
        }
        running.internal.release_snapshots(undo).await.unwrap();
        let mut wanted = noise(6, 2 * MIB);
        wanted[..MIB].copy_from_slice(&noise(60 + n, MIB));
        assert_same(&machine.read_all(), &wanted);
    }
    let request = pb::BatchGetSnapshotsRequest { snapshot_ids: (1..=10).map(snap).collect() };
    let found = running.internal.batch_get_snapshots(request).await.unwrap().into_inner();
    assert!(found.snapshots.is_empty());
    // Ending the machine meanwhile ends it, whatever is being made of it.
    let mut internal = running.internal.clone();
    let freezing =
        tokio::spawn(
            async move { internal.ensure_volume_snapshots(harness::freeze(&[(1, 11)])).await },
        );
    assert_eq!(running.release(1, false).await, [volume(1)]);
    drop(freezing.await.unwrap());
    assert!(!place.volume_dir(1).exists());
    assert!(!Path::new(&made.export_path).exists());
    running.stop().await;
    drop(place.start().await);
    assert!(!place.volume_dir(1).exists());
}
