//! kill -9 of a writer under load, a hundred times over.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use std::{thread, time::Duration};

use kit::crash::{Writer, verify, write_for_ever};

#[test]
fn no_kill_loses_or_tears_anything() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..100_u64 {
        let writer = Writer::start(dir.path());
        // From at once to well into checkpoints, in a fixed mix.
        thread::sleep(Duration::from_millis(round * 37 % 60));
        let acked = writer.kill();
        assert!(acked > last, "round {round} went on where the one before ended");
        last = verify(dir.path(), acked);
        // A history of bounded length keeps the rounds alike.
        if last > 3_000 {
            std::fs::remove_dir_all(dir.path()).unwrap();
            last = 0;
        }
    }
}

#[test]
#[ignore = "the writer that the test here kills"]
fn child() {
    write_for_ever();
}
