//! The process itself killed around its log writes.

use std::{path::Path, process::Command};

use vmint_store::{Options, Store};

use super::{Calm, Interfere, Moment, cases::all};
use crate::testing::{Lab, gateway_at, settle};

const WHERE: &str = "VMINT_TEST_KILL_DIR";
const WHEN: &str = "VMINT_TEST_KILL_AT";

/// Aborts at the log write that the environment names.
#[derive(Debug)]
struct Abort(String);

impl Interfere for Abort {
    fn dies(&self, write: u64, when: Moment) -> bool {
        if self.0 == format!("{write} {when:?}") {
            std::process::abort();
        }
        false
    }
}

fn open(dir: &Path) -> Store {
    let options = Options { ballast_bytes: 0, ..Options::default() };
    Store::open(&dir.join("store"), options).unwrap()
}

/// Not a test: the process that is killed, when started as one.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(dir) = std::env::var(WHERE) else { return };
    let store = open(Path::new(&dir));
    let abort = Abort(std::env::var(WHEN).unwrap());
    let gateway = gateway_at(Path::new(&dir), &store, abort).await;
    (all()[0].call)(gateway.clone()).await.unwrap();
    settle(&gateway).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_ends_its_launch_or_leaves_nothing() {
    let case = &all()[0];
    let mut killed = 0;
    for write in 0..8 {
        for moment in [Moment::Before, Moment::After] {
            let lab = Lab::of((case.world)());
            let dir = lab.dir.path().to_owned();
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "saga::tests::kill::the_process_that_is_killed"]);
            child.env(WHERE, &dir).env(WHEN, format!("{write} {moment:?}"));
            let output = tokio::task::spawn_blocking(move || child.output()).await;
            let ended = output.unwrap().unwrap().status.success();
            killed += u32::from(!ended);

            let store = open(&dir);
            let gateway = gateway_at(&dir, &store, Calm).await;
            settle(&gateway).await;
            case.assert_done_or_clean(&lab.world.lock(), &format!("killed {write} {moment:?}"));
            if ended {
                case.assert_done(&lab.world.lock());
            }
            store.close().await;
        }
    }
    // begin, reserve, machines and the end, each before and after
    assert!(killed >= 8, "only {killed} were killed");
}
