//! Disks of running machines over EC2's own protocol, seen from within: attached, written,
//! taken out and attached elsewhere; and what an image of a running machine holds.
//!
//! Proves: nothing in full; parts of S12, and the semantics that the names of the tests number.

use vmint_api::storage::v1::ListSnapshotsRequest;
use vmint_tests::{Answer, Ec2, SOON, Stack, disk, skip, until};

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

struct Stage {
    stack: Stack,
    maker: Ec2,
    image: String,
}

/// A stack with the demo's image and a key; none if its disk can't be built.
async fn stage(test: &str) -> Option<Stage> {
    if let Err(why) = tokio::task::spawn_blocking(disk).await.unwrap() {
        skip(test, &why);
        return None;
    }
    let stack = Stack::start().await;
    let image = stack.import_demo("maker", "demo").await.unwrap().trim().to_owned();
    stack.cli("maker", &["key", "create", "k"]).await.ok();
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    Some(Stage { stack, maker, image })
}

impl Stage {
    /// A machine that has booted, by its name.
    async fn launch(&self, name: &str, image: &str) -> String {
        let account = self.stack.account("maker");
        let id = account.launch(image, name, "k").await.instance_id;
        account.booted(&id).await;
        id
    }

    async fn ssh(&self, machine: &str, command: &str) -> String {
        self.stack.ssh("maker", machine, command).await
    }

    async fn volume(&self, id: &str, state: &str) {
        until(&format!("{id} is {state}"), SOON, async || {
            let seen = self.maker.ok("DescribeVolumes", &[("VolumeId.1", id)]).await;
            (seen.first("status") == state).then_some(())
        })
        .await;
    }

    async fn image(&self, id: &str) -> Answer {
        until(&format!("{id} is available"), SOON, async || {
            let seen = self.maker.ok("DescribeImages", &[("ImageId.1", id)]).await;
            assert_ne!(seen.first("imageState"), "failed", "{}", seen.body);
            (seen.first("imageState") == "available").then_some(seen)
        })
        .await
    }

    /// How still the disk of an image's root was.
    async fn consistency(&self, image: &Answer) -> String {
        let request = ListSnapshotsRequest {
            snapshot_ids: vec![image.first("snapshotId").to_owned()],
            ..Default::default()
        };
        let found = self.stack.account("maker").storage().list_snapshots(request).await.unwrap();
        found.into_inner().snapshots[0].consistency.clone()
    }
}

/// A shell's words that run `then` once the guest has the volume, as `$d`.
fn with(volume: &str, then: &str) -> String {
    let serial = volume.replace('-', "");
    format!(
        "n=0; while ! grep -q {serial} /sys/class/nvme/*/serial; do n=$((n+1)); \
         [ $n -gt 60 ] && exit 9; sleep 1; done; \
         d=$(grep -l {serial} /sys/class/nvme/*/serial | cut -d/ -f5)n1; {then}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_goes_from_one_running_machine_to_another() {
    let Some(stage) = stage("a_disk_goes_from_one_running_machine_to_another").await else {
        return;
    };
    let maker = &stage.maker;
    let (one, two) =
        tokio::join!(stage.launch("one", &stage.image), stage.launch("two", &stage.image));
    let made = maker.ok("CreateVolume", &[("Size", "1"), ("AvailabilityZone", "us-east-1a")]).await;
    let volume = made.first("volumeId").to_owned();
    let at = |instance: &str| {
        let pairs = [("VolumeId", &*volume), ("InstanceId", instance), ("Device", "/dev/sdf")];
        pairs.map(|(name, value)| (name, value.to_owned()))
    };
    let attach = async |instance: &str| {
        let params = at(instance);
        let params = params.each_ref().map(|(name, value)| (*name, value.as_str()));
        maker.ok("AttachVolume", &params).await;
        stage.volume(&volume, "in-use").await;
    };

    attach(&one).await;
    let write = "echo kept | dd of=/dev/$d bs=512 count=1 conv=sync,fsync 2>/dev/null; \
                 cat /sys/block/$d/size";
    assert_eq!(stage.ssh("one", &with(&volume, write)).await, "2097152");
    let seen = maker.ok("DescribeInstances", &[("InstanceId.1", &one)]).await;
    assert_eq!(seen.all("deviceName"), ["/dev/sda1", "/dev/sdf"]);
    // What was made of a snapshot says how much of it is here; an empty volume has nothing to say.
    let seen = maker.ok("DescribeVolumeStatus", &[]).await;
    assert_eq!(seen.all("volumeId").len(), 3);
    assert_eq!(seen.all("progress"), ["100", "100"]);
    let named = seen.all("name").into_iter().filter(|name| *name == "initialization-state");
    assert_eq!(named.count(), 2, "{}", seen.body);
    let seen = maker.ok("DescribeVolumeStatus", &[("VolumeId.1", &volume)]).await;
    assert_eq!((seen.all("progress").len(), seen.all("name").len()), (0, 1));
    // It is at one machine at a time.
    let params = at(&two);
    let params = params.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = maker.refused("AttachVolume", &params).await;
    assert_eq!(refused, ("VolumeInUse".to_owned(), 400));

    maker.ok("DetachVolume", &[("VolumeId", &volume)]).await;
    stage.volume(&volume, "available").await;
    let gone = format!("grep -c {} /sys/class/nvme/*/serial || true", volume.replace('-', ""));
    let left = stage.ssh("one", &gone).await;
    assert!(left.lines().all(|line| line.ends_with(":0") || line == "0"), "{left}");

    attach(&two).await;
    let read = "dd if=/dev/$d bs=4 count=1 2>/dev/null";
    assert_eq!(stage.ssh("two", &with(&volume, read)).await, "kept");
    // It stays when its machine goes: nobody said that it should not.
    maker.ok("TerminateInstances", &[("InstanceId.1", &two)]).await;
    stage.volume(&volume, "available").await;
    maker.ok("DeleteVolume", &[("VolumeId", &volume)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_14_a_running_machine_is_rebooted_for_its_image_unless_told_not_to() {
    let test = "semantics_14_a_running_machine_is_rebooted_for_its_image_unless_told_not_to";
    let Some(stage) = stage(test).await else { return };
    let maker = &stage.maker;
    let one = stage.launch("one", &stage.image).await;
    let first_boot = stage.ssh("one", BOOT_ID).await;

    let bare = [("InstanceId", one.as_str()), ("Name", "bare"), ("NoReboot", "true")];
    let bare = maker.ok("CreateImage", &bare).await.first("imageId").to_owned();
    let bare = stage.image(&bare).await;
    assert_eq!(stage.consistency(&bare).await, "crash-consistent");
    assert_eq!(stage.ssh("one", BOOT_ID).await, first_boot);

    // What its system has not written yet is there when it is shut down.
    stage.ssh("one", "echo last > /root/last").await;
    let whole = [("InstanceId", one.as_str()), ("Name", "whole")];
    let whole = maker.ok("CreateImage", &whole).await.first("imageId").to_owned();
    let seen = stage.image(&whole).await;
    assert_eq!(stage.consistency(&seen).await, "stopped");
    let account = stage.stack.account("maker");
    account.reaches(&one, vmint_api::launcher::v1::InstanceState::Running).await;
    let second_boot = stage.ssh("one", BOOT_ID).await;
    assert_ne!(second_boot, first_boot);
    stage.launch("copy", &whole).await;
    assert_eq!(stage.ssh("copy", "cat /root/last").await, "last");

    // The command line asks for it by a word.
    stage.stack.cli("maker", &["publish", "one", "again", "--reboot"]).await.ok();
    account.reaches(&one, vmint_api::launcher::v1::InstanceState::Running).await;
    assert_ne!(stage.ssh("one", BOOT_ID).await, second_boot);
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_16_an_image_fails_with_the_machine_that_it_is_made_of() {
    let test = "semantics_16_an_image_fails_with_the_machine_that_it_is_made_of";
    let Some(stage) = stage(test).await else { return };
    let maker = &stage.maker;
    let one = stage.launch("one", &stage.image).await;
    // Its system takes its time to shut down; it is ended before that.
    let make = [("InstanceId", one.as_str()), ("Name", "never")];
    let image = maker.ok("CreateImage", &make).await.first("imageId").to_owned();
    maker.ok("TerminateInstances", &[("InstanceId.1", &one)]).await;
    let failed = until("the image has failed", SOON, async || {
        let seen = maker.ok("DescribeImages", &[("ImageId.1", &image)]).await;
        assert_ne!(seen.first("imageState"), "available", "{}", seen.body);
        (seen.first("imageState") == "failed").then_some(seen)
    })
    .await;
    assert_eq!(failed.first("code"), "Client.InstanceTerminated");
    assert!(!failed.first("message").is_empty(), "{}", failed.body);
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let refused = maker.refused("RunInstances", &run).await;
    assert_eq!(refused, ("InvalidAMIID.Unavailable".to_owned(), 400));
    // Nothing else is left of it, and its name is free again.
    let kept = maker.ok("DescribeSnapshots", &[("Owner.1", "self")]).await;
    assert_eq!(kept.all("snapshotId").len(), 1, "{}", kept.body);
    let two = stage.launch("two", &stage.image).await;
    let make = [("InstanceId", two.as_str()), ("Name", "never"), ("NoReboot", "true")];
    let image = maker.ok("CreateImage", &make).await.first("imageId").to_owned();
    stage.image(&image).await;
}
