//! The image's whole life by a foreign gRPC client that knows nothing but reflection.
//!
//! Proves: nothing in full; what a foreign client needs, and parts of S 9, S 30 and S 31.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;
use vmint_api::launcher::v1::InstanceState;
use vmint_tests::{Account, Stack, buf, disk, skip};

/// Somebody who types `buf curl`.
struct Hand<'a> {
    buf: &'a Path,
    gateway: String,
    who: &'a Account,
}

impl Hand<'_> {
    /// The answer, or what the refusal says.
    async fn call(&self, method: &str, request: Value) -> Result<Value, String> {
        let out = Command::new(self.buf)
            .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
            .args(["-H", &format!("authorization: Bearer {}", self.who.token)])
            .args(["-d", &request.to_string()])
            .arg(format!("http://{}/vmint.{method}", self.gateway))
            .output()
            .await
            .unwrap();
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).into_owned());
        }
        Ok(serde_json::from_slice(&out.stdout).unwrap())
    }

    async fn gateway(&self, method: &str, request: Value) -> Result<Value, String> {
        self.call(&format!("gateway.v1.GatewayService/{method}"), request).await
    }

    /// Launches and answers the instance's id once it runs.
    async fn launch(&self, image: &str) -> String {
        let request = json!({"image_id": image, "instance_type": "v1.micro"});
        let answer = self.gateway("RunInstances", request).await.unwrap();
        let instance = text(&answer["instances"][0]["instanceId"]);
        self.who.reaches(&instance, InstanceState::Running).await;
        instance
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_is_typed_by_hand() {
    const TEST: &str = "the_whole_life_is_typed_by_hand";
    let Some(buf) = buf() else { return skip(TEST, "buf cannot be fetched") };
    let file = match disk() {
        Ok(file) => file,
        Err(why) => return skip(TEST, &why),
    };
    let stack = Stack::start().await;
    let (maker, friend) = (stack.account("maker"), stack.account("friend"));
    let stranger = stack.account("stranger");
    let hand = |who| Hand { buf: &buf, gateway: stack.gateway(), who };
    let (by_maker, by_friend, by_stranger) = (hand(&maker), hand(&friend), hand(&stranger));

    // The bytes go up by the command line; a stream is no work for hands.
    let words = ["import", file.to_str().unwrap(), "web", "--snapshot-only", "-o", "id"];
    let snapshot = stack.cli("maker", &words).await.ok().trim().to_owned();
    let image = json!({"name": "web", "architecture": "ARCHITECTURE_X86_64",
        "root_device_name": "/dev/sda1",
        "block_device_mappings": [{"device_name": "/dev/sda1", "ebs": {"snapshot_id": snapshot}}]});
    let answer = by_maker.gateway("RegisterImage", json!({"image": image})).await.unwrap();
    let image = text(&answer["image"]["imageId"]);
    assert_eq!(answer["image"]["state"], "IMAGE_STATE_AVAILABLE");

    let request = json!({"image_id": image, "add_account_ids": [friend.id]});
    by_maker.gateway("ModifyLaunchPermission", request).await.unwrap();
    let refused = by_stranger.gateway("RunInstances", json!({"image_id": image})).await;
    assert!(refused.unwrap_err().contains("not_found"));
    let refused = by_friend.gateway("DeregisterImage", json!({"image_id": image})).await;
    assert!(refused.is_err(), "only its owner ends an image");

    let first = by_friend.launch(&image).await;
    friend.booted(&first).await;

    // An image of the running machine is pending and then available.
    let request = json!({"instance_id": first, "name": "second"});
    let made = by_friend.gateway("CreateImage", request).await.unwrap();
    let second = text(&made["image"]["imageId"]);
    assert_eq!(made["image"]["sourceInstanceId"], first.as_str());
    friend.image_made(&second).await;

    let request = json!({"source_image_id": image, "name": "copy"});
    let copied = by_maker.gateway("CopyImage", request).await.unwrap();
    let copy = text(&copied["image"]["imageId"]);
    assert_ne!(copy, image);
    maker.image_made(&copy).await;
    let hidden = by_friend.gateway("GetImage", json!({"image_id": copy})).await;
    assert!(hidden.is_err(), "a copy carries nobody's permission");

    let request = json!({"image_id": image, "delete_snapshots": true});
    let ended = by_maker.gateway("DeregisterImage", request).await.unwrap();
    assert_eq!(ended["image"]["state"], "IMAGE_STATE_DEREGISTERED");
    for who in [&by_maker, &by_friend] {
        let refused = who.gateway("RunInstances", json!({"image_id": image})).await;
        assert!(refused.is_err(), "a deregistered image is not launched");
    }
    let running = json!({"instance_id": first});
    let running = by_friend.call("launcher.v1.LauncherService/GetInstance", running).await.unwrap();
    assert_eq!(running["instance"]["state"], "INSTANCE_STATE_RUNNING");

    // The copy lives without its source.
    let third = by_maker.launch(&copy).await;
    maker.booted(&third).await;
    by_friend.gateway("TerminateInstances", json!({"instance_ids": [first]})).await.unwrap();
    by_maker.gateway("TerminateInstances", json!({"instance_ids": [third]})).await.unwrap();
}
