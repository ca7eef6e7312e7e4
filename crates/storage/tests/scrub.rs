//! Scrubs that nobody asks for.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::time::Duration;

use harness::{ANN, MIB, Place, Running, from, noise};
use vmint_api::storage::v1 as pb;

async fn scrub(running: &mut Running) -> Option<pb::Scrub> {
    let request = from(ANN, pb::DescribeScrubRequest {});
    running.upkeep.describe_scrub(request).await.unwrap().into_inner().scrub
}

/// Waits for what is to become of it, and tends to it as the service does.
async fn until(running: &mut Running, met: impl Fn(&pb::Scrub) -> bool) -> pb::Scrub {
    for _ in 0..6000 {
        running.storage.tend_scrub().await.unwrap();
        if let Some(now) = scrub(running).await.filter(&met) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", scrub(running).await);
}

/// When it began, in nanoseconds since 1970.
fn started(scrub: &pb::Scrub) -> i64 {
    let at = scrub.start_time.unwrap();
    at.seconds * 1_000_000_000 + i64::from(at.nanos)
}

fn completed(scrub: &pb::Scrub) -> bool {
    scrub.state() == pb::ScrubState::Completed
}

#[tokio::test(flavor = "multi_thread")]
async fn one_begins_by_itself_goes_on_after_a_restart_and_says_when_the_next_comes() {
    let place = Place::new();
    let start = || place.start_as(|config| config.scrub_every_seconds = 3600);
    let mut running = start().await;
    running.import(&noise(1, 6 * MIB)).await;
    assert!(scrub(&mut running).await.is_none());
    let first = until(&mut running, |scrub| scrub.checked_bytes > 0).await;
    assert!(first.periodic && first.next_time.is_none(), "{first:?}");
    assert_eq!((first.state(), first.bytes_per_second), (pb::ScrubState::Running, MIB as i64));
    running.stop().await;

    let mut running = start().await;
    let now = until(&mut running, |scrub| scrub.checked_bytes >= first.checked_bytes).await;
    assert_eq!((now.start_time, now.periodic), (first.start_time, true), "the same one goes on");
    // The operator may hurry it.
    let request = pb::StartScrubRequest { bytes_per_second: 1 << 40, ..Default::default() };
    running.upkeep.start_scrub(from(ANN, request)).await.unwrap();
    let done = until(&mut running, completed).await;
    assert_eq!(done.start_time, first.start_time);
    assert_eq!((done.checked_bytes, done.damaged_chunks), (done.stored_bytes, 0));
    let began = done.start_time.unwrap().seconds;
    assert_eq!(done.next_time.unwrap().seconds, began + 3600);
    // Not before its time.
    running.storage.tend_scrub().await.unwrap();
    assert_eq!(scrub(&mut running).await.unwrap(), done);
    running.stop().await;

    // A period that has passed while nothing ran, and one after another.
    let mut running = place.start_as(|config| config.scrub_every_seconds = 1).await;
    let second = until(&mut running, |scrub| started(scrub) > started(&done)).await;
    assert!(second.periodic);
    let third =
        until(&mut running, |scrub| started(scrub) > started(&second) && completed(scrub)).await;
    assert_eq!(third.checked_bytes, done.checked_bytes);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_begins_where_the_operator_wants_none() {
    let place = Place::new();
    let mut running = place.start_as(|config| config.scrub_every_seconds = 0).await;
    running.import(&noise(1, MIB)).await;
    running.storage.tend_scrub().await.unwrap();
    assert!(scrub(&mut running).await.is_none());
    // One that is asked for is the only one.
    let request = pb::StartScrubRequest { bytes_per_second: 1 << 40, ..Default::default() };
    running.upkeep.start_scrub(from(ANN, request)).await.unwrap();
    let done = until(&mut running, completed).await;
    assert!(!done.periodic && done.next_time.is_none(), "{done:?}");
    running.stop().await;
}
