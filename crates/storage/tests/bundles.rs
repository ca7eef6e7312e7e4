//! Images leave as bundles and come in elsewhere as the same bytes with the same root.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same,
    files::{exported, upload},
    from, image, noise, reason, saga, snap, sparse,
};
use sha2::{Digest as _, Sha256};
use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image},
    storage::v1::{self as pb, disk_source::Source},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};

const TASK: &str = "import-ami-00000000000000001";

fn device(name: &str, snapshot: &str, size_gib: i32) -> BlockDeviceMapping {
    let ebs = EbsBlockDevice {
        snapshot_id: snapshot.to_owned(),
        size_gib,
        delete_on_termination: Some(false),
        ..EbsBlockDevice::default()
    };
    BlockDeviceMapping { device_name: name.to_owned(), ebs: Some(ebs), no_device: false }
}

/// An image over two snapshots, its root not listed first, with an empty disk between.
fn over(root: &str, data: &str) -> Image {
    let mut data = device("/dev/sdb", data, 0);
    let ebs = data.ebs.as_mut().unwrap();
    (ebs.volume_type, ebs.iops) = ("io2".to_owned(), 5000);
    let mut scratch = device("/dev/sdc", "", 7);
    let ebs = scratch.ebs.as_mut().unwrap();
    (ebs.volume_type, ebs.throughput_mibps) = ("gp3".to_owned(), 250);
    ebs.delete_on_termination = Some(true);
    Image {
        image_id: image(1),
        name: "web".to_owned(),
        description: "two disks".to_owned(),
        architecture: Architecture::X8664.into(),
        boot_mode: BootMode::Uefi.into(),
        root_device_name: "/dev/sda1".to_owned(),
        ena_support: true,
        block_device_mappings: vec![data, scratch, device("/dev/sda1", root, 30)],
        ..Image::default()
    }
}

/// Saves Ann's or Bob's image; the task at its end and the file.
async fn save(running: &mut Running, account: &str, image: Image) -> (pb::ExportTask, Vec<u8>) {
    let request = pb::StartBundleExportRequest {
        account_id: account.to_owned(),
        image: Some(image),
        request_id: "save".to_owned(),
        format: String::new(),
    };
    let begun = running.bundles.start_bundle_export(request.clone()).await.unwrap();
    let task_id = begun.into_inner().task.unwrap().task_id;
    let again = running.bundles.start_bundle_export(request).await.unwrap();
    assert_eq!(again.into_inner().task.unwrap().task_id, task_id);
    exported(running, account, task_id).await
}

/// Loads both disks of an upload as the gateway would, into snapshots 11 and 12 for image 2.
fn loading(account: &str, upload: &str) -> pb::EnsureImportRequest {
    let disk = |n: i32| pb::NewImportDisk {
        source: Some(pb::DiskSource {
            source: Some(Source::UploadId(upload.to_owned())),
            format: "bundle".to_owned(),
            disk_index: Some(n),
        }),
        device_name: format!("/dev/{n}"),
        snapshot_id: snap(11 + n as u64),
    };
    pb::EnsureImportRequest {
        saga: saga(1),
        task_id: TASK.to_owned(),
        account_id: account.to_owned(),
        image_id: image(2),
        description: String::new(),
        disks: vec![disk(0), disk(1)],
        ..Default::default()
    }
}

/// Follows the import to the end of its disks, or of itself.
async fn loaded(running: &mut Running, request: pb::EnsureImportRequest) -> pb::ImportTask {
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

async fn snapshot(running: &mut Running, account: &str, id: &str) -> pb::Snapshot {
    let request = from(account, pb::GetSnapshotRequest { snapshot_id: id.to_owned() });
    running.users.get_snapshot(request).await.unwrap().into_inner().snapshot.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_elsewhere_and_is_the_same_file_there() {
    let (here, there) = (Place::new(), Place::new());
    let mut running = here.start().await;
    let (root, data) = (sparse(1, 40), noise(2, 3 * MIB));
    let first = running.import(&root).await.snapshot_id;
    let second = running.import(&data).await.snapshot_id;
    let (task, file) = save(&mut running, ANN, over(&first, &second)).await;
    assert_eq!((task.snapshot_id.as_str(), task.format.as_str()), (first.as_str(), "bundle"));
    assert_eq!((task.image_id, task.content_roots.len()), (image(1), 2));
    assert!(file.len() < 6 * MIB, "{} bytes for 5 MiB of data", file.len());
    running.stop().await;

    // Bob's chunks have other names than Ann's, so all of it must come.
    let mut running = there.start().await;
    let id = upload(&mut running, BOB, &file).await;
    let describe = |account: &str| pb::DescribeBundleRequest {
        account_id: account.to_owned(),
        upload_id: id.clone(),
        object: None,
    };
    let found = running.bundles.describe_bundle(describe(BOB)).await.unwrap().into_inner();
    assert_eq!(found.device_names, ["/dev/sda1", "/dev/sdb"]);
    let mut told = found.image.unwrap();
    // All of it but what is of the place it comes from.
    assert_eq!(told, Image { image_id: String::new(), ..over("", "") });
    let refused = running.bundles.describe_bundle(describe(ANN)).await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_NOT_FOUND");
    let done = loaded(&mut running, loading(BOB, &id)).await;
    let roots: Vec<_> = done.disks.iter().map(|disk| disk.content_root.clone()).collect();
    assert_eq!(roots, task.content_roots, "{}", done.status_message);
    assert!(done.disks.iter().all(|disk| disk.detected_format == "bundle"));
    assert_same(&running.content(&snap(11)).await, &root);
    assert_same(&running.content(&snap(12)).await, &data);
    let new = snapshot(&mut running, BOB, &snap(12)).await.new_bytes;
    assert_eq!(new as usize, data.len());
    // It is used up.
    assert_eq!(std::fs::read_dir(there.data().join("uploads")).unwrap().count(), 0);
    let refused = running.bundles.describe_bundle(describe(BOB)).await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_NOT_FOUND");

    // Saved again it is the same, byte for byte.
    for mapping in &mut told.block_device_mappings {
        let ebs = mapping.ebs.as_mut().unwrap();
        match mapping.device_name.as_str() {
            "/dev/sda1" => ebs.snapshot_id = snap(11),
            "/dev/sdb" => ebs.snapshot_id = snap(12),
            _ => {}
        }
    }
    told.image_id = image(2);
    let (again, same) = save(&mut running, BOB, told).await;
    assert_same(&same, &file);
    assert_eq!(again.content_roots, task.content_roots);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_takes_room() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = noise(3, 8 * MIB);
    let snapshot_id = running.import(&disk).await.snapshot_id;
    let (_, file) = save(&mut running, ANN, over(&snapshot_id, &snapshot_id)).await;
    // The same chunks for both disks are in it once.
    assert!(file.len() < 9 * MIB, "{}", file.len());
    running.delete(&snapshot_id).await.unwrap();
    disk[5 * MIB..5 * MIB + 100].fill(0xee);
    running.import(&disk).await;
    running.collect().await;

    let id = upload(&mut running, ANN, &file).await;
    let done = loaded(&mut running, loading(ANN, &id)).await;
    assert!(done.disks.iter().all(|disk| !disk.content_root.is_empty()), "{done:?}");
    let new = snapshot(&mut running, ANN, &snap(11)).await.new_bytes as usize;
    assert!(new > 0 && new <= 512 << 10, "{new} bytes were new");
    assert_eq!(snapshot(&mut running, ANN, &snap(12)).await.new_bytes, 0);
    running.stop().await;
}

/// Gives a blob other bytes of the same length, and everything that names it the name it then has.
fn rewrite(file: &mut [u8], at: usize, change: &mut dyn FnMut(&mut [u8])) {
    let blobs = b"blobs/sha256/";
    let start = (0..=at / 512).rev().map(|n| n * 512).find(|n| file[*n..].starts_with(blobs));
    let start = start.unwrap();
    let size = std::str::from_utf8(&file[start + 124..start + 135]).unwrap();
    let size = usize::from_str_radix(size, 8).unwrap();
    let old = file[start + blobs.len()..start + blobs.len() + 64].to_vec();
    let blob = &mut file[start + 512..start + 512 + size];
    change(blob);
    let new = hex::encode(Sha256::digest(&*blob)).into_bytes();
    file[start + blobs.len()..start + blobs.len() + 64].copy_from_slice(&new);
    let header = &mut file[start..start + 512];
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    // The text that names it; a blob of its own unless it is the index.
    let naming = file.windows(64).position(|window| window == old);
    let naming = naming.expect("each blob is named");
    if file[..naming].windows(10).any(|window| window == b"index.json") {
        file[naming..naming + 64].copy_from_slice(&new);
    } else {
        rewrite(file, naming, &mut |text| {
            let at = text.windows(64).position(|window| window == old).unwrap();
            text[at..at + 64].copy_from_slice(&new);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_lies_of_its_content_leaves_nothing() {
    let place = Place::new();
    let mut running = place.start().await;
    let (root, data) = (sparse(4, 20), noise(5, 2 * MIB));
    let first = running.import(&root).await.snapshot_id;
    let second = running.import(&data).await.snapshot_id;
    let (task, honest) = save(&mut running, ANN, over(&first, &second)).await;
    running.delete(&first).await.unwrap();
    running.delete(&second).await.unwrap();
    let before = running.collect().await;

    // Another root for the second disk, with every digest right.
    let mut lying = honest.clone();
    let named = task.content_roots[1].as_bytes();
    let at = lying.windows(64).position(|window| window == named).unwrap();
    rewrite(&mut lying, at, &mut |text| {
        let at = text.windows(64).position(|window| window == named).unwrap();
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
    });
    let id = upload(&mut running, BOB, &lying).await;
    let failed = loaded(&mut running, loading(BOB, &id)).await;
    assert_eq!(failed.failure_reason, "CHECKSUM_MISMATCH", "{}", failed.status_message);
    assert!(failed.status_message.contains(&task.content_roots[1]), "{}", failed.status_message);
    let release = pb::ReleaseImportRequest {
        saga: saga(1),
        task_id: TASK.to_owned(),
        reason: "it failed".to_owned(),
    };
    running.transfer_internal.release_import(release).await.unwrap();
    for n in [11, 12] {
        let request = from(BOB, pb::GetSnapshotRequest { snapshot_id: snap(n) });
        let refused = running.users.get_snapshot(request).await.unwrap_err();
        assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    }
    // The sender may look at it, mend or delete it.
    let delete = pb::DeleteUploadRequest { upload_id: id, request_id: String::new() };
    running.transfer.delete_upload(from(BOB, delete)).await.unwrap();
    assert_eq!(running.collect().await.chunks, before.chunks);

    // Bytes of a chunk, without the digests.
    let mut torn = honest;
    torn[4 * 512] ^= 1;
    let id = upload(&mut running, BOB, &torn).await;
    let request = pb::EnsureImportRequest { task_id: TASK.replace('1', "2"), ..loading(BOB, &id) };
    let failed = loaded(&mut running, request).await;
    assert_eq!(failed.failure_reason, "IMAGE_DAMAGED", "{}", failed.status_message);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_encrypted_says_so_and_names_its_key_to_whom_it_belongs() {
    let place = Place::new();
    let mut running = place.start().await;
    let open = running.import(&noise(8, MIB)).await.snapshot_id;
    let request = pb::CopySnapshotRequest {
        source_snapshot_id: open.clone(),
        encrypted: true,
        ..Default::default()
    };
    let copied = running.snapshots.copy_snapshot(from(ANN, request)).await.unwrap().into_inner();
    let sealed = copied.snapshot.unwrap().snapshot_id;
    let kms_key_id = running.settled(ANN, &sealed).await.kms_key_id;
    assert!(kms_key_id.starts_with("kms-"), "{kms_key_id}");
    let (task, file) = save(&mut running, ANN, over(&sealed, &open)).await;
    let mut seen = Vec::new();
    for account in [ANN, BOB] {
        let upload_id = upload(&mut running, account, &file).await;
        let request =
            pb::DescribeBundleRequest { account_id: account.to_owned(), upload_id, object: None };
        let found = running.bundles.describe_bundle(request).await.unwrap().into_inner();
        let disks = found.image.unwrap().block_device_mappings.into_iter();
        seen.push(disks.map(|disk| disk.ebs.unwrap()).collect::<Vec<_>>());
    }
    for disks in &seen {
        assert_eq!(
            disks.iter().map(|disk| disk.encrypted).collect::<Vec<_>>(),
            [false, false, true]
        );
    }
    assert_eq!(
        (seen[0][2].kms_key_id.as_str(), seen[1][2].kms_key_id.as_str()),
        (&*kms_key_id, "")
    );
    // The bytes are called the same under any key, and none.
    let id = upload(&mut running, ANN, &file).await;
    let loading = pb::EnsureImportRequest { encrypted: true, kms_key_id, ..loading(ANN, &id) };
    let done = loaded(&mut running, loading).await;
    let roots: Vec<_> = done.disks.iter().map(|disk| disk.content_root.clone()).collect();
    assert_eq!((roots, done.encrypted), (task.content_roots, true), "{}", done.status_message);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ones_own_or_is_sold_is_not_saved() {
    let place = Place::new();
    let mut running = place.start().await;
    let mine = running.import(&noise(6, MIB)).await.snapshot_id;
    let mut start = async |account: &str, image: Image| {
        let request = pb::StartBundleExportRequest {
            account_id: account.to_owned(),
            image: Some(image),
            request_id: String::new(),
            format: String::new(),
        };
        reason(&running.bundles.start_bundle_export(request).await.unwrap_err())
    };
    assert_eq!(start(BOB, over(&mine, &mine)).await, "SNAPSHOT_NOT_FOUND");
    let empty = Image { image_id: image(1), ..Image::default() };
    assert_eq!(start(ANN, empty).await, "NOT_EXPORTABLE");
    let request = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: vec![mine.clone()],
        product_codes: vec!["abcdefghijklmnopqrstuvwxy".to_owned()],
    };
    running.internal.ensure_snapshot_product_codes(request).await.unwrap();
    let mut bundles = running.bundles.clone();
    let request = pb::StartBundleExportRequest {
        account_id: ANN.to_owned(),
        image: Some(over(&mine, &mine)),
        request_id: String::new(),
        format: String::new(),
    };
    let refused = bundles.start_bundle_export(request).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_EXPORTABLE");
    drop(bundles);
    running.stop().await;
}
