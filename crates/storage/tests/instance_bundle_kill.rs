//! The service is killed while it bundles: what it began it ends, and nothing else is left.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;
mod parcel;

use std::{env, fs, path::Path, process::Child, time::Duration};

use harness::{
    ANN, MIB, Place, assert_same,
    child::{announced, child},
    from, noise,
};
use parcel::{BUCKET, asking};
use tonic::transport::Channel;
use vmint_api::storage::v1::{
    self as pb, InstanceBundleState as State,
    instance_bundle_service_client::InstanceBundleServiceClient,
};

const CHILD: &str = "VMINT_STORAGE_TO_BE_KILLED_BUNDLING";
const KILLS: u64 = 16;

/// The service in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs for ever; the test below starts and kills it"]
async fn bundles_until_it_is_killed() {
    let place = env::var(CHILD).expect("run by the test below");
    let _running = announced(Path::new(&place)).await;
    std::future::pending::<()>().await;
}

async fn bundling(place: &Path) -> (Child, InstanceBundleServiceClient<Channel>) {
    let (child, channel) = child(place, CHILD, "bundles_until_it_is_killed").await;
    (child, InstanceBundleServiceClient::new(channel))
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_begun_is_whole_or_not_there() {
    let place = Place::new();
    let disk = noise(1, 12 * MIB);
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    let snapshot = running.import(&disk).await.snapshot_id;
    let request = pb::CreateVolumeRequest { size_gib: 60, ..Default::default() };
    let made = running.volumes.create_volume(from(ANN, request)).await.unwrap();
    let volume_id = made.into_inner().volume.unwrap().volume_id;
    running.stop().await;

    let mut cut = 0;
    for round in 0..KILLS {
        let (child, mut bundles) = bundling(place.path()).await;
        let prefix = format!("web-{}", round / 4);
        // The same again: the first of them began it.
        let request = pb::CreateInstanceBundleRequest {
            prefix: prefix.clone(),
            request_id: prefix,
            ..asking(&snapshot)
        };
        let begun = bundles.create_instance_bundle(from(ANN, request)).await.unwrap();
        let task_id = begun.into_inner().task.unwrap().task_id;
        tokio::time::sleep(Duration::from_millis(round * 37 % 97 * 4)).await;
        let request = pb::GetInstanceBundleTaskRequest { task_id };
        let now = bundles.get_instance_bundle_task(from(ANN, request)).await.unwrap();
        cut += usize::from(now.into_inner().task.unwrap().state() != State::Complete);
        kill(child);
    }
    println!("{KILLS} kills, {cut} of them in the middle of a bundle");
    assert!(cut > 0, "no kill met a bundle");

    // One is to end: whoever comes next takes away what is there.
    let (child, mut bundles) = bundling(place.path()).await;
    let request = pb::CreateInstanceBundleRequest {
        volume_id,
        prefix: "large".to_owned(),
        request_id: "large".to_owned(),
        ..asking("")
    };
    let begun = bundles.create_instance_bundle(from(ANN, request)).await.unwrap();
    let large = begun.into_inner().task.unwrap().task_id;
    let request =
        pb::CancelInstanceBundleTaskRequest { task_id: large.clone(), request_id: String::new() };
    bundles.cancel_instance_bundle_task(from(ANN, request)).await.unwrap();
    kill(child);

    let mut running = place.start().await;
    let ended = running.bundle_ended(ANN, &large).await;
    assert_eq!((ended.state(), ended.status_message.as_str()), (State::Failed, "cancelled"));
    let request = pb::ListInstanceBundleTasksRequest { page_size: 900, ..Default::default() };
    let tasks = running.instance_bundles.list_instance_bundle_tasks(from(ANN, request)).await;
    let mut tasks = tasks.unwrap().into_inner().tasks;
    tasks.retain(|task| task.task_id != large);
    assert_eq!(tasks.len() as u64, KILLS / 4);
    for task in tasks {
        let ended = running.bundle_ended(ANN, &task.task_id).await;
        assert_eq!(ended.state(), State::Complete, "{}", ended.status_message);
        let made = running.restored(ANN, &ended.manifest_location, "").await.unwrap();
        assert_eq!(made.new_bytes, 0, "equal bytes are stored once");
        assert_same(&running.content(&made.snapshot_id).await, &disk);
    }
    // A manifest and two parts of each, and not a file more.
    let keys = running.keys(ANN, BUCKET).await;
    assert_eq!(keys.len() as u64, KILLS / 4 * 3, "{keys:?}");
    let files = fs::read_dir(place.data().join("objects")).unwrap().count();
    assert_eq!(files, keys.len());
    running.remove_all(ANN, BUCKET).await;
    running.assert_empty(&place).await;
    assert_eq!(fs::read_dir(place.data().join("fetches")).unwrap().count(), 0);
    running.stop().await;
}
