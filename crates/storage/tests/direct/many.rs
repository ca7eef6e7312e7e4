//! Encrypted snapshots, many writers, and blocks that never come.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_an_encrypted_snapshot_are_never_plain_on_disk() {
    let place = Place::new();
    let mut running = place.start().await;
    let request =
        pb::StartSnapshotRequest { volume_size_gib: 1, encrypted: true, ..Default::default() };
    let started = running.direct.start_snapshot(from(ANN, request)).await.unwrap().into_inner();
    let id = started.snapshot.unwrap().snapshot_id;
    let canary = b"a word that must not be seen on any disk".repeat(BLOCK / 40 + 1);
    put(&mut running, &id, block(3, &canary[..BLOCK])).await.unwrap();
    running.stop().await;
    let file = place.data().join("sent").join(format!("{id}.blocks"));
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() >= BLOCK);
    assert!(!bytes.windows(20).any(|window| window == &canary[..20]));
    let digest = sum(&canary[..BLOCK]);
    assert!(!bytes.windows(32).any(|window| window == &digest[..]));

    let mut running = place.start().await;
    let all = sum(&digest);
    let whole = complete(&mut running, &id, 1, all).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    assert!(whole.encrypted);
    let listed = blocks(&mut running, ANN, &id).await.unwrap();
    let read = get(&mut running, ANN, &id, 3, &listed[0].block_token).await.unwrap();
    assert_same(&read, &canary[..BLOCK]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_all_get_in() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = start(&mut running, "", "").await;
    let mut going = Vec::new();
    for n in 0..64 {
        let (mut direct, id) = (running.direct.clone(), id.clone());
        going.push(tokio::spawn(async move {
            let request = pb::PutSnapshotBlockRequest {
                snapshot_id: id,
                block: Some(block(n, &noise(n as u64 + 1, BLOCK))),
                ..Default::default()
            };
            direct.put_snapshot_block(from(ANN, request)).await
        }));
    }
    // Two different blocks in one place: one at least gets in, and whoever is
    // refused is told why.
    for seed in [900, 901] {
        let (mut direct, id) = (running.direct.clone(), id.clone());
        going.push(tokio::spawn(async move {
            let request = pb::PutSnapshotBlockRequest {
                snapshot_id: id,
                block: Some(block(100, &noise(seed, BLOCK))),
                ..Default::default()
            };
            direct.put_snapshot_block(from(ANN, request)).await
        }));
    }
    let mut refused = 0;
    for one in going {
        if let Err(status) = one.await.unwrap() {
            assert_eq!(reason(&status), "CONFLICTING_BLOCK_UPDATE");
            refused += 1;
        }
    }
    assert!(refused <= 1, "{refused}");
    let whole = complete(&mut running, &id, 65, Vec::new()).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_gets_no_blocks_is_given_up() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = start(&mut running, "", "").await;
    put(&mut running, &id, block(0, &noise(1, BLOCK))).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = now.as_millis() as u64;
    assert_eq!(running.storage.expire_sent(now + 59 * 60_000).await.unwrap(), 0);
    assert_eq!(running.storage.expire_sent(now + 61 * 60_000).await.unwrap(), 1);
    let ended = running.settled(ANN, &id).await;
    assert_eq!(ended.state(), pb::SnapshotState::Error);
    assert!(ended.state_reason.contains("60 minutes"), "{}", ended.state_reason);
    let refused = put(&mut running, &id, block(1, &noise(1, BLOCK))).await.unwrap_err();
    assert_eq!(reason(&refused), "WRITE_REQUEST_TIMEOUT");
    assert!(std::fs::read_dir(place.data().join("sent")).unwrap().next().is_none());
    running.delete(&id).await.unwrap();
    running.stop().await;
}
