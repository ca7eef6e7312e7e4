//! Every kind of saga, through everything that may happen to it.

mod cases;
mod kill;
mod single;

use std::sync::atomic::{AtomicU64, Ordering};

use tonic::Status;
use vmint_store::Store;

use super::{Calm, Interfere, Moment};
use crate::testing::{Lab, settle};
use cases::{Case, all};

/// What is done to a saga.
#[derive(Debug, Default)]
struct Meddle {
    /// Every step, or every undo, is done twice.
    twice: bool,
    undo_twice: bool,
    /// This step is refused for good, before or after its effect.
    refuse: Option<(&'static str, Moment)>,
    /// This step is refused at first.
    stumble: Option<(&'static str, Moment)>,
    stumbled: AtomicU64,
    die: Option<(u64, Moment)>,
}

impl Interfere for Meddle {
    fn times(&self, _: &str, undo: bool) -> u32 {
        if (undo && self.undo_twice) || (!undo && self.twice) { 2 } else { 1 }
    }

    fn refuse(&self, step: &str, when: Moment) -> Option<Status> {
        if self.refuse == Some((step_name(step), when)) {
            return Some(Status::failed_precondition("a test refuses"));
        }
        let stumbles = self.stumble == Some((step_name(step), when))
            && self.stumbled.fetch_add(1, Ordering::Relaxed) < 2;
        stumbles.then(|| Status::unavailable("a test stumbles"))
    }

    fn dies(&self, write: u64, when: Moment) -> bool {
        self.die == Some((write, when))
    }
}

/// Names are static where they come from.
fn step_name(step: &str) -> &'static str {
    all().iter().flat_map(|case| case.steps).find(|known| **known == step).copied().unwrap_or("")
}

async fn through(case: &Case, meddle: Meddle) -> (Result<(), Status>, Lab) {
    let lab = Lab::of((case.world)());
    let gateway = lab.gateway(&Store::in_memory(), meddle).await;
    let answer = (case.call)(gateway.clone()).await;
    settle(&gateway).await;
    (answer, lab)
}

#[tokio::test]
async fn each_kind_succeeds() {
    for case in all() {
        let (answer, lab) = through(&case, Meddle::default()).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        case.assert_done(&lab.world.lock());
    }
}

#[tokio::test]
async fn each_kind_succeeds_with_every_step_done_twice() {
    for case in all() {
        let (answer, lab) = through(&case, Meddle { twice: true, ..Meddle::default() }).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        case.assert_done(&lab.world.lock());
    }
}

#[tokio::test]
async fn each_kind_gets_over_a_stumble_at_every_step() {
    for case in all() {
        for step in case.steps {
            for when in [Moment::Before, Moment::After] {
                let meddle = Meddle { stumble: Some((step, when)), ..Meddle::default() };
                let (answer, lab) = through(&case, meddle).await;
                answer.unwrap_or_else(|error| panic!("{} {step} {when:?}: {error}", case.name));
                case.assert_done(&lab.world.lock());
            }
        }
    }
}

#[tokio::test]
async fn a_failure_at_any_step_unwinds_clean() {
    for undo_twice in [false, true] {
        for case in all() {
            // After the pivot there is no failing for good.
            for step in &case.steps[..=case.pivot] {
                let meddle = Meddle {
                    refuse: Some((step, Moment::Before)),
                    undo_twice,
                    ..Meddle::default()
                };
                let (_, lab) = through(&case, meddle).await;
                case.assert_clean(&lab.world.lock(), step);
            }
        }
    }
}

/// The effect is there and its answer says it is not, which only matters where
/// there is something to undo.
#[tokio::test]
async fn a_failure_after_any_effect_unwinds_clean() {
    for case in all() {
        for step in &case.steps[..case.pivot] {
            let meddle = Meddle {
                refuse: Some((step, Moment::After)),
                undo_twice: true,
                ..Meddle::default()
            };
            let (_, lab) = through(&case, meddle).await;
            case.assert_clean(&lab.world.lock(), step);
        }
    }
}

#[tokio::test]
async fn an_end_around_any_log_write_ends_done_or_clean() {
    for case in all() {
        for failing in [None, case.steps.get(case.pivot.wrapping_sub(1)).copied()] {
            for moment in [Moment::Before, Moment::After] {
                let mut write = 0;
                while dies_and_comes_back(&case, failing, write, moment).await {
                    write += 1;
                }
                assert!(write >= 2, "{}: only {write} log writes", case.name);
            }
        }
    }
}

/// Whether there was such a log write.
async fn dies_and_comes_back(
    case: &Case,
    failing: Option<&'static str>,
    write: u64,
    moment: Moment,
) -> bool {
    let refuse = failing.map(|step| (step, Moment::Before));
    let lab = Lab::of((case.world)());
    let store = Store::in_memory();
    let meddle = Meddle { die: Some((write, moment)), refuse, ..Meddle::default() };
    let first = lab.gateway(&store, meddle).await;
    let answer = (case.call)(first.clone()).await;
    for _ in 0..1000 {
        if first.sagas.has_stopped() || first.sagas.open_count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let died = first.sagas.has_stopped();
    first.sagas.drain(std::time::Duration::from_secs(5)).await;

    let second = lab.gateway(&store, Meddle { refuse, ..Meddle::default() }).await;
    assert!(second.sagas.epoch() > first.sagas.epoch());
    settle(&second).await;
    let what = format!("{} {failing:?} {write} {moment:?}", case.name);
    case.assert_done_or_clean(&lab.world.lock(), &what);
    // What was answered is answered again and done once.
    let again = (case.call)(second.clone()).await;
    settle(&second).await;
    if answer.is_ok() {
        again.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    case.assert_done_or_clean(&lab.world.lock(), &what);
    died
}

#[tokio::test]
async fn a_resumed_saga_of_an_unknown_kind_is_left_alone() {
    let case = &all()[0];
    let lab = Lab::of((case.world)());
    let store = Store::in_memory();
    let meddle = Meddle { die: Some((0, Moment::After)), ..Meddle::default() };
    let first = lab.gateway(&store, meddle).await;
    (case.call)(first).await.unwrap_err();

    let kinds = super::executor::Kinds::default();
    let tuning = super::Tuning::default();
    let bare = super::Executor::open(store.clone(), kinds, tuning, std::sync::Arc::new(Calm))
        .await
        .unwrap();
    assert_eq!(bare.open_count(), 0);
    assert_eq!(bare.list(10).unwrap().len(), 1);

    let whole = lab.gateway(&store, Calm).await;
    settle(&whole).await;
    case.assert_done(&lab.world.lock());
}
