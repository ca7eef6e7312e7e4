//! An image's whole life through the command line: from a disk file to machines, shared,
//! changed, copied and ended.
//!
//! Proves: S1, S2, S3, S5, S6, S8, S10, S12, S15, S17, S23

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_stream::StreamExt as _;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{GetImageRequest, RunInstancesRequest},
    launcher::v1::InstanceState,
};
use vmint_rpc::{ServiceAddress, connect_plain};
use vmint_tests::{BOOT, READY, SOON, Stack, refused, skip, until};

const FRIEND: &str = "200000000002";

/// A machine as `ls` shows it.
async fn row(stack: &Stack, account: &str, name: &str) -> String {
    let list = stack.cli(account, &["ls"]).await.ok();
    let row = list.lines().find(|line| line.starts_with(&format!("{name} ")));
    row.unwrap_or_else(|| panic!("{name} is not in {list}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_lives_from_a_disk_to_its_end() {
    let stack = Stack::start().await;
    let disk = match tokio::task::spawn_blocking(vmint_tests::disk).await.unwrap() {
        Ok(disk) => disk.to_str().unwrap(),
        Err(why) => return skip("an_image_lives_from_a_disk_to_its_end", &why),
    };
    let (maker, friend) = (stack.account("maker"), stack.account("friend"));

    // Imported, then registered: available to its owner, and to nobody else.
    let words = ["import", disk, "unused", "--snapshot-only", "-o", "id"];
    let snapshot = stack.cli("maker", &words).await.ok();
    assert!(snapshot.starts_with("snap-"), "{snapshot}");
    let words = ["image", "register", "demo", "--snapshot", &snapshot, "-o", "id"];
    let image = stack.cli("maker", &words).await.ok();
    assert!(image.starts_with("ami-"), "{image}");
    let shown = stack.cli("maker", &["image", "show", "demo"]).await.ok();
    assert!(shown.contains("available as demo"), "{shown}");
    assert!(friend.images().await.is_empty());
    stack.cli("friend", &["launch", &image]).await.refused(3, "IMAGE_NOT_FOUND");

    // Shared with one account: that one may launch it, a third still may not.
    let said = stack.cli("maker", &["share", &image, FRIEND]).await.ok();
    assert!(said.ends_with(FRIEND), "{said}");
    assert_eq!(friend.images().await.len(), 1);
    let words = ["launch", &image, "no", "--type", "v1.micro"];
    let unknown = stack.cli("stranger", &words).await.refused(3, "IMAGE_NOT_FOUND");
    let never = "ami-0123456789abcdef0";
    let words = ["launch", never, "no", "--type", "v1.micro"];
    let missing = stack.cli("stranger", &words).await.refused(3, "IMAGE_NOT_FOUND");
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(first_line(&unknown).replace(&image, never), first_line(&missing));
    assert!(stack.account("stranger").instances().await.is_empty());
    // Launching is all that it allows: the image stays its owner's.
    let theirs = stack.cli("friend", &["image", "deregister", &image]).await;
    assert_ne!(theirs.code, 0, "{theirs:?}");
    assert_eq!(maker.image_made(&image).await.state(), ImageState::Available);

    // Launched: it runs, belongs to who launched it, boots and lets its key in.
    stack.cli("friend", &["key", "create", "k"]).await.ok();
    let words = ["launch", &image, "first", "--key", "k", "--type", "v1.micro", "-o", "id"];
    let first = stack.cli("friend", &words).await.ok();
    assert!(row(&stack, "friend", "first").await.contains("running"));
    assert!(maker.instances().await.is_empty());
    let instance = friend.instances().await.remove(0);
    assert_eq!((instance.image_id.as_str(), instance.account_id.as_str()), (&*image, FRIEND));
    println!("accelerator {}", instance.accelerator);
    let boot = stack.cli("friend", &["logs", "first", "--follow", "--until", READY]).await.ok();
    assert!(boot.contains("vmint demo image") && boot.contains(&first), "{boot}");
    typed(&stack, "first").await;
    let install = "printf '#!/bin/sh\\necho works\\n' > /bin/tool; chmod 755 /bin/tool; tool";
    assert_eq!(stack.ssh("friend", "first", install).await, "works");
    let change = "echo changed > /root/change; sync; cat /root/change";
    assert_eq!(stack.ssh("friend", "first", change).await, "changed");

    metadata(&stack, &first, &image).await;

    // An image of the running machine; the second generation shows the change.
    let words = ["publish", "first", "demo-changed", "-o", "id"];
    let second_image = stack.cli("friend", &words).await.ok();
    let made = friend.image_made(&second_image).await;
    assert_eq!((made.owner_id.as_str(), made.public), (FRIEND, false));
    assert_eq!((&made.source_instance_id, &made.source_image_id), (&first, &image));
    assert!(row(&stack, "friend", "first").await.contains("running"));
    let words = ["launch", "demo-changed", "second", "--key", "k", "--type", "v1.micro"];
    stack.cli("friend", &words).await.ok();
    let second_boot = ["logs", "second", "--follow", "--until", READY];
    stack.cli("friend", &second_boot).await.ok();
    assert_eq!(stack.ssh("friend", "second", "cat /root/change; tool").await, "changed\nworks");
    // Each has a disk of its own.
    stack.ssh("friend", "second", "echo other > /root/change; sync").await;
    assert_eq!(stack.ssh("friend", "first", "cat /root/change").await, "changed");
    stack.cli("friend", &["terminate", "second"]).await.ok();

    // A right taken back binds the next call.
    let said = stack.cli("maker", &["unshare", &image, FRIEND]).await.ok();
    assert!(said.ends_with("its owner alone"), "{said}");
    friend.launch_refused(&image, "IMAGE_NOT_FOUND").await;
    assert!(!friend.images().await.iter().any(|i| i.image_id == image));

    // Copied, then ended: no launch any more, but what runs goes on, and the copy boots.
    let words = ["image", "copy", &image, "demo-copy", "-o", "id"];
    let copy = stack.cli("maker", &words).await.ok();
    assert_ne!(copy, image);
    let copied = maker.image_made(&copy).await;
    let root = copied.block_device_mappings[0].ebs.as_ref().unwrap().snapshot_id.clone();
    assert_ne!(root, snapshot, "the copy has no snapshot of its own");
    stack.cli("friend", &["launch", &copy]).await.refused(3, "IMAGE_NOT_FOUND");
    let words = ["image", "deregister", &image, "--delete-snapshots"];
    let said = stack.cli("maker", &words).await;
    assert!(said.clone().ok().contains("deregistered"), "{said:?}");
    assert!(said.err.contains(&snapshot), "{said:?}");
    assert!(!maker.images().await.iter().any(|i| i.image_id == image));
    let gone = GetImageRequest { image_id: image.clone() };
    let gone = maker.gateway().get_image(gone).await.map(|a| a.into_inner().image.unwrap());
    assert!(gone.map_or(true, |image| image.state() == ImageState::Deregistered));
    for who in ["maker", "friend"] {
        let words = ["launch", &image, "late", "--type", "v1.micro"];
        assert_ne!(stack.cli(who, &words).await.code, 0, "{who} launched an ended image");
    }
    friend.launch_refused(&image, "IMAGE_NOT_FOUND").await;

    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = stack.ssh("friend", "first", boot_id).await;
    stack.cli("friend", &["reboot", "first"]).await.ok();
    until("the machine has rebooted", BOOT, async || {
        let said = stack.cli("friend", &["ssh", "first", "--", boot_id]).await;
        (said.code == 0 && said.out != before).then_some(())
    })
    .await;
    assert_eq!(stack.ssh("friend", "first", "cat /root/change; tool").await, "changed\nworks");

    // Stopped and started it keeps its data.
    stack.cli("friend", &["stop", "first"]).await.ok();
    assert!(row(&stack, "friend", "first").await.contains("stopped"));
    assert!(stack.machines().is_empty(), "a stopped machine has a process");
    let refusal = stack.cli("friend", &["ssh", "first", "--", "true"]).await;
    assert_ne!(refusal.code, 0);
    stack.cli("friend", &["start", "first"]).await.ok();
    assert!(row(&stack, "friend", "first").await.contains("running"));
    stack.cli("maker", &["share", "demo-copy", FRIEND]).await.ok();
    stack.cli("friend", &["launch", &copy, "third", "--key", "k", "--type", "v1.micro"]).await.ok();
    assert_eq!(stack.ssh("friend", "first", "cat /root/change").await, "changed");
    stack.cli("friend", &["logs", "third", "--follow", "--until", READY]).await.ok();
    let fresh = stack.ssh("friend", "third", "ls /root/change || echo none").await;
    assert_eq!(fresh, "none", "the copy holds what was changed later");

    stack.cli("friend", &["terminate", "first", "third"]).await.ok();
    until("nothing is left", SOON, async || {
        let clean = stack.machines().is_empty() && friend.volumes().await.is_empty();
        (clean && friend.living().await.is_empty()).then_some(())
    })
    .await;
    stack.healthy().await;
}

/// The serial console answers what is typed at it.
async fn typed(stack: &Stack, name: &str) {
    let mut command = stack.command("friend", &["console", name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut console = command.spawn().unwrap();
    let (mut keys, mut screen) = (console.stdin.take().unwrap(), console.stdout.take().unwrap());
    keys.write_all(b"\n\necho $((6*7))4242\n").await.unwrap();
    let mut seen = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&seen).contains("424242") {
            let mut piece = [0; 4096];
            let read = screen.read(&mut piece).await.unwrap();
            assert!(read > 0, "the console ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..read]);
        }
    };
    let answered = timeout(SOON, read).await;
    assert!(answered.is_ok(), "no answer: {}", String::from_utf8_lossy(&seen));
    keys.write_all(&[0x1d]).await.unwrap();
    let ended = timeout(Duration::from_secs(10), console.wait()).await;
    assert!(ended.expect("Ctrl-] ends it").unwrap().success());
}

/// The guest learns who it is with a token, and nothing without.
async fn metadata(stack: &Stack, instance: &str, image: &str) {
    let ask = |first: &str, header: &str| {
        format!(
            "printf '{first} HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\n{header}\
             Connection: close\\r\\n\\r\\n' | nc -w 10 169.254.169.254 80 | tr -d '\\r'"
        )
    };
    let bare = ask("GET /latest/meta-data/instance-id", "");
    let said = stack.ssh("friend", "first", &bare).await;
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    assert!(!said.contains(instance), "told without a token: {said}");
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\\r\\nContent-Length: 0\\r\\n";
    let said = stack.ssh("friend", "first", &ask("PUT /latest/api/token", ttl)).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let token = said.lines().last().unwrap();
    for (path, value) in [("instance-id", instance), ("ami-id", image)] {
        let header = format!("X-aws-ec2-metadata-token: {token}\\r\\n");
        let request = ask(&format!("GET /latest/meta-data/{path}"), &header);
        let said = stack.ssh("friend", "first", &request).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with(value), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_makes_many_machines() {
    let stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("one_image_makes_many_machines", &why),
    };
    let maker = stack.account("maker");
    stack.cli("maker", &["key", "create", "k"]).await.ok();

    // Without an image, or with a count nobody can mean, nothing is launched.
    let nothing = RunInstancesRequest { image_id: String::new(), ..maker.launching("", "none") };
    assert_eq!(refused(maker.gateway().run_instances(nothing).await).reason, "FIELD_INVALID");
    let many = RunInstancesRequest { count: 100_000, ..maker.launching(&image, "many") };
    assert!(!refused(maker.gateway().run_instances(many).await).reason.is_empty());
    assert!(maker.living().await.is_empty());

    let words = ["launch", &image, "--count", "3", "--key", "k", "--type", "v1.nano", "-o", "id"];
    let said = stack.cli("maker", &words).await.ok();
    let ids: Vec<&str> = said.lines().collect();
    assert_eq!(ids.len(), 3);
    let instances = maker.instances().await;
    let mut indexes: Vec<_> = instances.iter().map(|i| i.launch_index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2]);
    assert!(instances.iter().all(|i| i.state() == InstanceState::Running));
    let mut volumes: Vec<_> =
        instances.iter().flat_map(|i| &i.volumes).map(|v| v.volume_id.clone()).collect();
    volumes.sort_unstable();
    volumes.dedup();
    assert_eq!(volumes.len(), 3, "machines share volumes: {volumes:?}");
    assert_eq!(stack.machines().len(), 3);

    for (at, id) in ids.iter().enumerate() {
        maker.booted(id).await;
        let write = format!("test ! -e /root/mine && echo {at} > /root/mine && sync");
        stack.ssh("maker", id, &write).await;
    }
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(stack.ssh("maker", id, "cat /root/mine").await, at.to_string());
        let own = stack.ssh("maker", id, "hostname").await;
        assert!(!own.is_empty() && own != "vmint", "{id} is called `{own}`");
    }
    maker.terminate(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()).await;
    until("the volumes' end", SOON, async || maker.volumes().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself_to_everybody() {
    let stack = Stack::start().await;
    let maker = stack.account("maker");
    // Without a token.
    let address = ServiceAddress::Tcp(stack.gateway());
    let mut client = ServerReflectionClient::new(connect_plain(&address, "gateway"));
    let asked = MessageRequest::ListServices(String::new());
    let asked = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut answers =
        client.server_reflection_info(tokio_stream::once(asked)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
    for service in ["catalog", "permissions", "marketplace", "storage", "launcher", "gateway"] {
        let named = |name: &&&str| name.starts_with(&format!("vmint.{service}.v1."));
        assert!(names.iter().find(named).is_some(), "{service} is not in {names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("Internal")), "{names:?}");

    // A foreign client needs nothing else.
    let Some(buf) = vmint_tests::buf() else {
        return skip("the_api_describes_itself_to_everybody (buf curl)", "buf cannot be fetched");
    };
    let call = |method: &str, header: Option<&str>| {
        let mut command = Command::new(&buf);
        command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{}"]);
        if let Some(header) = header {
            command.args(["-H", header]);
        }
        let out = command.arg(format!("http://{}/{method}", stack.gateway())).output();
        vmint_tests::Said::from(out.unwrap())
    };
    let token = format!("authorization: Bearer {}", maker.token);
    let who = "vmint.permissions.v1.PermissionsService/GetCallerIdentity";
    let said = call(who, Some(&token)).ok();
    assert!(said.contains("100000000001"), "{said}");
    let said = call(who, None);
    assert!(said.code != 0 && said.err.contains("unauthenticated"), "{said:?}");
}
