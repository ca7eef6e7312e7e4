//! What a content costs in memory while it is stored: a bounded number of bytes under way,
//! however large it is and however much faster it comes than it is stored.

// A test may unwrap anywhere.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod sample;

use std::{fs, sync::Arc};

use sample::content;
use vmint_blocks::{Domain, Options, REGION_BYTES};

const MIB: u64 = 1 << 20;
/// Of the content: what would be seen at once if it were held.
const SIZE: u64 = 1 << 30;
/// What a session may hold, beside what it reads from.
const MOST: u64 = 48 * MIB;

/// Bytes of memory that this process had at most since the last [`forget`].
fn most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib << 10
}

/// Makes what the process has now the most it had.
fn forget() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Alone in its file, so that nothing else uses memory meanwhile.
#[test]
fn a_session_holds_no_more_than_it_may_however_fast_a_content_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = sample::open(dir.path(), Options { threads: 2, ..Options::default() });
    let domain = Domain::derive(b"secret", "tests");
    // One region's bytes again and again: after the first one all is known, and comes from memory.
    let region = Arc::new(content(REGION_BYTES as usize, 9));
    let of = region.clone();
    let read = move |at: u64, out: &mut [u8]| {
        let at = (at % REGION_BYTES) as usize;
        out.copy_from_slice(&of[at..at + out.len()]);
        Ok(())
    };
    forget();
    let before = most();
    let by_workers =
        store.ingest_from(domain, SIZE, [Ok(0..SIZE)], Arc::new(read), &mut |_| true).unwrap();
    let held = most() - before;
    assert!(held <= MOST, "{} MiB", held / MIB);

    forget();
    let before = most();
    let mut ingest = store.ingest(domain, SIZE).unwrap();
    for at in (0..SIZE).step_by(REGION_BYTES as usize) {
        ingest.write(at, &region).unwrap();
    }
    let written = ingest.finish().unwrap();
    let held = most() - before;
    assert!(held <= MOST, "{} MiB", held / MIB);
    assert_eq!((written.root, written.new_bytes), (by_workers.root, 0));
}
