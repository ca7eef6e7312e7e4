//! An image is copied from one deployment to another, whatever dies in between.
//!
//! Proves: a copy moves only what is missing, goes on after either side was killed, ends with the
//! bytes of the source, and stops when the source says no. Regions that one `vmint up` starts copy
//! from one another over EC2 with nothing set up, and never to less encryption (EC2 semantics 17
//! and 18).

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::{CopyImageRequest, DeregisterImageRequest, GetImageRequest},
};
use vmint_tests::{
    Account, Ec2, SOON, Setting, Stack, access_key, new_request_id, refused_as, until,
};

const MIB: usize = 1 << 20;

/// A wire to the source that counts what comes from it, and can be slow.
async fn wire(to: String) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::<AtomicU64>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (to, counted) = (to.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(to).await else { return };
                let ((mut asks, mut hears), (mut says, mut takes)) =
                    (near.into_split(), far.into_split());
                let up = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut asks, &mut takes).await;
                });
                let mut buffer = vec![0; 64 << 10];
                while let Ok(n @ 1..) = says.read(&mut buffer).await {
                    counted.fetch_add(n as u64, Ordering::Relaxed);
                    if hears.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                    // 64 MiB/s or so: a copy takes long enough to be killed.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                up.abort();
            });
        }
    });
    (address, count)
}

/// Tells a deployment of another: `far`, in storage's settings.
async fn knows(stack: &Stack, address: &str, token: &str) {
    let settings = stack.data().join("settings").join("storage.toml");
    let mut file = fs::OpenOptions::new().append(true).open(settings).unwrap();
    writeln!(file, "\n[regions.far]\naddress = \"tcp:{address}\"\ntoken = \"{token}\"").unwrap();
    let old = stack.kill9("storage");
    stack.back("storage", old).await;
}

/// Noise that no compressor makes smaller.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

async fn import(stack: &Stack, name: &str, disk: &[u8]) -> String {
    let file = stack.data().join(name);
    fs::write(&file, disk).unwrap();
    let words = ["import", file.to_str().unwrap(), name, "--format", "raw", "-o", "id"];
    let id = stack.cli("maker", &words).await.ok();
    fs::remove_file(file).unwrap();
    id
}

async fn copy(maker: &Account, image: &str, name: &str) -> Image {
    let request = CopyImageRequest {
        source_region: "far".to_owned(),
        source_image_id: image.to_owned(),
        name: name.to_owned(),
        request_id: new_request_id(),
        ..Default::default()
    };
    maker.gateway().copy_image(request).await.unwrap().into_inner().image.unwrap()
}

/// What an image's root disk holds, by the command line.
async fn content(stack: &Stack, image: &str, file: &Path) -> Vec<u8> {
    let file = file.to_str().unwrap();
    stack.cli("maker", &["image", "export", image, file, "--format", "raw"]).await.ok();
    let bytes = fs::read(file).unwrap();
    fs::remove_file(file).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_reaches_another_region_whatever_dies() {
    let far = Stack::start().await;
    let (address, moved) = wire(far.gateway()).await;
    let far_maker = far.account("maker");
    let near = Stack::start().await;
    knows(&near, &address, &far_maker.token).await;
    let maker = near.account("maker");

    // 96 MiB that do not compress, killed on either side in the middle.
    let mut disk = noise(1, 96 * MIB);
    let first = import(&far, "first", &disk).await;
    let copied = copy(&maker, &first, "first").await;
    assert_eq!(copied.state(), ImageState::Pending);
    let shown = until("bytes and time left", SOON, async || {
        let all = maker.snapshots().await.into_iter();
        let mut of = all.filter(|one| one.image_ids.contains(&copied.image_id));
        of.find(|one| one.done_bytes > 0 && one.seconds_left > 0)
    })
    .await;
    assert!(shown.done_bytes < shown.size_bytes && shown.progress_percent < 100, "{shown:?}");
    for (stack, service) in [(&near, "storage"), (&far, "gateway"), (&far, "storage")] {
        let before = moved.load(Ordering::Relaxed);
        until("some of the copy", SOON, async || {
            (moved.load(Ordering::Relaxed) > before + 8 * MIB as u64).then_some(())
        })
        .await;
        let old = stack.kill9(service);
        stack.back(service, old).await;
    }
    let made = maker.image_made(&copied.image_id).await;
    println!("{} MiB moved for 96, over three kills", moved.load(Ordering::Relaxed) / MIB as u64);
    assert_eq!(made.source_image_id, first);
    let file = near.data().join("copied.raw");
    assert!(content(&near, "first", &file).await == disk, "the copy holds other bytes");

    // A second version, changed in three places: what is missing moves, and hardly more.
    for place in [1, 40, 90] {
        disk[place * MIB..(place + 1) * MIB].copy_from_slice(&noise(100 + place as u64, MIB));
    }
    let second = import(&far, "second", &disk).await;
    let before = moved.load(Ordering::Relaxed);
    let copied = copy(&maker, &second, "second").await;
    maker.image_made(&copied.image_id).await;
    let bytes = moved.load(Ordering::Relaxed) - before;
    let made = maker.snapshots().await.into_iter();
    let made = made.filter(|snapshot| snapshot.image_ids == [copied.image_id.clone()]);
    let missing = u64::try_from(made.map(|snapshot| snapshot.stored_bytes).sum::<i64>()).unwrap();
    assert!(missing > 3 * MIB as u64, "{missing} bytes were missing");
    println!("{bytes} bytes moved for 3 MiB that changed, {missing} as they are stored");
    assert!(bytes <= missing * 105 / 100, "{bytes} bytes moved for {missing}");
    assert!(content(&near, "second", &file).await == disk, "the copy holds other bytes");

    // Who may not have it does not get it, and learns nothing.
    let request = CopyImageRequest {
        source_region: "far".to_owned(),
        source_image_id: first.clone(),
        request_id: new_request_id(),
        ..Default::default()
    };
    let friend = near.account("friend");
    refused_as(friend.gateway().copy_image(request.clone()).await, "SOURCE_IMAGE_NOT_FOUND");
    let nowhere = CopyImageRequest { source_region: "nowhere".to_owned(), ..request };
    refused_as(maker.gateway().copy_image(nowhere).await, "REGION_UNKNOWN");

    // Deregistered at the source in the middle, the copy fails and leaves nothing.
    let third = import(&far, "third", &noise(7, 64 * MIB)).await;
    let before = moved.load(Ordering::Relaxed);
    let copied = copy(&maker, &third, "third").await;
    until("some of the copy", SOON, async || {
        (moved.load(Ordering::Relaxed) > before + 4 * MIB as u64).then_some(())
    })
    .await;
    let request = DeregisterImageRequest {
        image_id: third,
        delete_snapshots: false,
        request_id: new_request_id(),
        dry_run: false,
    };
    far_maker.gateway().deregister_image(request).await.unwrap();
    let failed = until("the copy's end", SOON, async || {
        let request = GetImageRequest { image_id: copied.image_id.clone() };
        let image = maker.gateway().get_image(request).await.ok()?.into_inner().image?;
        assert_ne!(image.state(), ImageState::Available);
        (image.state() == ImageState::Failed).then_some(image)
    })
    .await;
    println!("it says: {}", failed.state_reason);
    assert!(failed.state_reason.contains("far"), "{}", failed.state_reason);
    assert_eq!(maker.snapshots().await.len(), 2, "snapshots of the failed copy are left");
}

/// Two regions that one `vmint up` runs, and somebody who speaks to both at one address.
async fn two() -> (Stack, Ec2, Ec2) {
    let setting = Setting { regions: vec!["a", "b"], simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let at = |region| Ec2::with_key(access_key("maker"), &stack.gateway(), region);
    let (a, b) = (at("a"), at("b"));
    (stack, a, b)
}

/// Waits as clients do; the state's own words if it ends otherwise.
async fn completed(ec2: &Ec2, snapshot: &str) {
    until("the snapshot is complete", SOON, async || {
        let seen = ec2.ok("DescribeSnapshots", &[("SnapshotId.1", snapshot)]).await;
        let state = seen.first("status").to_owned();
        assert_ne!(state, "error", "{}", seen.body);
        assert_eq!(state == "completed", seen.first("progress") == "100%", "{}", seen.body);
        (state == "completed").then_some(())
    })
    .await;
}

async fn image_is(ec2: &Ec2, image: &str, wanted: &str) -> vmint_tests::Answer {
    until(&format!("{image} is {wanted}"), SOON, async || {
        let seen = ec2.ok("DescribeImages", &[("ImageId.1", image)]).await;
        let state = seen.first("imageState").to_owned();
        assert!(state == wanted || state == "pending", "{}", seen.body);
        (state == wanted).then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_of_one_up_copy_over_ec2() {
    let (stack, a, b) = two().await;
    let disk = noise(11, 20 * MIB);
    let file = stack.data().join("disk.raw");
    fs::write(&file, &disk).unwrap();
    let words = ["import", file.to_str().unwrap(), "there", "--format", "raw", "-o", "id"];
    let image = stack.cli("maker", &words).await.ok();
    a.ok("CreateTags", &[("ResourceId.1", &image), ("Tag.1.Key", "of"), ("Tag.1.Value", "a")])
        .await;
    let root =
        a.ok("DescribeImages", &[("ImageId.1", &image)]).await.first("snapshotId").to_owned();

    // Issued at the destination; the same token, the same copy.
    let ask = [
        ("SourceRegion", "a"),
        ("SourceImageId", &*image),
        ("Name", "here"),
        ("ClientToken", "once"),
    ];
    let copied = b.ok("CopyImage", &ask).await.first("imageId").to_owned();
    assert_eq!(b.ok("CopyImage", &ask).await.first("imageId"), copied);
    let other = ask.map(|(name, value)| (name, if name == "Name" { "other" } else { value }));
    assert_eq!(b.refused("CopyImage", &other).await.0, "IdempotentParameterMismatch");
    let seen = image_is(&b, &copied, "available").await;
    // 17: neither tags nor permissions go with it.
    assert_eq!((seen.first("sourceImageId"), seen.all("key").len()), (&*image, 0), "{}", seen.body);
    assert_eq!(
        a.refused("DescribeImages", &[("ImageId.1", &copied)]).await.0,
        "InvalidAMIID.NotFound"
    );
    let out = stack.data().join("out.raw");
    let export = async |profile: &str, image: &str| {
        let words = ["image", "export", image, out.to_str().unwrap(), "--format", "raw"];
        stack.cli(profile, &words).await.ok();
        let bytes = fs::read(&out).unwrap();
        fs::remove_file(&out).unwrap();
        bytes
    };
    assert!(export("maker@b", &copied).await == disk, "the copy holds other bytes");

    // By the command line, from the other side.
    let words = ["image", "copy", &copied, "back", "--from-region", "b", "-o", "id"];
    let back = stack.cli("maker", &words).await.ok();
    assert!(export("maker", &back).await == disk, "the copy holds other bytes");

    // What is not there, or not for whoever asks.
    let unknown = [("SourceRegion", "nowhere"), ("SourceImageId", &*image), ("Name", "theirs")];
    assert_eq!(b.refused("CopyImage", &unknown).await.0, "InvalidRegion");
    let absent = [("SourceRegion", "a"), ("SourceImageId", &*copied), ("Name", "theirs")];
    assert_eq!(b.refused("CopyImage", &absent).await.0, "InvalidAMIID.NotFound");
    let friend = Ec2::with_key(access_key("friend"), &stack.gateway(), "b");
    let theirs = [("SourceRegion", "a"), ("SourceImageId", &*image), ("Name", "theirs")];
    assert_eq!(friend.refused("CopyImage", &theirs).await.0, "InvalidAMIID.NotFound");
    let theirs = [("SourceRegion", "a"), ("SourceSnapshotId", &*root)];
    assert_eq!(friend.refused("CopySnapshot", &theirs).await.0, "InvalidSnapshot.NotFound");

    // Once it is shared with them, the snapshot is theirs to copy.
    let share = [("SnapshotId", &*root), ("CreateVolumePermission.Add.1.UserId", "200000000002")];
    a.ok("ModifySnapshotAttribute", &share).await;
    let shared = friend.ok("CopySnapshot", &theirs).await.first("snapshotId").to_owned();
    completed(&friend, &shared).await;
    // And so is an image that they may launch as well.
    let share = [("ImageId", &*image), ("LaunchPermission.Add.1.UserId", "200000000002")];
    a.ok("ModifyImageAttribute", &share).await;
    let theirs = [("SourceRegion", "a"), ("SourceImageId", &*image), ("Name", "theirs")];
    let shared = friend.ok("CopyImage", &theirs).await.first("imageId").to_owned();
    image_is(&friend, &shared, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_between_regions_survive_and_stay_encrypted() {
    let (stack, a, b) = two().await;
    let disk = noise(12, 40 * MIB);
    let file = stack.data().join("disk.raw");
    fs::write(&file, &disk).unwrap();
    let words = ["import", file.to_str().unwrap(), "there", "--format", "raw", "-o", "id"];
    let image = stack.cli("maker", &words).await.ok();
    let root =
        a.ok("DescribeImages", &[("ImageId.1", &image)]).await.first("snapshotId").to_owned();

    // What was answered is kept, whoever dies.
    let ask = [("SourceRegion", "a"), ("SourceSnapshotId", &*root), ("Description", "a copy")];
    let plain = b.ok("CopySnapshot", &ask).await.first("snapshotId").to_owned();
    stack.bounce("b", "storage").await;
    stack.bounce("a", "storage").await;
    completed(&b, &plain).await;
    let seen = b.ok("DescribeSnapshots", &[("SnapshotId.1", &plain)]).await;
    assert_eq!((seen.first("encrypted"), seen.first("description")), ("false", "a copy"));

    // 18: encrypted when asked, under a key of the destination's.
    let copy = async |ec2: &Ec2, from: &str, source: &str, encrypted: &str| {
        let ask = [("SourceRegion", from), ("SourceSnapshotId", source), ("Encrypted", encrypted)];
        ec2.ok("CopySnapshot", &ask).await.first("snapshotId").to_owned()
    };
    let there = copy(&b, "a", &root, "true").await;
    completed(&b, &there).await;
    let seen = b.ok("DescribeSnapshots", &[("SnapshotId.1", &there)]).await;
    let key = seen.first("kmsKeyId").to_owned();
    assert_eq!((seen.first("encrypted"), key.is_empty()), ("true", false), "{}", seen.body);
    // What is encrypted comes back encrypted, whatever is asked, under a key of this region's.
    let back = copy(&a, "b", &there, "false").await;
    completed(&a, &back).await;
    let seen = a.ok("DescribeSnapshots", &[("SnapshotId.1", &back)]).await;
    assert_eq!(seen.first("encrypted"), "true", "{}", seen.body);
    assert_ne!(seen.first("kmsKeyId"), key, "a key of another region");
    let out = stack.data().join("out.raw");
    let words = ["snapshot", "export", &back, out.to_str().unwrap(), "--format", "raw"];
    stack.cli("maker", &words).await.ok();
    assert!(fs::read(&out).unwrap() == disk, "the copy holds other bytes");

    // An image too; and under a key that is none it is never available.
    let ask = [("SourceRegion", "a"), ("SourceImageId", &*image), ("Name", "sealed")];
    let tags = [
        ("Encrypted", "true"),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "Of"),
        ("TagSpecification.1.Tag.1.Value", "image"),
        ("TagSpecification.2.ResourceType", "snapshot"),
        ("TagSpecification.2.Tag.1.Key", "Of"),
        ("TagSpecification.2.Tag.1.Value", "snapshot"),
    ];
    let ask = [&ask[..], &tags[..]].concat();
    let made = b.ok("CopyImage", &ask).await.first("imageId").to_owned();
    let seen = image_is(&b, &made, "available").await;
    assert_eq!(seen.all("value"), ["image"]);
    let snapshot = seen.first("snapshotId").to_owned();
    let seen = b.ok("DescribeSnapshots", &[("SnapshotId.1", &snapshot)]).await;
    assert_eq!((seen.first("encrypted"), seen.first("value")), ("true", "snapshot"));
    let ask = ask.iter().map(|(name, value)| (*name, if *name == "Name" { "bad" } else { value }));
    let mut ask: Vec<_> = ask.collect();
    ask.push(("KmsKeyId", "kms-0123456789abcdef0"));
    let made = b.ok("CopyImage", &ask).await.first("imageId").to_owned();
    image_is(&b, &made, "failed").await;
}
