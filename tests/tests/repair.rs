//! A disk rots, and what is lost is brought back by the command line.
//!
//! Proves: a scrub finds damage and says which images it hits; what is damaged is never served;
//! another region's copy heals it, encrypted or not, and so does the file it was made of.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use serde_json::Value;
use vmint_tests::{Ec2, SOON, Setting, Stack, access_key, noise, until};

const MIB: usize = 1 << 20;

/// Turns a bit over, `part` of a hundred through the largest pack.
fn rot(region: &Path, part: u64) {
    let packs = fs::read_dir(region.join("storage").join("blocks").join("packs")).unwrap();
    let packs = packs.map(|entry| entry.unwrap().path());
    let largest = packs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let pack = OpenOptions::new().read(true).write(true).open(largest).unwrap();
    let at = pack.metadata().unwrap().len() * part / 100;
    let mut byte = [0];
    pack.read_exact_at(&mut byte, at).unwrap();
    pack.write_all_at(&[byte[0] ^ 16], at).unwrap();
}

/// What a command says as JSON.
async fn json(stack: &Stack, words: &[&str]) -> Value {
    let said = stack.cli("maker", &[words, &["-o", "json"]].concat()).await.ok();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Scrubs region `a`, and says what damage there is.
async fn damage(stack: &Stack) -> Value {
    // What was read before is served from memory.
    stack.bounce("a", "storage").await;
    until("the scrub begins", SOON, async || {
        let said = stack.cli("maker", &["storage", "scrub", "--rate-mib", "100000"]).await;
        (said.code == 0).then_some(())
    })
    .await;
    until("the scrub's end", SOON, async || {
        let scrub = json(stack, &["storage", "scrub", "--status"]).await;
        (scrub[0]["state"] == "SCRUB_STATE_COMPLETED").then_some(())
    })
    .await;
    json(stack, &["storage", "damage"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rots_is_found_and_healed_from_another_region_and_from_the_file() {
    let setting = Setting { regions: vec!["a", "b"], simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let disk = noise(24 * MIB, 1);
    let file = stack.data().join("disk.raw");
    fs::write(&file, &disk).unwrap();
    let file = file.to_str().unwrap();
    let words = ["import", file, "web", "--format", "raw", "-o", "id"];
    let image = stack.cli("maker", &words).await.ok();
    let at = |region| Ec2::with_key(access_key("maker"), &stack.gateway(), region);
    let (a, b) = (at("a"), at("b"));
    let seen = a.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    let snapshot = seen.first("snapshotId").to_owned();
    let mut copies = Vec::new();
    for encrypted in ["false", "true"] {
        let ask =
            [("SourceRegion", "a"), ("SourceSnapshotId", &*snapshot), ("Encrypted", encrypted)];
        let copy = b.ok("CopySnapshot", &ask).await.first("snapshotId").to_owned();
        until("the copy is complete", SOON, async || {
            let seen = b.ok("DescribeSnapshots", &[("SnapshotId.1", &copy)]).await;
            (seen.first("status") == "completed").then_some(())
        })
        .await;
        copies.push(copy);
    }
    let out = stack.data().join("out.raw");
    let out = out.to_str().unwrap();
    let export = ["image", "export", &image, out, "--format", "raw"];
    assert_eq!(damage(&stack).await, Value::Array(Vec::new()), "nothing has rotted yet");

    let plain = ["--region", "b", "--source", &copies[0]];
    let encrypted = ["--region", "b", "--source", &copies[1]];
    for (part, from) in [(20, &plain[..]), (50, &encrypted[..]), (80, &[file][..])] {
        rot(&stack.region("a"), part);
        let found = damage(&stack).await;
        let [one] = &found.as_array().unwrap()[..] else { panic!("{found}") };
        let hit = &one["disks"][0];
        assert_eq!(hit["snapshotId"], snapshot, "{found}");
        assert_eq!(hit["imageIds"][0], image, "{found}");
        // It is known, so it is not served.
        let said = stack.cli("maker", &export).await;
        assert!(said.code != 0 && said.err.contains("failed"), "{said:?}");
        let said = stack.cli("maker", &["storage", "check"]).await;
        assert_eq!(said.code, 1, "{said:?}");

        let words = [&["storage", "repair", &snapshot][..], from].concat();
        let said = stack.cli("maker", &words).await.ok();
        assert!(said.contains("repaired  1 chunks") && !said.contains("lost"), "{said}");
        assert_eq!(damage(&stack).await, Value::Array(Vec::new()));
        stack.cli("maker", &["storage", "check"]).await.ok();
        stack.cli("maker", &export).await.ok();
        assert!(fs::read(out).unwrap() == disk, "the disk holds other bytes");
        fs::remove_file(out).unwrap();
    }
    // What is not the disk's heals nothing.
    rot(&stack.region("a"), 35);
    let other = stack.data().join("other.raw");
    fs::write(&other, vec![7; 24 * MIB]).unwrap();
    assert_eq!(damage(&stack).await.as_array().unwrap().len(), 1);
    let words = ["storage", "repair", &snapshot, other.to_str().unwrap()];
    let said = stack.cli("maker", &words).await.ok();
    assert!(said.contains("repaired  0 chunks") && said.contains("lost      1 chunks"), "{said}");
    let words = ["storage", "repair", &snapshot, "--region", "nowhere", "--source", &copies[0]];
    let said = stack.cli("maker", &words).await;
    assert!(said.code != 0 && said.err.contains("nowhere"), "{said:?}");
}
