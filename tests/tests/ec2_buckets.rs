//! Images on their way into and out of buckets, over EC2's own protocol. No machine runs here;
//! the bytes are real.
//!
//! Proves: nothing in full; what EC2 says of imports and exports (§3.11) and of stored images
//! (§3.6, number 32).

use vmint_tests::{Answer, Ec2, SOON, Setting, Stack, noise, until};

const MIB: usize = 1 << 20;

/// Asks `action` until `state` is no more as at its beginning.
async fn ended(ec2: &Ec2, action: &str, ask: &[(&str, &str)], state: &str) -> Answer {
    until(&format!("the end of {ask:?}"), SOON, async || {
        let seen = ec2.ok(action, ask).await;
        let now = seen.first(state);
        (!["active", "deleting", "InProgress", "pending"].contains(&now)).then_some(seen)
    })
    .await
}

async fn imported(ec2: &Ec2, task: &str) -> Answer {
    let ask = [("ImportTaskId.1", task)];
    ended(ec2, "DescribeImportSnapshotTasks", &ask, "status").await
}

async fn exported(ec2: &Ec2, task: &str) -> Answer {
    let ask = [("ExportImageTaskId.1", task)];
    ended(ec2, "DescribeExportImageTasks", &ask, "status").await
}

async fn image(ec2: &Ec2, id: &str) -> Answer {
    ended(ec2, "DescribeImages", &[("ImageId.1", id)], "imageState").await
}

/// Puts a disk into a bucket in parts.
async fn put_in_parts(ec2: &Ec2, target: &str, disk: &[u8]) {
    let id = ec2.s3_ok("POST", &format!("{target}?uploads"), b"").await.inside("UploadId");
    let mut named = String::new();
    for (n, part) in disk.chunks(5 * MIB).enumerate() {
        let at = format!("{target}?partNumber={}&uploadId={id}", n + 1);
        let etag = ec2.s3_ok("PUT", &at, part).await.header("etag");
        named += &format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", n + 1);
    }
    let all = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    ec2.s3_ok("POST", &format!("{target}?uploadId={id}"), all.as_bytes()).await;
}

async fn stage() -> (Stack, Ec2) {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    maker.s3_ok("PUT", "/disks", b"").await;
    (stack, maker)
}

/// An image over one disk, brought in from a bucket; its id and its snapshot's.
async fn made_of(maker: &Ec2, disk: &[u8], name: &str) -> (String, String) {
    let key = format!("in/{name}.raw");
    put_in_parts(maker, &format!("/disks/{key}"), disk).await;
    let ask = [
        ("DiskContainer.Format", "RAW"),
        ("DiskContainer.UserBucket.S3Bucket", "disks"),
        ("DiskContainer.UserBucket.S3Key", &key),
        ("TagSpecification.1.ResourceType", "import-snapshot-task"),
        ("TagSpecification.1.Tag.1.Key", "stage"),
        ("TagSpecification.1.Tag.1.Value", name),
    ];
    let begun = maker.ok("ImportSnapshot", &ask).await;
    assert_eq!((begun.first("s3Bucket"), begun.first("s3Key")), ("disks", &*key));
    let task = begun.first("importTaskId").to_owned();
    let seen = imported(maker, &task).await;
    assert_eq!(seen.first("status"), "completed", "{}", seen.body);
    assert_eq!(seen.first("diskImageSize"), format!("{}.0", disk.len()));
    assert_eq!((seen.first("key"), seen.first("value")), ("stage", name));
    let snapshot = seen.first("snapshotId").to_owned();
    let register = [
        ("Name", name),
        ("Architecture", "x86_64"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", &snapshot),
    ];
    (maker.ok("RegisterImage", &register).await.first("imageId").to_owned(), snapshot)
}

async fn export(maker: &Ec2, image: &str, format: &str, more: &[(&str, &str)]) -> Answer {
    let base = [
        ("ImageId", image),
        ("DiskImageFormat", format),
        ("S3ExportLocation.S3Bucket", "disks"),
        ("S3ExportLocation.S3Prefix", "out/"),
    ];
    maker.ok("ExportImage", &[&base, more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_buckets_and_snapshots_and_go_back() {
    let (stack, maker) = stage().await;
    let (root, data) = (noise(11 * MIB, 1), noise(MIB, 2));
    let (other, snapshot) = made_of(&maker, &data, "data").await;
    put_in_parts(&maker, "/disks/root.raw", &root).await;

    // Two disks, one from a bucket and one that is here already.
    let ask = [
        ("DiskContainer.1.Url", "s3://disks/root.raw"),
        ("DiskContainer.1.Format", "raw"),
        ("DiskContainer.2.SnapshotId", &snapshot),
        ("DiskContainer.2.DeviceName", "/dev/sdf"),
        ("Platform", "Windows"),
        ("Description", "of a bucket"),
        ("ClientToken", "import"),
        ("TagSpecification.1.ResourceType", "import-image-task"),
        ("TagSpecification.1.Tag.1.Key", "stage"),
        ("TagSpecification.1.Tag.1.Value", "both"),
    ];
    let begun = maker.ok("ImportImage", &ask).await;
    let (task, id) = (begun.first("importTaskId").to_owned(), begun.first("imageId").to_owned());
    assert_eq!((begun.first("platform"), begun.first("architecture")), ("Windows", "x86_64"));
    assert_eq!(maker.ok("ImportImage", &ask).await.first("importTaskId"), task);
    let seen = image(&maker, &id).await;
    assert_eq!((seen.first("imageState"), seen.first("platform")), ("available", "windows"));
    assert_eq!(seen.all("deviceName"), ["/dev/sda1", "/dev/sdf"]);
    let made = seen.all("snapshotId");
    assert!(made.len() == 2 && !made.contains(&&*snapshot), "{}", seen.body);
    // The other one may go: nothing of the new one is in it.
    maker.ok("DeregisterImage", &[("ImageId", &other)]).await;
    maker.ok("DeleteSnapshot", &[("SnapshotId", &snapshot)]).await;
    let seen = maker.ok("DescribeImportImageTasks", &[("ImportTaskId.1", &task)]).await;
    assert_eq!((seen.first("status"), seen.first("value")), ("completed", "both"));
    assert_eq!((seen.first("imageId"), seen.first("platform")), (&*id, "Windows"));

    // Out again, over a restart in the midst of it: a file of each disk.
    let token = [("ClientToken", "export"), ("Description", "home")];
    let tags = [
        ("TagSpecification.1.ResourceType", "export-image-task"),
        ("TagSpecification.1.Tag.1.Key", "stage"),
        ("TagSpecification.1.Tag.1.Value", "out"),
    ];
    let more = [&token[..], &tags].concat();
    let begun = export(&maker, &id, "RAW", &more).await;
    let old = stack.kill9("storage");
    stack.back("storage", old).await;
    let task = begun.first("exportImageTaskId").to_owned();
    assert!(task.starts_with("export-ami-"), "{}", begun.body);
    assert_eq!((begun.first("s3Bucket"), begun.first("s3Prefix")), ("disks", "out/"));
    assert_eq!(begun.first("diskImageFormat"), "RAW");
    let again = export(&maker, &id, "RAW", &more).await;
    assert_eq!(again.first("exportImageTaskId"), task);
    let seen = exported(&maker, &task).await;
    assert_eq!((seen.first("status"), seen.first("description")), ("completed", "home"));
    assert_eq!((seen.first("imageId"), seen.first("value")), (&*id, "out"));
    let got = maker.s3_ok("GET", &format!("/disks/out/{task}.raw"), b"").await;
    assert!(got.body == root);
    let got = maker.s3_ok("GET", &format!("/disks/out/{task}-1.raw"), b"").await;
    assert!(got.body == data);
    // What is done can't be cancelled, and its files stay.
    let cancel = [("ExportTaskId", &*task)];
    assert_eq!(maker.refused("CancelExportTask", &cancel).await.0, "IncorrectState");
    let vmdk = export(&maker, &id, "VMDK", &[]).await.first("exportImageTaskId").to_owned();
    assert_eq!(exported(&maker, &vmdk).await.first("status"), "completed");
    let got = maker.s3_ok("GET", &format!("/disks/out/{vmdk}.vmdk"), b"").await;
    assert_eq!(&got.body[..4], b"KDMV");

    // Tasks are labelled as anything else.
    let label = [("ResourceId.1", &*task), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    maker.ok("CreateTags", &label).await;
    let of = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", &*task)];
    let seen = maker.ok("DescribeTags", &of).await;
    assert_eq!(
        (seen.all("key"), seen.first("resourceType")),
        (vec!["k", "stage"], "export-image-task")
    );
    maker.ok("DeleteTags", &[("ResourceId.1", &task)]).await;
    assert!(maker.ok("DescribeTags", &of).await.all("key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_32_a_restored_image_has_a_new_id_and_the_same_bytes() {
    let (_stack, maker) = stage().await;
    let disk = noise(3 * MIB, 4);
    let (id, _) = made_of(&maker, &disk, "kept").await;
    let store = [("ImageId", &*id), ("Bucket", "disks")];
    let stored = maker.ok("CreateStoreImageTask", &store).await;
    let key = stored.first("objectKey").to_owned();
    assert_eq!(key, format!("{id}.bin"));
    // Once a bucket.
    assert_eq!(maker.refused("CreateStoreImageTask", &store).await.0, "IncorrectState");
    let ask = [("ImageId.1", &*id)];
    let seen = ended(&maker, "DescribeStoreImageTasks", &ask, "storeTaskState").await;
    assert_eq!(seen.first("storeTaskState"), "Completed", "{}", seen.body);
    assert_eq!((seen.first("progressPercentage"), seen.first("s3objectKey")), ("100", &*key));
    assert_eq!(maker.refused("CreateStoreImageTask", &store).await.0, "IncorrectState");
    let of = [("Filter.1.Name", "task-state"), ("Filter.1.Value.1", "Failed")];
    assert!(maker.ok("DescribeStoreImageTasks", &of).await.all("amiId").is_empty());

    let restore = [("Bucket", "disks"), ("ObjectKey", &*key)];
    // The name is taken as long as the first is there.
    assert_eq!(
        maker.refused("CreateRestoreImageTask", &restore).await.0,
        "InvalidAMIName.Duplicate"
    );
    maker.ok("DeregisterImage", &[("ImageId", &id)]).await;
    let tags = [
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "of"),
        ("TagSpecification.1.Tag.1.Value", "image"),
        ("TagSpecification.2.ResourceType", "snapshot"),
        ("TagSpecification.2.Tag.1.Key", "of"),
        ("TagSpecification.2.Tag.1.Value", "snapshot"),
    ];
    let back = maker.ok("CreateRestoreImageTask", &[&restore[..], &tags].concat()).await;
    let back = back.first("imageId").to_owned();
    assert_ne!(back, id);
    let seen = image(&maker, &back).await;
    assert_eq!((seen.first("imageState"), seen.first("name")), ("available", "kept"));
    assert_eq!(seen.first("value"), "image");
    let made = maker.ok("DescribeSnapshots", &[("SnapshotId.1", seen.first("snapshotId"))]).await;
    assert_eq!(made.first("value"), "snapshot");
    let task = export(&maker, &back, "RAW", &[]).await.first("exportImageTaskId").to_owned();
    assert_eq!(exported(&maker, &task).await.first("status"), "completed");
    let got = maker.s3_ok("GET", &format!("/disks/out/{task}.raw"), b"").await;
    assert!(got.body == disk);
    // The object stays for others; what is no bundle makes no image.
    let named = [&restore[..], &[("Name", "another")]].concat();
    let other = maker.ok("CreateRestoreImageTask", &named).await.first("imageId").to_owned();
    assert_eq!(image(&maker, &other).await.first("name"), "another");
    let wrong = [("Bucket", "disks"), ("ObjectKey", "in/kept.raw")];
    assert_eq!(maker.refused("CreateRestoreImageTask", &wrong).await.0, "InvalidFormat");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_or_fails_leaves_nothing_in_the_bucket() {
    let (_stack, maker) = stage().await;
    let (id, _) = made_of(&maker, &noise(24 * MIB, 5), "large").await;
    let mut tasks = Vec::new();
    // Four are written at a time, so that the last has not begun.
    for _ in 0..8 {
        tasks.push(export(&maker, &id, "VMDK", &[]).await.first("exportImageTaskId").to_owned());
    }
    let last = tasks.pop().unwrap();
    maker.ok("CancelExportTask", &[("ExportTaskId", &last)]).await;
    let seen = exported(&maker, &last).await;
    assert_eq!((seen.first("status"), seen.first("statusMessage")), ("deleted", "cancelled"));
    for task in &tasks {
        assert_eq!(exported(&maker, task).await.first("status"), "completed");
    }
    let listed = maker.s3_ok("GET", "/disks?list-type=2&prefix=out%2F", b"").await;
    assert_eq!(listed.inside("KeyCount"), "7");
    assert!(!listed.text().contains(&last));
}
