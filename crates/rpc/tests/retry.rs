//! How often and how long a call is made again.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Status};
use vmint_rpc::{Fault, Kind, Retry, retry, within};

#[tokio::test(start_paused = true)]
async fn what_passes_is_asked_again() {
    let asked = Cell::new(0);
    let answer = retry(Retry::default(), || async {
        asked.set(asked.get() + 1);
        if asked.get() < 4 { Err(Status::unavailable("starting")) } else { Ok(asked.get()) }
    });
    assert_eq!(answer.await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_asked_once() {
    for code in [Code::InvalidArgument, Code::Internal, Code::DeadlineExceeded, Code::Aborted] {
        let asked = Cell::new(0);
        let answer = retry(Retry::default(), || async {
            asked.set(asked.get() + 1);
            Err::<(), _>(Status::new(code, "no"))
        });
        assert_eq!(answer.await.unwrap_err().code(), code);
        assert_eq!(asked.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempts_and_the_pauses_are_bounded() {
    let (asked, began) = (Cell::new(0), Instant::now());
    let plan = Retry {
        attempts: 6,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(400),
    };
    let answer = retry(plan, || async {
        asked.set(asked.get() + 1);
        Err::<(), _>(Status::unavailable("down"))
    });
    assert!(answer.await.is_err());
    assert_eq!(asked.get(), 6);
    // 100 + 200 + 400 + 400 + 400, each shortened by half at most; time is virtual.
    let took = began.elapsed().as_millis();
    assert!((750..=1520).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_and_the_callers_deadline_are_kept() {
    let asked = Cell::new(0);
    let busy = || async {
        asked.set(asked.get() + 1);
        let fault = Fault::new(Kind::Unavailable, "BUSY").retry_after(Duration::from_secs(5));
        Err::<(), _>(fault.into_status("test.vmint", "busy"))
    };
    let began = Instant::now();
    let deadline = began + Duration::from_secs(12);
    let answer = within("0", Some(deadline), retry(Retry::default(), busy)).await;
    assert!(answer.is_err());
    assert_eq!(asked.get(), 3, "at 0, 5 and 10 seconds; 15 would be too late");
    assert!(began.elapsed() < Duration::from_secs(12));
}
