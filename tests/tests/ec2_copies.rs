//! Copies, sharing and encryption over EC2's own protocol: what plain copies of it get wrong,
//! by number. No machine runs here; they are on paper.
//!
//! Proves: nothing in full; the semantics that the names of the tests number.

use vmint_tests::{Answer, Ec2, SOON, Setting, Stack, until};

const FRIEND: &str = "200000000002";

struct Stage {
    _stack: Stack,
    maker: Ec2,
    friend: Ec2,
    image: String,
    snapshot: String,
}

async fn stage() -> Stage {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let noise = stack.data().join("noise.raw");
    std::fs::write(&noise, vec![7; 1 << 20]).unwrap();
    let noise = noise.to_str().unwrap();
    let image = stack.cli("maker", &["import", noise, "first", "-o", "id"]).await.ok();
    let image = image.trim().to_owned();
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;
    let described = maker.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    let snapshot = described.first("snapshotId").to_owned();
    Stage { _stack: stack, maker, friend, image, snapshot }
}

async fn image(who: &Ec2, id: &str, state: &str) -> Answer {
    until(&format!("{id} is {state}"), SOON, async || {
        let seen = who.ok("DescribeImages", &[("ImageId.1", id)]).await;
        (seen.first("imageState") == state).then_some(seen)
    })
    .await
}

async fn copy(who: &Ec2, of: &str, name: &str, more: &[(&str, &str)]) -> String {
    let base = [("SourceImageId", of), ("SourceRegion", "us-east-1"), ("Name", name)];
    let params = base.iter().chain(more).copied().collect::<Vec<_>>();
    who.ok("CopyImage", &params).await.first("imageId").to_owned()
}

fn coded(code: &str, status: u16) -> (String, u16) {
    (code.to_owned(), status)
}

#[tokio::test]
async fn semantics_18_23_what_is_encrypted_stays_so_and_is_nobody_elses() {
    let stage = stage().await;
    let maker = &stage.maker;
    let plain = copy(maker, &stage.image, "plain", &[]).await;
    assert_eq!(image(maker, &plain, "available").await.first("encrypted"), "false");
    let sealed = copy(maker, &stage.image, "sealed", &[("Encrypted", "true")]).await;
    let seen = image(maker, &sealed, "available").await;
    assert_eq!(seen.first("encrypted"), "true");
    let kept = [("SnapshotId.1", seen.first("snapshotId"))];
    assert_eq!(maker.ok("DescribeSnapshots", &kept).await.first("encrypted"), "true");
    // 18: without a word of it a copy of it is too, and so is what is registered over it.
    let again = copy(maker, &sealed, "again", &[]).await;
    assert_eq!(image(maker, &again, "available").await.first("encrypted"), "true");
    let over = [
        ("Name", "over"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", seen.first("snapshotId")),
    ];
    let over = maker.ok("RegisterImage", &over).await.first("imageId").to_owned();
    assert_eq!(image(maker, &over, "available").await.first("encrypted"), "true");
    let filter =
        [("Filter.1.Name", "block-device-mapping.encrypted"), ("Filter.1.Value.1", "true")];
    assert_eq!(maker.ok("DescribeImages", &filter).await.all("imageId").len(), 3);

    // 18: a key alone is refused, and one that is not there fails the copy, not the call.
    let key = ("KmsKeyId", "kms-00000000000000001");
    let base = [("SourceImageId", &*plain), ("SourceRegion", "us-east-1"), ("Name", "x"), key];
    let alone = maker.refused("CopyImage", &base).await;
    assert_eq!(alone, coded("InvalidParameterCombination", 400));
    let failed = copy(maker, &plain, "failed", &[("Encrypted", "true"), key]).await;
    let failed = image(maker, &failed, "failed").await;
    assert!(!failed.first("message").is_empty(), "{}", failed.body);
    assert_eq!(failed.first("code"), "Server.InternalError");

    // 23: what is encrypted is not everybody's; a copy in the clear may be.
    let all = ("LaunchPermission.Add.1.Group", "all");
    let public = maker.refused("ModifyImageAttribute", &[("ImageId", &*sealed), all]).await;
    assert_eq!(public, coded("UnsupportedOperation", 400));
    maker.ok("ModifyImageAttribute", &[("ImageId", &*plain), all]).await;
    let seen = stage.friend.ok("DescribeImages", &[]).await;
    assert_eq!(seen.all("imageId"), [plain.as_str()]);
}

#[tokio::test]
async fn semantics_19_21_41_a_share_is_for_launching_and_a_copy_stands_alone() {
    let stage = stage().await;
    let (maker, friend) = (&stage.maker, &stage.friend);
    let share = [("ImageId", &*stage.image), ("LaunchPermission.Add.1.UserId", FRIEND)];
    maker.ok("ModifyImageAttribute", &share).await;

    // 21: its snapshots can be launched, not listed, read nor copied.
    let run = [("ImageId", &*stage.image), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = friend.ok("RunInstances", &run).await.first("instanceId").to_owned();
    assert!(friend.ok("DescribeSnapshots", &[]).await.all("snapshotId").is_empty());
    let named = [("SnapshotId.1", &*stage.snapshot)];
    let hidden = coded("InvalidSnapshot.NotFound", 400);
    assert_eq!(friend.refused("DescribeSnapshots", &named).await, hidden);
    let base = [("SourceImageId", &*stage.image), ("SourceRegion", "us-east-1"), ("Name", "mine")];
    assert_eq!(friend.refused("CopyImage", &base).await, coded("InvalidRequest", 400));
    // But who launches it may make an image of what runs, which is its own.
    until("the machine runs", SOON, async || {
        let seen = friend.ok("DescribeInstances", &[("InstanceId.1", &instance)]).await;
        seen.body.contains("<name>running</name>").then_some(())
    })
    .await;
    let make = [("InstanceId", &*instance), ("Name", "mine"), ("NoReboot", "true")];
    let mine = friend.ok("CreateImage", &make).await.first("imageId").to_owned();
    let seen = image(friend, &mine, "available").await;
    assert_eq!(seen.first("imageOwnerId"), FRIEND);
    assert_eq!(friend.ok("DescribeSnapshots", &[]).await.all("snapshotId").len(), 1);
    let not_found = coded("InvalidAMIID.NotFound", 400);
    assert_eq!(maker.refused("DescribeImages", &[("ImageId.1", &mine)]).await, not_found);

    // 19: a copy outlives its source.
    let other = copy(maker, &stage.image, "other", &[]).await;
    image(maker, &other, "available").await;
    let end = [("ImageId", &*stage.image), ("DeleteAssociatedSnapshots", "true")];
    assert_eq!(maker.ok("DeregisterImage", &end).await.all("returnCode"), ["success"]);
    assert_eq!(maker.refused("DescribeSnapshots", &named).await, hidden);
    let run = [("ImageId", &*other), ("MinCount", "1"), ("MaxCount", "1")];
    maker.ok("RunInstances", &run).await;

    // 41: what was just answered is there, in every listing.
    let seen = maker.ok("DescribeImages", &[("ImageId.1", &other)]).await;
    let snapshot = seen.first("snapshotId").to_owned();
    for n in 0..10 {
        let name = format!("image {n}");
        let params = [
            ("Name", name.as_str()),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", &snapshot),
        ];
        let made = maker.ok("RegisterImage", &params).await.first("imageId").to_owned();
        let seen = maker.ok("DescribeImages", &[("ImageId.1", &made)]).await;
        assert_eq!((seen.first("name"), seen.first("imageState")), (&*name, "available"));
        let tag = [("ResourceId.1", &*made), ("Tag.1.Key", "n"), ("Tag.1.Value", &*name)];
        maker.ok("CreateTags", &tag).await;
        let by_tag = [("Filter.1.Name", "tag:n"), ("Filter.1.Value.1", &*name)];
        assert_eq!(maker.ok("DescribeImages", &by_tag).await.all("imageId"), [made.as_str()]);
        maker.ok("DeregisterImage", &[("ImageId", &*made)]).await;
        assert!(maker.ok("DescribeImages", &by_tag).await.all("imageId").is_empty());
    }
}
