//! A package of several disks becomes as many snapshots, and an image of several disks a package.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same,
    files::{exported, upload},
    from, image, noise, reason, saga, snap,
};
use vmint_api::{
    catalog::v1::Image,
    storage::v1::{self as pb, disk_source::Source},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_images::{
    Limits, Opener, disks,
    write::{self, Export, Machine},
};

const TASK: &str = "import-ami-00000000000000001";

fn package(all: &[Vec<u8>]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let exports = all.iter().map(|source| Export { source, id: [7; 16], watch: &|_| true });
    let exports: Vec<_> = exports.collect();
    let machine = Machine { name: "web", cpus: 2, memory_mib: 512 };
    let mut out = Vec::new();
    write::ova(&exports, &machine, dir.path(), &mut out).unwrap();
    out
}

fn source(upload: String) -> pb::DiskSource {
    pb::DiskSource { source: Some(Source::UploadId(upload)), ..Default::default() }
}

async fn count(running: &mut Running, account: &str, source: &pb::DiskSource) -> i32 {
    let request =
        pb::CountDisksRequest { account_id: account.to_owned(), source: Some(source.clone()) };
    running.transfer_internal.count_disks(request).await.unwrap().into_inner().disks
}

/// Imports each disk into a snapshot from number 11 on; the task at its end.
async fn imported(running: &mut Running, source: &pb::DiskSource, count: i32) -> pb::ImportTask {
    let disk = |n: i32| pb::NewImportDisk {
        source: Some(pb::DiskSource { disk_index: Some(n), ..source.clone() }),
        device_name: format!("/dev/{n}"),
        snapshot_id: snap(11 + n as u64),
    };
    let request = pb::EnsureImportRequest {
        saga: saga(1),
        task_id: TASK.to_owned(),
        account_id: ANN.to_owned(),
        image_id: image(2),
        disks: (0..count).map(disk).collect(),
        ..Default::default()
    };
    for _ in 0..3000 {
        let ensured = running.transfer_internal.ensure_import(request.clone()).await.unwrap();
        let pb::EnsureImportResponse { task, converted } = ensured.into_inner();
        let task = task.unwrap();
        if converted || task.state() != pb::TransferState::Active {
            return task;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the import goes on for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_of_a_package_come_in_and_go_out_together() {
    let place = Place::new();
    let mut running = place.start().await;
    let all = [noise(1, 2 * MIB), noise(2, MIB), vec![0; 4 * MIB]];
    let source = source(upload(&mut running, ANN, &package(&all)).await);
    assert_eq!(count(&mut running, ANN, &source).await, 3);
    let request =
        pb::CountDisksRequest { account_id: BOB.to_owned(), source: Some(source.clone()) };
    let refused = running.transfer_internal.count_disks(request).await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_NOT_FOUND");
    let task = imported(&mut running, &source, 3).await;
    assert_eq!(task.disks.len(), 3, "{}", task.status_message);
    for (n, disk) in all.iter().enumerate() {
        assert_same(&running.content(&snap(11 + n as u64)).await, disk);
    }
    assert_eq!(std::fs::read_dir(place.data().join("uploads")).unwrap().count(), 0);

    // Out again: the root first, whatever the order of the mappings.
    let device = |name: &str, snapshot: &str| BlockDeviceMapping {
        device_name: name.to_owned(),
        ebs: Some(EbsBlockDevice { snapshot_id: snapshot.to_owned(), ..Default::default() }),
        no_device: false,
    };
    let request = pb::StartBundleExportRequest {
        account_id: ANN.to_owned(),
        image: Some(Image {
            image_id: image(2),
            root_device_name: "/dev/sda1".to_owned(),
            block_device_mappings: vec![
                device("/dev/sdb", &snap(12)),
                device("/dev/sda1", &snap(11)),
                device("/dev/sdc", &snap(13)),
            ],
            ..Image::default()
        }),
        request_id: "ova".to_owned(),
        format: "ova".to_owned(),
    };
    let odd = pb::StartBundleExportRequest { format: "raw".to_owned(), ..request.clone() };
    let refused = running.bundles.start_bundle_export(odd).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_EXPORTABLE");
    let begun = running.bundles.start_bundle_export(request.clone()).await.unwrap();
    let task_id = begun.into_inner().task.unwrap().task_id;
    let other = pb::StartBundleExportRequest { format: String::new(), ..request };
    let refused = running.bundles.start_bundle_export(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let (task, file) = exported(&mut running, ANN, task_id).await;
    assert_eq!((task.format.as_str(), task.image_id), ("ova", image(2)));
    assert_eq!(disks(&file, &Limits::default()).unwrap(), 3);
    for (n, wanted) in all.iter().enumerate() {
        let disk = Opener::new(&Limits::default()).disk(n).open(file.clone()).unwrap();
        let mut bytes = vec![0; disk.size_bytes() as usize];
        disk.read_at(0, &mut bytes).unwrap();
        assert_same(&bytes, wanted);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_lies_of_its_last_disk_makes_no_image() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut file = package(&[noise(3, MIB), noise(4, MIB)]);
    let at = file.len() - 8192;
    file[at] ^= 1;
    let source = source(upload(&mut running, ANN, &file).await);
    assert_eq!(count(&mut running, ANN, &source).await, 2);
    let task = imported(&mut running, &source, 2).await;
    assert_eq!(task.failure_reason, "IMAGE_DAMAGED", "{}", task.status_message);
    let release = pb::ReleaseImportRequest {
        saga: saga(1),
        task_id: TASK.to_owned(),
        reason: "it failed".to_owned(),
    };
    running.transfer_internal.release_import(release).await.unwrap();
    let request = pb::ListSnapshotsRequest { page_size: 900, ..Default::default() };
    let left = running.users.list_snapshots(from(ANN, request)).await.unwrap().into_inner();
    assert_eq!(left.snapshots, []);
    running.stop().await;
}
