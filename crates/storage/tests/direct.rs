//! Snapshots written and read block by block.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

#[path = "direct/many.rs"]
mod many;

use harness::{ANN, BOB, MIB, Place, Running, assert_same, from, noise, reason, sparse};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use vmint_api::storage::v1 as pb;

const BLOCK: usize = 512 << 10;
const GIB: usize = 1 << 30;

fn sum(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn block(index: i32, content: &[u8]) -> pb::SnapshotBlock {
    pb::SnapshotBlock {
        block_index: index,
        content: content.to_vec().into(),
        checksum: sum(content).into(),
    }
}

async fn start(running: &mut Running, parent: &str, request_id: &str) -> String {
    let request = pb::StartSnapshotRequest {
        volume_size_gib: 1,
        parent_snapshot_id: parent.to_owned(),
        description: "sent".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    let answer = running.direct.start_snapshot(from(ANN, request)).await.unwrap().into_inner();
    assert_eq!(answer.block_size_bytes, BLOCK as i32);
    let snapshot = answer.snapshot.unwrap();
    assert_eq!(snapshot.state(), pb::SnapshotState::Pending);
    assert_eq!(snapshot.parent_snapshot_id, parent);
    snapshot.snapshot_id
}

async fn put(running: &mut Running, id: &str, block: pb::SnapshotBlock) -> Result<(), Status> {
    let checksum = block.checksum.clone();
    let request = pb::PutSnapshotBlockRequest {
        snapshot_id: id.to_owned(),
        block: Some(block),
        progress_percent: 40,
        request_id: String::new(),
    };
    let answer = running.direct.put_snapshot_block(from(ANN, request)).await?.into_inner();
    assert_eq!(answer.checksum, checksum);
    Ok(())
}

async fn complete(
    running: &mut Running,
    id: &str,
    count: i32,
    checksum: Vec<u8>,
) -> Result<pb::Snapshot, Status> {
    let request = pb::CompleteSnapshotRequest {
        snapshot_id: id.to_owned(),
        changed_blocks_count: count,
        checksum: checksum.into(),
        request_id: String::new(),
    };
    running.direct.complete_snapshot(from(ANN, request)).await?;
    Ok(running.settled(ANN, id).await)
}

/// Every block of a snapshot with its token, by pages of two.
async fn blocks(running: &mut Running, account: &str, id: &str) -> Result<Vec<pb::Block>, Status> {
    let mut request = pb::ListSnapshotBlocksRequest {
        snapshot_id: id.to_owned(),
        page_size: 2,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let asked = from(account, request.clone());
        let page = running.direct.list_snapshot_blocks(asked).await?.into_inner();
        assert!(page.expire_time.is_some() && page.blocks.len() <= 2);
        all.extend(page.blocks);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

async fn get(
    running: &mut Running,
    account: &str,
    id: &str,
    index: i32,
    token: &str,
) -> Result<Vec<u8>, Status> {
    let request = pb::GetSnapshotBlockRequest {
        snapshot_id: id.to_owned(),
        block_index: index,
        block_token: token.to_owned(),
    };
    let answer = running.direct.get_snapshot_block(from(account, request)).await?.into_inner();
    assert_eq!(answer.checksum, sum(&answer.content));
    Ok(answer.content.to_vec())
}

async fn changed(running: &mut Running, account: &str, a: &str, b: &str) -> Vec<i32> {
    let mut request = pb::ListChangedBlocksRequest {
        first_snapshot_id: a.to_owned(),
        second_snapshot_id: b.to_owned(),
        page_size: 3,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let asked = from(account, request.clone());
        let page = running.direct.list_changed_blocks(asked).await.unwrap().into_inner();
        for one in page.blocks {
            let second = get(running, account, b, one.block_index, &one.second_block_token);
            let second = second.await.unwrap();
            if !one.first_block_token.is_empty() {
                let first = get(running, account, a, one.block_index, &one.first_block_token);
                assert!(first.await.unwrap() != second, "block {} is the same", one.block_index);
            }
            all.push(one.block_index);
        }
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_sent_in_any_order_are_read_back() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = start(&mut running, "", "t1").await;
    assert_eq!(start(&mut running, "", "t1").await, id, "a token names one snapshot");
    let sent = [(2047, noise(1, BLOCK)), (0, noise(2, BLOCK)), (7, noise(3, BLOCK))];
    for (index, content) in &sent {
        put(&mut running, &id, block(*index, content)).await.unwrap();
    }
    let shown = pb::GetSnapshotRequest { snapshot_id: id.clone() };
    let shown = running.users.get_snapshot(from(ANN, shown)).await.unwrap().into_inner();
    assert_eq!(shown.snapshot.unwrap().progress_percent, 40);
    // The same again costs nothing; another in its place replaces it.
    put(&mut running, &id, block(0, &sent[1].1)).await.unwrap();
    let other = noise(4, BLOCK);
    put(&mut running, &id, block(7, &other)).await.unwrap();
    put(&mut running, &id, block(9, &vec![0; BLOCK])).await.unwrap();

    let order = [&sent[1].1, &other, &vec![0; BLOCK], &sent[0].1];
    let all = sum(&order.iter().flat_map(|content| sum(content)).collect::<Vec<_>>());
    let refused = complete(&mut running, &id, 3, all.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "CHANGED_BLOCKS_COUNT_INVALID");
    let refused = complete(&mut running, &id, 4, vec![7; 32]).await.unwrap_err();
    assert_eq!(reason(&refused), "CHECKSUM_MISMATCH");
    let whole = complete(&mut running, &id, 4, all.clone()).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    assert_eq!((whole.size_bytes, whole.size_gib), (GIB as i64, 1));

    let listed = blocks(&mut running, ANN, &id).await.unwrap();
    let indexes: Vec<_> = listed.iter().map(|one| one.block_index).collect();
    assert_eq!(indexes, [0, 7, 2047], "a block of zeros holds no data");
    for (one, content) in listed.iter().zip([&sent[1].1, &other, &sent[0].1]) {
        let read = get(&mut running, ANN, &id, one.block_index, &one.block_token).await.unwrap();
        assert_same(&read, content);
    }
    // It takes no more blocks, and is not completed twice.
    let refused = put(&mut running, &id, block(1, &other)).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_PENDING");
    let refused = complete(&mut running, &id, 4, all).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_PENDING");
    assert!(std::fs::read_dir(place.data().join("sent")).unwrap().next().is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_block_is_refused_and_changes_nothing() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = start(&mut running, "", "").await;
    let good = noise(1, BLOCK);
    let mut flipped = block(0, &good);
    let mut bytes = good.clone();
    bytes[1000] ^= 1;
    flipped.content = bytes.into();
    for (bad, why) in [
        (flipped, "CHECKSUM_MISMATCH"),
        (pb::SnapshotBlock { checksum: Vec::new().into(), ..block(0, &good) }, "CHECKSUM_MISMATCH"),
        (block(0, &good[1..]), "INVALID_BLOCK"),
        (block(0, &[]), "INVALID_BLOCK"),
        (block(-1, &good), "INVALID_BLOCK"),
        (block(2048, &good), "INVALID_BLOCK"),
    ] {
        let refused = put(&mut running, &id, bad).await.unwrap_err();
        assert_eq!(reason(&refused), why, "{}", refused.message());
    }
    // Nobody else may write, whether or not they may read.
    let foreign = pb::PutSnapshotBlockRequest {
        snapshot_id: id.clone(),
        block: Some(block(0, &good)),
        ..Default::default()
    };
    let refused = running.direct.put_snapshot_block(from(BOB, foreign.clone())).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    running.share(&id, false, &[BOB], 1).await;
    let refused = running.direct.put_snapshot_block(from(BOB, foreign)).await.unwrap_err();
    assert_eq!(reason(&refused), "UNAUTHORIZED_ACCOUNT");
    let whole = complete(&mut running, &id, 0, Vec::new()).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed);
    assert!(blocks(&mut running, ANN, &id).await.unwrap().is_empty());
    for (size, timeout, why) in [
        (0, 0, "VOLUME_SIZE_INVALID"),
        (65537, 0, "VOLUME_SIZE_INVALID"),
        (1, 9, "FIELD_INVALID"),
        (1, 4321, "FIELD_INVALID"),
    ] {
        let request = pb::StartSnapshotRequest {
            volume_size_gib: size,
            timeout_minutes: timeout,
            ..Default::default()
        };
        let refused = running.direct.start_snapshot(from(ANN, request)).await.unwrap_err();
        assert_eq!(reason(&refused), why);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_blocks_over_a_parent_changes_just_those() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(5, 40);
    let parent = running.import(&disk).await.snapshot_id;
    let id = start(&mut running, &parent, "").await;
    let content = |n: i32| noise(100 + n as u64, BLOCK);
    let stream = (20..60).map({
        let id = id.clone();
        move |n| pb::PutSnapshotBlocksRequest {
            snapshot_id: if n == 20 { id.clone() } else { String::new() },
            block: Some(block(n, &content(n))),
            request_id: String::new(),
        }
    });
    let request = from(ANN, tokio_stream::iter(stream.collect::<Vec<_>>()));
    let taken = running.direct.put_snapshot_blocks(request).await.unwrap().into_inner();
    assert_eq!(taken.blocks, 40);
    // The parent may go: what is needed of it stays.
    running.delete(&parent).await.unwrap();
    running.collect().await;
    let whole = complete(&mut running, &id, 40, Vec::new()).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    let listed = blocks(&mut running, ANN, &id).await.unwrap();
    let indexes: Vec<_> = listed.iter().map(|one| one.block_index).collect();
    let mut expected: Vec<_> = [0, 1].into_iter().chain(20..60).chain([78, 79]).collect();
    expected.dedup();
    assert_eq!(indexes, expected);
    for one in &listed {
        let read = get(&mut running, ANN, &id, one.block_index, &one.block_token).await.unwrap();
        let at = one.block_index as usize * BLOCK;
        if (20..60).contains(&one.block_index) {
            assert_same(&read, &content(one.block_index));
        } else {
            assert_same(&read, &disk[at..at + BLOCK]);
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_snapshots_are_compared() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = sparse(6, 20);
    let first = running.import(&disk).await.snapshot_id;
    disk[3 * MIB..3 * MIB + BLOCK].copy_from_slice(&noise(66, BLOCK));
    disk[10 * MIB + 5] = 1;
    disk[19 * MIB..].fill(0);
    let second = running.import(&disk).await.snapshot_id;
    assert_eq!(changed(&mut running, ANN, &first, &second).await, [6, 20, 38, 39]);
    assert!(changed(&mut running, ANN, &first, &first).await.is_empty());
    assert_eq!(changed(&mut running, ANN, "", &second).await, [0, 1, 6, 20]);
    // Also with somebody else's, whose blocks have other names.
    let parts = harness::pieces(harness::header("raw", disk.len()), &disk);
    let theirs = running.send(BOB, parts).await.unwrap().snapshot.unwrap().snapshot_id;
    running.share(&theirs, false, &[ANN], 1).await;
    assert_eq!(changed(&mut running, ANN, &first, &theirs).await, [6, 20, 38, 39]);
    assert!(changed(&mut running, ANN, &second, &theirs).await.is_empty());
    // A longer one: what the shorter has not is the longer's alone.
    let long = running.import(&sparse(6, 24)).await.snapshot_id;
    assert_eq!(changed(&mut running, ANN, &first, &long).await, [38, 39, 46, 47]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_serves_its_account_and_block_while_that_may_read() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = running.import(&sparse(7, 4)).await.snapshot_id;
    let refused = blocks(&mut running, BOB, &id).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    running.share(&id, true, &[], 1).await;
    let listed = blocks(&mut running, BOB, &id).await.unwrap();
    let token = listed[0].block_token.clone();
    get(&mut running, BOB, &id, 0, &token).await.unwrap();
    for (account, index, token) in
        [(ANN, 0, &*token), (BOB, 1, &*token), (BOB, 0, ""), (BOB, 0, &token[1..])]
    {
        let refused = get(&mut running, account, &id, index, token).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_BLOCK_TOKEN");
    }
    let refused = get(&mut running, BOB, &id, 8, &token).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_BLOCK");
    // It outlives a restart, but not the right.
    running.stop().await;
    let mut running = place.start().await;
    get(&mut running, BOB, &id, 0, &token).await.unwrap();
    running.share(&id, false, &[], 2).await;
    let refused = get(&mut running, BOB, &id, 0, &token).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_were_acknowledged_are_there_after_a_kill() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = start(&mut running, "", "").await;
    let content = |n: i32| noise(200 + n as u64, BLOCK);
    for n in 0..6 {
        put(&mut running, &id, block(n, &content(n))).await.unwrap();
    }
    put(&mut running, &id, block(3, &content(33))).await.unwrap();
    running.stop().await;
    // What was on its way when the process died: a torn slot in place of block
    // 4, and one that was never begun.
    let file = place.data().join("sent").join(format!("{id}.blocks"));
    let slot = (BLOCK + 80) as u64;
    let bytes = std::fs::read(&file).unwrap();
    let mut torn = bytes[slot as usize * 4..slot as usize * 5].to_vec();
    torn[5000..].fill(0xee);
    use std::os::unix::fs::FileExt as _;
    let open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    open.write_all_at(&torn, slot * 8).unwrap();

    let mut running = place.start().await;
    put(&mut running, &id, block(6, &content(6))).await.unwrap();
    let whole = complete(&mut running, &id, 7, Vec::new()).await.unwrap();
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    let listed = blocks(&mut running, ANN, &id).await.unwrap();
    assert_eq!(listed.len(), 7);
    for one in listed {
        let read = get(&mut running, ANN, &id, one.block_index, &one.block_token).await.unwrap();
        assert_same(&read, &content(if one.block_index == 3 { 33 } else { one.block_index }));
    }
    running.stop().await;
}
