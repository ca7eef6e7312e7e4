//! Machines and images over EC2's own protocol, on paper: what plain copies of it get wrong,
//! by number. No machine runs here.
//!
//! Proves: nothing in full; the semantics that the names of the tests number.

use vmint_tests::{Answer, Ec2, SOON, Setting, Stack, until};

struct Stage {
    _stack: Stack,
    maker: Ec2,
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
    let described = maker.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    let snapshot = described.first("snapshotId").to_owned();
    Stage { _stack: stack, maker, image, snapshot }
}

impl Stage {
    async fn run(&self, more: &[(&str, &str)]) -> String {
        let base = [("ImageId", self.image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
        let params = base.iter().chain(more).copied().collect::<Vec<_>>();
        let id = self.maker.ok("RunInstances", &params).await.first("instanceId").to_owned();
        self.instance(&id, "running").await;
        id
    }

    /// Waits until an instance stands so.
    async fn instance(&self, id: &str, state: &str) -> Answer {
        let wanted = format!("<name>{state}</name>");
        until(&format!("{id} is {state}"), SOON, async || {
            let seen = self.maker.ok("DescribeInstances", &[("InstanceId.1", id)]).await;
            seen.body.contains(&wanted).then_some(seen)
        })
        .await
    }

    /// Waits until an image stands so.
    async fn image(&self, id: &str, state: &str) -> Answer {
        until(&format!("{id} is {state}"), SOON, async || {
            let seen = self.maker.ok("DescribeImages", &[("ImageId.1", id)]).await;
            (seen.first("imageState") == state).then_some(seen)
        })
        .await
    }

    async fn disks(&self, instance: &str) -> Answer {
        let filter = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", instance)];
        self.maker.ok("DescribeVolumes", &filter).await
    }
}

#[tokio::test]
async fn semantics_14_15_29_an_image_of_a_machine_is_whole_and_its_own() {
    let stage = stage().await;
    let maker = &stage.maker;
    let id = stage
        .run(&[
            ("BlockDeviceMapping.1.DeviceName", "/dev/sdb"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "4"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "io1"),
            ("BlockDeviceMapping.1.Ebs.Iops", "200"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdc"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "1"),
            ("BlockDeviceMapping.2.Ebs.Encrypted", "true"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Of"),
            ("TagSpecification.1.Tag.1.Value", "instance"),
            ("TagSpecification.2.ResourceType", "volume"),
            ("TagSpecification.2.Tag.1.Key", "Of"),
            ("TagSpecification.2.Tag.1.Value", "volume"),
        ])
        .await;
    let disks = stage.disks(&id).await;
    let mut types = disks.all("volumeType");
    types.sort_unstable();
    assert_eq!(types, ["gp3", "gp3", "io1"]);
    assert_eq!(disks.all("value"), ["volume"; 3]);
    assert!(disks.all("encrypted").contains(&"true"), "{}", disks.body);
    // The root goes with its machine, what the launch added stays.
    let shown = maker.ok("DescribeInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(shown.all("deleteOnTermination"), ["true", "false", "false", "true"]);
    let launched = shown.first("launchTime").to_owned();

    // 14: without NoReboot its machine is off meanwhile and runs again; with it, it runs on.
    let make = [
        ("InstanceId", id.as_str()),
        ("Name", "whole"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdb"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "Of"),
        ("TagSpecification.1.Tag.1.Value", "image"),
        ("TagSpecification.2.ResourceType", "snapshot"),
        ("TagSpecification.2.Tag.1.Key", "Of"),
        ("TagSpecification.2.Tag.1.Value", "snapshot"),
    ];
    let whole = maker.ok("CreateImage", &make).await.first("imageId").to_owned();
    let seen = stage.image(&whole, "available").await;
    stage.instance(&id, "running").await;
    let console = maker.ok("GetConsoleOutput", &[("InstanceId", &id)]).await;
    assert!(!console.first("output").is_empty());
    assert_eq!(seen.all("volumeType"), ["gp3", "io1", "gp3"]);
    assert_eq!(seen.all("iops"), ["3000", "200", "3000"]);
    assert_eq!(seen.all("encrypted"), ["false", "false", "true"]);
    assert_eq!(seen.all("deleteOnTermination"), ["true", "true", "false"]);

    // 15: private, of its machine and its image, with the tags that were asked for.
    assert_eq!((seen.first("isPublic"), seen.first("sourceInstanceId")), ("false", &*id));
    assert_eq!(seen.first("sourceImageId"), stage.image);
    assert_eq!(seen.all("value"), ["image"]);
    let snapshots = seen.all("snapshotId");
    assert_eq!(snapshots.len(), 3);
    let kept = maker.ok("DescribeSnapshots", &[("SnapshotId.1", snapshots[0])]).await;
    let words = format!("Created by CreateImage({id}) for {whole}");
    assert_eq!((kept.first("description"), kept.first("value")), (&*words, "snapshot"));

    let bare = [
        ("InstanceId", id.as_str()),
        ("Name", "bare"),
        ("NoReboot", "true"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdb"),
        ("BlockDeviceMapping.1.NoDevice", ""),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdc"),
        ("BlockDeviceMapping.2.NoDevice", ""),
    ];
    let bare = maker.ok("CreateImage", &bare).await.first("imageId").to_owned();
    let seen = stage.image(&bare, "available").await;
    assert_eq!((seen.all("deviceName"), seen.all("key")), (vec!["/dev/sda1"], vec![]));
    let larger = [
        ("InstanceId", id.as_str()),
        ("Name", "larger"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdb"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "9"),
    ];
    let refused = maker.refused("CreateImage", &larger).await;
    assert_eq!(refused, ("InvalidParameterValue".to_owned(), 400));
    assert!(!launched.is_empty());

    // 29: what an image needs stays.
    let needed = maker.refused("DeleteSnapshot", &[("SnapshotId", &stage.snapshot)]).await;
    assert_eq!(needed, ("InvalidSnapshot.InUse".to_owned(), 400));
}

#[tokio::test]
async fn semantics_29_38_42_what_is_needed_stays_and_a_token_makes_one() {
    let stage = stage().await;
    let maker = &stage.maker;
    let needed = maker.refused("DeleteSnapshot", &[("SnapshotId", &stage.snapshot)]).await;
    assert_eq!(needed, ("InvalidSnapshot.InUse".to_owned(), 400));

    // 38: the ids of the first, in whatever state they are; another body is refused.
    let token = ("ClientToken", "once");
    let first = stage.run(&[token]).await;
    let again = stage.run(&[token]).await;
    assert_eq!(first, again);
    let base = [("ImageId", stage.image.as_str()), ("MinCount", "1"), ("MaxCount", "2"), token];
    let other = maker.refused("RunInstances", &base).await;
    assert_eq!(other, ("IdempotentParameterMismatch".to_owned(), 400));

    // 42: to the millisecond, in UTC.
    let seen = maker.ok("DescribeImages", &[("ImageId.1", &stage.image)]).await;
    let created = seen.first("creationDate");
    assert!(created.len() == 24 && created.ends_with('Z') && &created[19..20] == ".", "{created}");
    let filter = [("Filter.1.Name", "creation-date"), ("Filter.1.Value.1", created)];
    assert_eq!(maker.ok("DescribeImages", &filter).await.first("imageId"), stage.image);

    // Tags of machines and keys are as those of everything else.
    let pair = maker.ok("CreateKeyPair", &[("KeyName", "door")]).await;
    assert!(pair.first("keyMaterial").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let pair = pair.first("keyPairId").to_owned();
    let tag = [
        ("ResourceId.1", first.as_str()),
        ("ResourceId.2", pair.as_str()),
        ("ResourceId.3", stage.snapshot.as_str()),
        ("ResourceId.4", stage.image.as_str()),
        ("Tag.1.Key", "Stage"),
        ("Tag.1.Value", "prod"),
    ];
    // All or none.
    let mut wrong = tag;
    wrong[1].1 = "key-00000000000000001";
    let refused = maker.refused("CreateTags", &wrong).await;
    assert_eq!(refused, ("InvalidKeyPair.NotFound".to_owned(), 400));
    assert!(maker.ok("DescribeTags", &[]).await.all("key").is_empty());
    maker.ok("CreateTags", &tag).await;
    let tags = maker.ok("DescribeTags", &[]).await;
    let mut kinds = tags.all("resourceType");
    kinds.sort_unstable();
    assert_eq!(kinds, ["image", "instance", "key-pair", "snapshot"]);
    let by_tag = [("Filter.1.Name", "tag:Stage"), ("Filter.1.Value.1", "prod")];
    assert_eq!(maker.ok("DescribeInstances", &by_tag).await.first("instanceId"), first);
    assert_eq!(maker.ok("DescribeKeyPairs", &by_tag).await.first("keyName"), "door");
    let mut gone = tag;
    gone[5].1 = "other";
    maker.ok("DeleteTags", &gone).await;
    assert_eq!(maker.ok("DescribeTags", &[]).await.all("key").len(), 4);
    maker.ok("DeleteTags", &tag[..4]).await;
    assert!(maker.ok("DescribeTags", &[]).await.all("key").is_empty());
}
