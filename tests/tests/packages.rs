//! What an image is carried in, by the command line.
//!
//! Proves: a bundle and an OVA hold every disk of an image and its bytes come back equal; an
//! instance-store bundle is made, checked and read back, and refused once one byte of it is
//! another.

use std::fs;

use vmint_tests::{Ec2, Setting, Stack, noise};

const MIB: usize = 1 << 20;

/// What the disks of an image are, as saving it says.
async fn roots(stack: &Stack, image: &str) -> Vec<String> {
    let file = stack.data().join(format!("{image}.tar"));
    let said = stack.cli("maker", &["image", "save", image, file.to_str().unwrap()]).await.ok();
    let is = said.lines().filter(|line| line.starts_with("disk"));
    is.filter_map(|line| line.rsplit_once(" is ")).map(|(_, root)| root.to_owned()).collect()
}

/// A snapshot of noise, by the command line.
async fn snapshot(stack: &Stack, mib: usize, seed: u8) -> String {
    let file = stack.data().join(format!("{seed}.raw"));
    fs::write(&file, noise(mib * MIB, seed)).unwrap();
    let words =
        ["import", file.to_str().unwrap(), "-", "--snapshot-only", "--format", "raw", "-o", "id"];
    stack.cli("maker", &words).await.ok()
}

async fn register(ec2: &Ec2, name: &str, snapshots: &[&str]) {
    let mut asked = vec![
        ("Name".to_owned(), name.to_owned()),
        ("Architecture".to_owned(), "x86_64".to_owned()),
        ("VirtualizationType".to_owned(), "hvm".to_owned()),
        ("RootDeviceName".to_owned(), "/dev/sda".to_owned()),
    ];
    for (n, (id, letter)) in snapshots.iter().zip('a'..).enumerate() {
        let of = |member: &str| format!("BlockDeviceMapping.{}.{member}", n + 1);
        asked.push((of("DeviceName"), format!("/dev/sd{letter}")));
        asked.push((of("Ebs.SnapshotId"), (*id).to_owned()));
    }
    let asked: Vec<_> = asked.iter().map(|(name, value)| (&**name, &**value)).collect();
    ec2.ok("RegisterImage", &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_disks_of_an_image_come_back_from_a_bundle_and_from_an_ova() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let ec2 = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let (first, second) = (snapshot(&stack, 5, 1).await, snapshot(&stack, 3, 2).await);
    register(&ec2, "two", &[&first, &second]).await;
    let before = roots(&stack, "two").await;
    assert_eq!(before.len(), 2);
    assert_ne!(before[0], before[1]);

    let saved = stack.data().join("two.tar");
    stack.cli("maker", &["image", "load", saved.to_str().unwrap(), "--name", "loaded"]).await.ok();
    assert_eq!(roots(&stack, "loaded").await, before);

    let ova = stack.data().join("two.ova");
    let ova = ova.to_str().unwrap();
    stack.cli("maker", &["image", "export", "two", ova]).await.ok();
    stack.cli("maker", &["import", ova, "unpacked"]).await.ok();
    assert_eq!(roots(&stack, "unpacked").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_store_bundle_comes_back_and_one_that_was_changed_does_not() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let ec2 = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let disk = snapshot(&stack, 5, 3).await;
    // The second one finds the bucket there.
    for location in ["disks/web", "disks/spare"] {
        stack.cli("maker", &["bundle", "create", &disk, location]).await.ok();
    }
    let web = "disks/web.manifest.xml";
    stack.cli("maker", &["bundle", "verify", web]).await.ok();
    let back = stack.cli("maker", &["bundle", "restore", web, "-o", "id"]).await.ok();
    register(&ec2, "bundled", &[&disk]).await;
    register(&ec2, "restored", &[&back]).await;
    assert_eq!(roots(&stack, "restored").await, roots(&stack, "bundled").await);

    let part = "/disks/web.part.00";
    let mut bytes = ec2.s3_ok("GET", part, &[]).await.body;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    ec2.s3_ok("PUT", part, &bytes).await;
    let changed = "INSTANCE_BUNDLE_CHANGED";
    stack.cli("maker", &["bundle", "verify", web]).await.refused(5, changed);
    stack.cli("maker", &["bundle", "restore", web]).await.refused(5, changed);
    stack.cli("maker", &["bundle", "verify", "disks/spare.manifest.xml"]).await.ok();
    // Nor does anybody else read it.
    let friend = stack.cli("friend", &["bundle", "verify", "disks/spare.manifest.xml"]).await;
    friend.refused(4, "BUCKET_DENIED");
}
