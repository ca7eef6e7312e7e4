//! A full disk: commits are refused, reads go on, and it opens while full.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod kit;

use std::{fs, path::Path, process::Command};

use kit::{NOTES, Note, small};
use vmint_store::{Options, Store, StoreError, TxError};

struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(dir.path());
        let out = mount.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if out.status.success() { Ok(Self(dir)) } else { Err(said) }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn open(dir: &Path) -> Store {
    let options = Options { ballast_bytes: 6 << 20, keep_free_bytes: 3 << 20, ..small() };
    Store::open(&dir.join("store"), options).unwrap()
}

async fn put(store: &Store, n: u64) -> Result<(), TxError<()>> {
    let note = Note::of(&"x".repeat(4000));
    store.commit(move |tx| Ok(NOTES.put(tx, &n, &note)?)).await
}

fn holds(store: &Store, count: u64) {
    for n in 0..count {
        assert!(NOTES.get(store, &n).unwrap().is_some(), "{n} of {count} is gone");
    }
}

/// Takes the last byte there is.
fn fill(dir: &Path) {
    let mut file = fs::File::create(dir.join("filler")).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_loses_nothing() {
    let disk = match Tmpfs::new() {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: needs root and a tmpfs: {why}");
            return;
        }
    };
    let dir = disk.0.path();
    let store = open(dir);
    let mut count = 0;
    let refused = loop {
        match put(&store, count).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 10_000, "so small a disk holds less");
    };
    assert!(matches!(refused, TxError::Store(StoreError::Full { .. })), "{refused}");
    holds(&store, count);
    fill(dir);
    let refused = put(&store, count).await;
    assert!(matches!(refused, Err(TxError::Store(StoreError::Full { .. }))), "{refused:?}");
    holds(&store, count);
    drop(store);

    let store = open(dir);
    holds(&store, count);
    let refused = put(&store, count).await;
    assert!(refused.is_ok() || matches!(refused, Err(TxError::Store(StoreError::Full { .. }))));
    if refused.is_ok() {
        count += 1;
    }
    fs::remove_file(dir.join("filler")).unwrap();
    // Room again: it goes on without being opened anew.
    put(&store, count).await.unwrap();
    holds(&store, count + 1);
    drop(store);
    holds(&open(dir), count + 1);
}
