//! Imports and encryption by default as EC2 shows them.
//!
//! Proves: an import is one task to both faces, and what EC2 refuses of one (§3.11).

use std::fs;

use vmint_tests::{Answer, Ec2, SOON, Setting, Stack, access_key, until};

async fn ended(ec2: &Ec2, task: &str) -> Answer {
    until(&format!("the end of {task}"), SOON, async || {
        let ask = [("ImportTaskId.1", task)];
        let seen = ec2.ok("DescribeImportSnapshotTasks", &ask).await;
        (seen.first("status") != "active").then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_are_tasks_of_both_faces() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let ec2 = Ec2::with_key(access_key("maker"), &stack.gateway(), "local-1");
    let friend = Ec2::with_key(access_key("friend"), &stack.gateway(), "local-1");

    // Brought in by the command line, encrypted as the account has it by EC2.
    let off = ec2.ok("GetEbsEncryptionByDefault", &[]).await;
    assert_eq!(off.first("ebsEncryptionByDefault"), "false");
    let on = ec2.ok("EnableEbsEncryptionByDefault", &[]).await;
    assert_eq!(on.first("ebsEncryptionByDefault"), "true");
    let file = stack.data().join("disk.raw");
    fs::write(&file, vec![7; 3 << 20]).unwrap();
    let words = ["import", file.to_str().unwrap(), "web", "--format", "raw", "-o", "id"];
    let image = stack.cli("maker", &words).await.ok();
    let seen = ec2.ok("DescribeImportSnapshotTasks", &[]).await;
    let task = seen.first("importTaskId").to_owned();
    assert_eq!((seen.first("status"), seen.first("encrypted")), ("completed", "true"));
    assert_eq!((seen.first("format"), seen.first("diskImageSize")), ("RAW", "3145728.0"));
    let key = ec2.ok("GetEbsDefaultKmsKeyId", &[]).await.first("kmsKeyId").to_owned();
    assert_eq!(seen.first("kmsKeyId"), key);
    let snapshot = seen.first("snapshotId").to_owned();
    let shown = ec2.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    assert_eq!(shown.first("snapshotId"), snapshot);
    let only = [("Filters.1.Name", "task-state"), ("Filters.1.Value.1", "active")];
    let none = ec2.ok("DescribeImportSnapshotTasks", &only).await;
    assert!(none.all("importTaskId").is_empty(), "{}", none.body);
    let none = ec2.ok("DescribeImportImageTasks", &[]).await;
    assert!(none.all("importTaskId").is_empty(), "{}", none.body);

    // Whose it is not, and what has ended.
    let of = [("ImportTaskId.1", &*task)];
    let (code, _) = friend.refused("DescribeImportSnapshotTasks", &of).await;
    assert_eq!(code, "InvalidConversionTaskId");
    let done = ec2.ok("CancelImportTask", &[("ImportTaskId", &task)]).await;
    assert_eq!((done.first("previousState"), done.first("state")), ("completed", "completed"));

    // A URL that leads inside ends the task and leaves nothing; one that is not https is refused.
    let bad = [("DiskContainer.Url", "http://example.org/disk.raw")];
    assert_eq!(ec2.refused("ImportSnapshot", &bad).await.0, "InvalidParameterValue");
    let bad = [("DiskContainer.UserBucket.S3Bucket", "b"), ("DiskContainer.Url", "https://a.b/c")];
    assert_eq!(ec2.refused("ImportSnapshot", &bad).await.0, "InvalidParameterCombination");
    let inside = [
        ("DiskContainer.Url", "https://127.0.0.1/disk.vmdk"),
        ("DiskContainer.Format", "VMDK"),
        ("ClientToken", "one"),
    ];
    let begun = ec2.ok("ImportSnapshot", &inside).await.first("importTaskId").to_owned();
    assert_eq!(ec2.ok("ImportSnapshot", &inside).await.first("importTaskId"), begun);
    let seen = ended(&ec2, &begun).await;
    assert_eq!(seen.first("status"), "deleted");
    assert!(seen.first("statusMessage").contains("127.0.0.1"), "{}", seen.body);
    assert!(seen.first("snapshotId").is_empty(), "{}", seen.body);

    // An image's import is named after its task, and fails with it.
    let ask = [
        ("DiskContainer.1.Url", "https://127.0.0.1/disk.vmdk"),
        ("DiskContainer.1.Format", "vmdk"),
    ];
    let begun = ec2.ok("ImportImage", &ask).await;
    let (task, image) = (begun.first("importTaskId").to_owned(), begun.first("imageId").to_owned());
    assert!(task.starts_with("import-ami-"), "{}", begun.body);
    until("the image has failed", SOON, async || {
        let seen = ec2.ok("DescribeImages", &[("ImageId.1", &image)]).await;
        (seen.first("imageState") == "failed" && seen.first("name") == task).then_some(())
    })
    .await;
    let seen = ec2.ok("DescribeImportImageTasks", &[("ImportTaskId.1", &task)]).await;
    assert_eq!(seen.first("status"), "deleted", "{}", seen.body);
    let off = ec2.ok("DisableEbsEncryptionByDefault", &[]).await;
    assert_eq!(off.first("ebsEncryptionByDefault"), "false");
}
