//! Machines and copies of images that belong to somebody else, over EC2's own protocol: what
//! plain copies of it get wrong, by number. No machine runs here; they are on paper.
//!
//! Proves: nothing in full; the semantics that the names of the tests number.

use vmint_api::storage::v1::SetEncryptionByDefaultRequest;
use vmint_tests::{Answer, Ec2, SOON, Setting, Stack, new_request_id, until};

const MAKER: &str = "100000000001";
const FRIEND: &str = "200000000002";

struct Stage {
    stack: Stack,
    maker: Ec2,
    friend: Ec2,
    /// The maker's, and its root's snapshot.
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
    Stage { stack, maker, friend, image, snapshot }
}

impl Stage {
    async fn share(&self, image: &str) {
        let share = [("ImageId", image), ("LaunchPermission.Add.1.UserId", FRIEND)];
        self.maker.ok("ModifyImageAttribute", &share).await;
    }

    /// A machine of the friend's that runs.
    async fn run(&self, image: &str) -> String {
        let run = [("ImageId", image), ("MinCount", "1"), ("MaxCount", "1")];
        let id = self.friend.ok("RunInstances", &run).await.first("instanceId").to_owned();
        until(&format!("{id} runs"), SOON, async || {
            let seen = self.friend.ok("DescribeInstances", &[("InstanceId.1", &id)]).await;
            seen.body.contains("<name>running</name>").then_some(())
        })
        .await;
        id
    }

    async fn disks(&self, instance: &str) -> Answer {
        let filter = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", instance)];
        self.friend.ok("DescribeVolumes", &filter).await
    }
}

async fn available(who: &Ec2, id: &str) -> Answer {
    until(&format!("{id} is available"), SOON, async || {
        let seen = who.ok("DescribeImages", &[("ImageId.1", id)]).await;
        assert_ne!(seen.first("imageState"), "failed", "{}", seen.body);
        (seen.first("imageState") == "available").then_some(seen)
    })
    .await
}

fn copy<'a>(of: &'a str, name: &'a str) -> [(&'a str, &'a str); 3] {
    [("SourceImageId", of), ("SourceRegion", "us-east-1"), ("Name", name)]
}

fn coded(code: &str, status: u16) -> (String, u16) {
    (code.to_owned(), status)
}

#[tokio::test]
async fn semantics_10_a_machine_remembers_its_image_whatever_becomes_of_it() {
    let stage = stage().await;
    let (maker, friend) = (&stage.maker, &stage.friend);
    let public = [("ImageId", &*stage.image), ("LaunchPermission.Add.1.Group", "all")];
    maker.ok("ModifyImageAttribute", &public).await;
    let made = friend.ok("DescribeImages", &[("ImageId.1", &stage.image)]).await;
    let made = made.first("creationDate").to_owned();
    let instance = stage.run(&stage.image).await;
    let metadata = async || {
        let asked = [("InstanceId.1", instance.as_str())];
        let seen = friend.ok("DescribeInstanceImageMetadata", &asked).await;
        assert_eq!(seen.first("instanceId"), instance);
        assert_eq!(seen.first("instanceOwnerId"), FRIEND);
        // The machine's state, and the image's name.
        assert_eq!(
            (seen.first("imageId"), seen.all("name")),
            (&*stage.image, vec!["running", "first"])
        );
        assert_eq!((seen.first("imageOwnerId"), seen.first("creationDate")), (MAKER, &*made));
        (seen.first("imageState").to_owned(), seen.first("isPublic").to_owned())
    };
    let shown = |state: &str, public: &str| (state.to_owned(), public.to_owned());
    assert_eq!(metadata().await, shown("available", "true"));

    // Private: nobody else finds it any more, and the machine still says whose it is.
    let private = [("ImageId", &*stage.image), ("LaunchPermission.Remove.1.Group", "all")];
    maker.ok("ModifyImageAttribute", &private).await;
    let by_id = [("ImageId.1", stage.image.as_str())];
    assert_eq!(friend.refused("DescribeImages", &by_id).await, coded("InvalidAMIID.NotFound", 400));
    assert_eq!(metadata().await, shown("available", "false"));

    maker.ok("DeregisterImage", &[("ImageId", &stage.image)]).await;
    assert_eq!(metadata().await, shown("deregistered", "false"));
    let seen = friend.ok("DescribeInstances", &[("InstanceId.1", &instance)]).await;
    assert_eq!(seen.first("imageId"), stage.image);
    // Filters are those of the machine; another's machines are not shown.
    for (state, found) in [("running", 1), ("stopped", 0)] {
        let filter = [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", state)];
        let seen = friend.ok("DescribeInstanceImageMetadata", &filter).await;
        assert_eq!(seen.all("imageMetadata").len(), found, "{}", seen.body);
    }
    let none = maker.ok("DescribeInstanceImageMetadata", &[]).await;
    assert!(none.all("instanceId").is_empty());
}

#[tokio::test]
async fn semantics_20_disks_of_a_launch_are_under_the_launchers_key() {
    let stage = stage().await;
    let (maker, friend) = (&stage.maker, &stage.friend);
    let sealed = [&copy(&stage.image, "sealed")[..], &[("Encrypted", "true")]].concat();
    let sealed = maker.ok("CopyImage", &sealed).await.first("imageId").to_owned();
    available(maker, &sealed).await;
    stage.share(&sealed).await;
    let theirs = maker.ok("GetEbsDefaultKmsKeyId", &[]).await.first("kmsKeyId").to_owned();

    let instance = stage.run(&sealed).await;
    let disks = stage.disks(&instance).await;
    let own = friend.ok("GetEbsDefaultKmsKeyId", &[]).await.first("kmsKeyId").to_owned();
    assert_ne!(own, theirs);
    assert_eq!((disks.first("encrypted"), disks.first("kmsKeyId")), ("true", &*own));
    // So is an image of it, which nobody else can take the key from.
    let make = [("InstanceId", &*instance), ("Name", "mine"), ("NoReboot", "true")];
    let mine = friend.ok("CreateImage", &make).await.first("imageId").to_owned();
    let mine = available(friend, &mine).await;
    let kept = [("SnapshotId.1", mine.first("snapshotId"))];
    assert_eq!(friend.ok("DescribeSnapshots", &kept).await.first("kmsKeyId"), own);

    // What is not encrypted is if the launch says so, or the account always does.
    stage.share(&stage.image).await;
    let plain = stage.run(&stage.image).await;
    assert_eq!(stage.disks(&plain).await.first("encrypted"), "false");
    let root = [
        ("ImageId", &*stage.image),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
    ];
    let asked = friend.ok("RunInstances", &root).await.first("instanceId").to_owned();
    let always = SetEncryptionByDefaultRequest { enabled: true, request_id: new_request_id() };
    let account = stage.stack.account("friend");
    let mut keys =
        vmint_api::storage::v1::key_service_client::KeyServiceClient::new(account.channel());
    keys.set_encryption_by_default(always).await.unwrap();
    let forced = stage.run(&stage.image).await;
    for instance in [asked, forced] {
        let disks = until("its disk", SOON, async || {
            let disks = stage.disks(&instance).await;
            (!disks.first("volumeId").is_empty()).then_some(disks)
        })
        .await;
        assert_eq!((disks.first("encrypted"), disks.first("kmsKeyId")), ("true", &*own));
    }
}

/// EC2's rule: a launch permission lets nobody at the storage; its owner lets it in there too.
#[tokio::test]
async fn an_image_is_copied_by_whom_its_storage_is_shared_with() {
    let stage = stage().await;
    let (maker, friend) = (&stage.maker, &stage.friend);
    let denied = coded("InvalidRequest", 400);
    let mine = copy(&stage.image, "mine");
    let hidden = friend.refused("CopyImage", &mine).await;
    assert_eq!(hidden, coded("InvalidAMIID.NotFound", 400));
    stage.share(&stage.image).await;
    assert_eq!(friend.refused("CopyImage", &mine).await, denied);
    let share = |verb| {
        let to = if verb == "Add" {
            "CreateVolumePermission.Add.1.UserId"
        } else {
            "CreateVolumePermission.Remove.1.UserId"
        };
        [("SnapshotId", &*stage.snapshot), (to, FRIEND)]
    };
    maker.ok("ModifySnapshotAttribute", &share("Add")).await;
    let copied = friend.ok("CopyImage", &mine).await.first("imageId").to_owned();
    let seen = available(friend, &copied).await;
    assert_eq!((seen.first("imageOwnerId"), seen.first("isPublic")), (FRIEND, "false"));
    let snapshot = [("SnapshotId.1", seen.first("snapshotId"))];
    assert_eq!(friend.ok("DescribeSnapshots", &snapshot).await.first("ownerId"), FRIEND);
    maker.ok("ModifySnapshotAttribute", &share("Remove")).await;
    assert_eq!(friend.refused("CopyImage", &copy(&stage.image, "more")).await, denied);
    stage.run(&copied).await;
}
