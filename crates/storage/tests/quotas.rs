//! What is on its way in counts against the account's quota, however many come at once.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{ANN, BOB, MIB, Place, Running, from, header, noise, piece, pieces, reason};
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};
use vmint_api::storage::v1 as pb;
use vmint_rpc::Fault;
use vmint_storage::Quota;

type Transfer = pb::transfer_service_client::TransferServiceClient<Channel>;

const EACH: usize = 2 * MIB;

async fn start(mut transfer: Transfer, account: &str, n: u64) -> Result<String, Status> {
    let request = pb::StartUploadRequest {
        file_bytes: EACH as i64,
        request_id: format!("{account} {n}"),
        ..Default::default()
    };
    let made = transfer.start_upload(from(account, request)).await?.into_inner();
    Ok(made.upload.unwrap().upload_id)
}

async fn usage(running: &mut Running, account: &str) -> pb::GetUsageResponse {
    let request = from(account, pb::GetUsageRequest::default());
    running.users.get_usage(request).await.unwrap().into_inner()
}

fn refused(status: &Status) {
    assert_eq!(reason(status), "QUOTA_EXCEEDED");
    let seen = Fault::from_status(status);
    assert_eq!(seen.metadata["quota"], "bytes of uploads");
    assert!(seen.hint.is_some() && seen.message.contains("delete some"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_take_their_room_when_they_begin_and_give_it_back() {
    let place = Place::new();
    let quota = Quota { upload_bytes: 5 * EACH as u64 + 9, ..Quota::default() };
    let mut running = place.start_with(quota).await;
    let mut starts = JoinSet::new();
    for n in 0..12 {
        starts.spawn(start(running.transfer.clone(), ANN, n));
    }
    let mut begun = Vec::new();
    while let Some(start) = starts.join_next().await {
        match start.unwrap() {
            Ok(id) => begun.push(id),
            Err(status) => refused(&status),
        }
    }
    assert_eq!(begun.len(), 5);
    let seen = usage(&mut running, ANN).await;
    assert_eq!(seen.upload_bytes, 5 * EACH as i64);
    assert_eq!(seen.quota.unwrap().upload_bytes, 5 * EACH as i64 + 9);
    assert_eq!(usage(&mut running, BOB).await.upload_bytes, 0);
    start(running.transfer.clone(), BOB, 0).await.unwrap();
    // A file in one go takes room too.
    let disk = noise(1, EACH);
    let parts = pieces(header("raw", EACH), &disk);
    refused(&running.send(ANN, parts.clone()).await.unwrap_err());
    running.stop().await;

    // It is still taken after a restart, until one is given up.
    let mut running = place.start_with(quota).await;
    refused(&start(running.transfer.clone(), ANN, 100).await.unwrap_err());
    let request =
        pb::DeleteUploadRequest { upload_id: begun[0].clone(), request_id: String::new() };
    running.transfer.delete_upload(from(ANN, request)).await.unwrap();
    running.send(ANN, parts).await.unwrap();
    // While a file comes, its room is taken; at the end it is given back.
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let head = harness::head(header("raw", EACH));
    send.send(head).await.unwrap();
    send.send(piece(0, &disk[..4096])).await.unwrap();
    let mut users = running.users.clone();
    let coming = tokio_stream::wrappers::ReceiverStream::new(receive);
    let coming = tokio::spawn(async move { users.import_snapshot(from(ANN, coming)).await });
    while usage(&mut running, ANN).await.upload_bytes < 5 * EACH as i64 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    refused(&start(running.transfer.clone(), ANN, 101).await.unwrap_err());
    drop(send);
    coming.await.unwrap().unwrap();
    assert_eq!(usage(&mut running, ANN).await.upload_bytes, 4 * EACH as i64);
    start(running.transfer.clone(), ANN, 102).await.unwrap();
    running.stop().await;
}
