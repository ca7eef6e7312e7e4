//! The images that `vmint up --stand-in-images` has from the first start: the Linux one is a
//! system that boots.
//!
//! Proves: nothing in full; what people rely on who test against a deployment.

use vmint_api::launcher::v1::InstanceState;
use vmint_tests::{BOOT, Ec2, Setting, Stack, disk, skip, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_linux_stand_in_boots_and_its_console_says_so() {
    let test = "the_linux_stand_in_boots_and_its_console_says_so";
    if let Err(why) = tokio::task::spawn_blocking(disk).await.unwrap() {
        return skip(test, &why);
    }
    let args = vec!["--stand-in-images"];
    let stack = Stack::start_with(Setting { args, ..Setting::default() }).await;
    let friend = stack.account("friend");
    let ec2 = Ec2::of(&friend, &stack.gateway()).await;
    let own = ("Filter.1.Value.1", "vmint-stand-in-linux-*");
    let asked = [("Owner.1", "amazon"), ("Filter.1.Name", "name"), own];
    let found = ec2.ok("DescribeImages", &asked).await;
    let described = found.first("description");
    assert!(described.starts_with("Stand-in: a small Linux"), "{described}");

    let name = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let run = [("ImageId", name), ("MinCount", "1"), ("MaxCount", "1")];
    let ran = ec2.ok("RunInstances", &run).await;
    assert_eq!(ran.first("imageId"), found.first("imageId"));
    let instance = ran.first("instanceId").to_owned();
    // A console has nothing to say before its machine runs.
    friend.reaches(&instance, InstanceState::Running).await;
    friend.booted(&instance).await;
    // As a stock client sees it.
    until("the console's output", BOOT, async || {
        let seen = ec2.ok("GetConsoleOutput", &[("InstanceId", &instance)]).await;
        (!seen.first("output").is_empty()).then_some(())
    })
    .await;
    let seen = ec2.ok("DescribeInstances", &[("InstanceId.1", &instance)]).await;
    assert!(seen.body.contains("<name>running</name>"), "{}", seen.body);
}
