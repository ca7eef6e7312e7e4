//! Storage and launcher die a hundred times while disks come in, are frozen, copied and
//! collected and machines are launched: nothing that was answered is lost, and nothing is
//! left that nobody knows of. Once with blocks on the disk, and some times with blocks in a
//! bucket.
//!
//! Proves: acknowledged means durable; a failed operation leaves nothing behind.

use std::{collections::BTreeSet, fs, time::Duration};

use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{
        CopyImageRequest, CreateImageRequest, DeregisterImageRequest, ListSagasRequest, SagaState,
        TerminateInstancesRequest,
    },
    launcher::v1::InstanceState,
    storage::v1::{
        CheckReport, CheckStorageRequest, DeleteSnapshotRequest, DescribeScrubRequest, ScrubState,
        StartScrubRequest, check_storage_response::Holds,
        upkeep_service_client::UpkeepServiceClient,
    },
};
use vmint_tests::{Account, SERVICES, SOON, Setting, Stack, new_request_id, until};

/// An S3 server, installed where the block store's own tests have it.
#[path = "../../crates/blocks/tests/s3/server.rs"]
mod s3;

/// What an orphan may last.
const SWEPT: Duration = Duration::from_secs(60);

/// What was answered.
enum Did {
    Snapshot(String),
    Image(String),
    Instance(String),
    /// An image or instance.
    Gone(String),
}

/// What there must be, what must not, and what may be either.
#[derive(Debug, Default)]
struct Book {
    snapshots: BTreeSet<String>,
    images: BTreeSet<String>,
    instances: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// Two MiB that no other seed has.
fn disk(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; 2 << 20];
    for part in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        part.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

async fn import(maker: Account, seed: u64) -> Result<Did, Status> {
    Ok(Did::Snapshot(maker.import("raw", 2 << 20, &disk(seed)).await?.snapshot_id))
}

async fn create(maker: Account, instance_id: String, name: String) -> Result<Did, Status> {
    let request_id = new_request_id();
    let request = CreateImageRequest { instance_id, name, request_id, ..Default::default() };
    let made = maker.gateway().create_image(request).await?.into_inner().image.unwrap();
    Ok(Did::Image(made.image_id))
}

async fn copy(maker: Account, source_image_id: String, name: String) -> Result<Did, Status> {
    let request_id = new_request_id();
    let request = CopyImageRequest { source_image_id, name, request_id, ..Default::default() };
    let made = maker.gateway().copy_image(request).await?.into_inner().image.unwrap();
    Ok(Did::Image(made.image_id))
}

async fn launch(maker: Account, image: String, name: String) -> Result<Did, Status> {
    let request = maker.launching(&image, &name);
    let made = maker.gateway().run_instances(request).await?.into_inner().instances;
    Ok(Did::Instance(made[0].instance_id.clone()))
}

async fn deregister(maker: Account, image_id: String) -> Result<Did, Status> {
    let request = DeregisterImageRequest {
        image_id: image_id.clone(),
        delete_snapshots: true,
        request_id: new_request_id(),
        dry_run: false,
    };
    maker.gateway().deregister_image(request).await?;
    Ok(Did::Gone(image_id))
}

async fn terminate(maker: Account, instance: String) -> Result<Did, Status> {
    let instance_ids = vec![instance.clone()];
    let request = TerminateInstancesRequest { instance_ids, request_id: new_request_id() };
    maker.gateway().terminate_instances(request).await?;
    Ok(Did::Gone(instance))
}

async fn check(maker: &Account) -> CheckReport {
    let mut upkeep = UpkeepServiceClient::new(maker.channel());
    let mut answers = upkeep.check_storage(CheckStorageRequest {}).await.unwrap().into_inner();
    while let Some(answer) = answers.next().await {
        if let Some(Holds::Report(report)) = answer.unwrap().holds {
            return report;
        }
    }
    panic!("a check ended without a report");
}

/// The services as a service manager would run them, which collect every second and keep
/// nothing in the trash; `more` is put to storage's settings.
async fn start(setting: Setting, more: &str) -> Stack {
    let mut stack = Stack::start_with(setting).await;
    // `up` would wait longer and longer before it starts what dies so often.
    stack.down().await;
    let settings = stack.data().join("settings").join("storage.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some((name @ ("collect_every_seconds" | "trash_seconds"), _)) => {
            format!("{name} = {}\n", u8::from(name.starts_with("collect")))
        }
        _ => format!("{line}\n"),
    });
    fs::write(&settings, lines.collect::<String>() + more).unwrap();
    for service in ["permissions", "catalog", "marketplace", "storage", "launcher", "gateway"] {
        stack.serve(service).await;
    }
    assert_eq!(SERVICES.len(), 6);
    stack
}

/// Kills so often, and gives everything back at the end.
async fn survives(stack: &mut Stack, kills: u64) {
    let maker = stack.account("maker");
    let root = maker.import("raw", 2 << 20, &disk(0)).await.unwrap().snapshot_id;
    let base = maker.register("base", &root).await.unwrap().image_id;
    let machine = maker.launch(&base, "base", "").await.instance_id;
    let mut book = Book::default();
    book.images.insert(base.clone());
    book.instances.insert(machine.clone());
    let mut cut = 0;
    for round in 1..=kills {
        let (who, name) = (maker.clone(), format!("round-{round}"));
        let spare = |all: &BTreeSet<String>, not: &str| all.iter().rfind(|id| *id != not).cloned();
        let (image, instance) = (spare(&book.images, &base), spare(&book.instances, &machine));
        let work = match (round % 7, image, instance) {
            (1 | 4, ..) => tokio::spawn(import(who, round)),
            (2, ..) => tokio::spawn(create(who, machine.clone(), name)),
            (3, ..) => tokio::spawn(copy(who, base.clone(), name)),
            (5, Some(image), _) => {
                book.images.remove(&image);
                tokio::spawn(deregister(who, image))
            }
            (6, _, Some(instance)) => {
                book.instances.remove(&instance);
                tokio::spawn(terminate(who, instance))
            }
            _ => tokio::spawn(launch(who, base.clone(), name)),
        };
        // From at once to after the end, spread evenly.
        tokio::time::sleep(Duration::from_millis(round.wrapping_mul(37) % 97)).await;
        cut += u64::from(!work.is_finished());
        let service = if round % 2 == 0 { "storage" } else { "launcher" };
        stack.kill9(service);
        stack.serve(service).await;
        match work.await.unwrap() {
            Ok(Did::Snapshot(id)) => drop(book.snapshots.insert(id)),
            Ok(Did::Image(id)) => drop(book.images.insert(id)),
            Ok(Did::Instance(id)) => drop(book.instances.insert(id)),
            Ok(Did::Gone(id)) => drop(book.gone.insert(id)),
            // What it was to make is made as a whole or not at all; the end tells.
            Err(status) => {
                let known = [Code::Unavailable, Code::Unknown, Code::Aborted, Code::Internal]
                    .contains(&status.code())
                    || status.code() == Code::DeadlineExceeded;
                assert!(known, "refused, and not by the kill: {status:?}");
            }
        }
    }
    println!("{kills} kills, {cut} of them in the middle of a call");
    assert!(cut > kills / 10, "hardly any kill met a call: {cut}");

    // All that was answered comes about, and what was begun comes to its end.
    for image in &book.images {
        maker.image_made(image).await;
    }
    let snapshots: BTreeSet<_> =
        maker.snapshots().await.into_iter().map(|found| found.snapshot_id).collect();
    let lost: Vec<_> = book.snapshots.difference(&snapshots).collect();
    assert!(lost.is_empty(), "answered and lost: {lost:?}");
    until("no orphans", SWEPT, async || {
        let sagas = maker.gateway().list_sagas(ListSagasRequest {}).await.unwrap().into_inner();
        let over = |state| matches!(state, SagaState::Done | SagaState::Undone);
        let living = maker.living().await;
        let ids: BTreeSet<_> = living.iter().map(|found| found.instance_id.clone()).collect();
        assert!(
            book.instances.is_subset(&ids),
            "answered and lost: {:?} of {ids:?}",
            book.instances
        );
        let images = maker.images().await;
        let back =
            |id: &String| ids.contains(id) || images.iter().any(|image| image.image_id == *id);
        let settled = sagas.sagas.iter().all(|saga| over(saga.state()))
            && living.iter().all(|found| found.state() == InstanceState::Running)
            && images.iter().all(|image| image.state() == ImageState::Available)
            && !book.gone.iter().any(back);
        let volumes = maker.volumes().await;
        let strays = volumes.iter().any(|volume| !ids.contains(&volume.instance_id));
        let known: BTreeSet<_> = images.iter().map(|image| image.image_id.clone()).collect();
        let snapshots = maker.snapshots().await;
        let dangling =
            snapshots.iter().flat_map(|snapshot| &snapshot.image_ids).any(|id| !known.contains(id));
        let report = check(&maker).await;
        assert!(report.sound, "{report:?}");
        (settled && !strays && !dangling && report.orphan_volume_ids.is_empty()).then_some(())
    })
    .await;
    // Every byte is what its name says.
    let mut upkeep = UpkeepServiceClient::new(maker.channel());
    let request = StartScrubRequest { bytes_per_second: 1 << 40, request_id: new_request_id() };
    upkeep.start_scrub(request).await.unwrap();
    let scrub = until("the scrub's end", SOON, async || {
        let now = upkeep.describe_scrub(DescribeScrubRequest {}).await.unwrap().into_inner();
        now.scrub.filter(|scrub| scrub.state() == ScrubState::Completed)
    })
    .await;
    assert_eq!((scrub.damaged_chunks, scrub.damaged_packs), (0, 0));

    // With everything given back nothing is left, not a chunk.
    let living = maker.living().await.into_iter().map(|found| found.instance_id);
    maker.terminate(&living.collect::<Vec<_>>()).await;
    for image in maker.images().await {
        deregister(maker.clone(), image.image_id).await.unwrap();
    }
    for snapshot in maker.snapshots().await {
        let snapshot_id = snapshot.snapshot_id;
        let request =
            DeleteSnapshotRequest { snapshot_id, request_id: new_request_id(), dry_run: false };
        maker.storage().delete_snapshot(request).await.unwrap();
    }
    until("nothing is left", SWEPT, async || {
        let report = check(&maker).await;
        let volumes = maker.volumes().await;
        (volumes.is_empty() && report.chunks == 0 && report.disks == 0).then_some(())
    })
    .await;
    let volumes = stack.data().join("storage").join("volumes");
    let left = fs::read_dir(volumes).into_iter().flatten().count();
    assert_eq!(left, 0, "directories of volumes are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_of_storage_and_launcher_lose_nothing_and_leave_nothing() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let mut stack = start(setting, "").await;
    survives(&mut stack, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_with_blocks_in_a_bucket_lose_nothing_and_leave_no_object() {
    // That it is not run for want of a server is in the log of skipped tests.
    let Some(server) = tokio::task::spawn_blocking(s3::server).await.unwrap() else { return };
    let setting = Setting {
        simulated: true,
        env: vec![("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")],
        ..Setting::default()
    };
    let bucket = format!(
        "\n[bucket]\nname = \"packs\"\nregion = \"us-east-1\"\nendpoint = \"{}\"\n\
         prefix = \"killed\"\ncache_bytes = 16777216\ndeadline_seconds = 20\n",
        server.url
    );
    let mut stack = start(setting, &bucket).await;
    survives(&mut stack, 21).await;
    // Nor any pack or mark of one, there or on its way there.
    let spool = stack.data().join("storage").join("blocks").join("spool");
    until("no objects", SWEPT, async || {
        let objects = tokio::task::spawn_blocking(|| server.objects("killed/")).await.unwrap();
        assert!(objects.contains(&"killed/owner".to_owned()), "{objects:?}");
        let spooled = fs::read_dir(&spool).unwrap().count();
        (objects.len() == 1 && spooled == 0).then_some(())
    })
    .await;
}
