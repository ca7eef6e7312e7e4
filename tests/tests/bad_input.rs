//! What is wrong is refused with its reason and what to do, leaves nothing behind, and
//! harms nobody.
//!
//! Proves: nothing of the source alone; that refusals can be understood and cost nothing.

#[path = "bad_input/disks.rs"]
mod disks;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use disks::Qcow2;
use tonic::Code;
use vmint_api::{
    catalog::v1::catalog_internal_service_client::CatalogInternalServiceClient,
    gateway::v1 as gateway,
    launcher::v1 as launcher,
    permissions::v1::GetCallerIdentityRequest,
    storage::v1::{self as storage, import_snapshot_request::Part},
};
use vmint_tests::{
    Account, SOON, Seen, Setting, Stack, new_request_id, refused, refused_as, skip, until,
};

fn size(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap()
}

/// Everything everybody has.
async fn inventory(stack: &Stack) -> Vec<String> {
    let mut all = Vec::new();
    for name in ["maker", "friend", "stranger"] {
        let who = stack.account(name);
        all.extend(who.images().await.into_iter().map(|i| i.image_id));
        all.extend(who.snapshots().await.into_iter().map(|s| s.snapshot_id));
        all.extend(who.volumes().await.into_iter().map(|v| v.volume_id));
        all.extend(who.living().await.into_iter().map(|i| i.instance_id));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_disks_are_refused() {
    let stack = Stack::start().await;
    let maker = stack.account("maker");
    let good = Qcow2::default().bytes();
    maker.import("", size(&good), &good).await.unwrap();
    let before = inventory(&stack).await;
    assert_eq!(before.len(), 1);

    let qcow2 = |spoilt: Qcow2| spoilt.bytes();
    let passwd = "/etc/passwd";
    let cases: [(&str, &str, Vec<u8>, &str); 12] = [
        ("cut off", "", good[..70_000].to_vec(), "IMAGE_DAMAGED"),
        ("cut in its header", "", good[..40].to_vec(), "IMAGE_DAMAGED"),
        ("backing file", "", qcow2(Qcow2 { backing: passwd, ..Qcow2::default() }), "IMAGE_UNSAFE"),
        (
            "backing file, version 2",
            "",
            qcow2(Qcow2 { version: 2, backing: passwd, ..Qcow2::default() }),
            "IMAGE_UNSAFE",
        ),
        ("data file", "", qcow2(Qcow2 { incompatible: 4, ..Qcow2::default() }), "IMAGE_UNSAFE"),
        (
            "unknown feature",
            "",
            qcow2(Qcow2 { incompatible: 1 << 40, ..Qcow2::default() }),
            "IMAGE_UNSAFE",
        ),
        (
            "more disk than its table holds",
            "",
            qcow2(Qcow2 { size: 1 << 40, ..Qcow2::default() }),
            "IMAGE_DAMAGED",
        ),
        (
            "more disk than there may be",
            "",
            qcow2(Qcow2 { size: 1 << 60, ..Qcow2::default() }),
            "IMAGE_TOO_LARGE",
        ),
        (
            "a table outside the file",
            "",
            qcow2(Qcow2 { l1_offset: 1 << 40, ..Qcow2::default() }),
            "IMAGE_DAMAGED",
        ),
        ("called qcow2 and text", "qcow2", b"dear disk\n".repeat(200), "IMAGE_FORMAT_INVALID"),
        ("called raw and qcow2", "raw", good.clone(), "IMAGE_FORMAT_INVALID"),
        ("of no format we know", "floppy", vec![0; 4096], "FIELD_INVALID"),
    ];
    for (what, format, bytes, reason) in cases {
        let seen = refused(maker.import(format, size(&bytes), &bytes).await);
        println!("{what}: {} ({})", seen.message, seen.reason);
        assert_eq!(seen.reason, reason, "{what}: {seen:?}");
        assert!(seen.message.len() > 10, "{what}: {seen:?}");
        assert!(!seen.message.contains("root:"), "{what} read the host's file: {seen:?}");
    }
    refused_as(maker.import("", 0, &[]).await, "FIELD_INVALID");
    refused_as(maker.import("raw", 1 << 50, &[0; 512]).await, "IMAGE_TOO_LARGE");
    refused_as(maker.import("raw", -1, &[0; 512]).await, "FIELD_INVALID");

    // The command line says it in words, too.
    let file = stack.data().join("bad.qcow2");
    fs::write(&file, Qcow2 { backing: passwd, ..Qcow2::default() }.bytes()).unwrap();
    let words = ["import", file.to_str().unwrap(), "bad"];
    let said = stack.cli("maker", &words).await.refused(2, "IMAGE_UNSAFE");
    assert!(said.contains("backing"), "{said}");
    for words in [["import", "/nonexistent", "bad"], ["import", "/etc", "bad"]] {
        let said = stack.cli("maker", &words).await;
        assert!(said.code != 0 && said.err.contains(words[1]), "{said:?}");
    }

    // Parts that make no sense.
    let data = |offset, length| {
        let content = vec![1; length].into();
        Part::Data(storage::ImportData { offset, content })
    };
    let header = |file_bytes| {
        let request_id = new_request_id();
        Part::Header(storage::ImportHeader { file_bytes, request_id, ..Default::default() })
    };
    for parts in [
        vec![data(0, 512)],
        vec![header(1024), header(1024)],
        vec![header(1024), data(512, 512), data(0, 512)],
        vec![header(1024), data(512, 1024)],
        vec![header(8 << 20), data(0, (1 << 20) + 1)],
        vec![],
    ] {
        let parts = parts.into_iter().map(|p| storage::ImportSnapshotRequest { part: Some(p) });
        let sent = tokio_stream::iter(parts.collect::<Vec<_>>());
        refused_as(maker.storage().import_snapshot(sent).await, "IMPORT_SEQUENCE_INVALID");
    }
    assert_eq!(inventory(&stack).await, before);
    stack.healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused() {
    let stack = Stack::start().await;
    let maker = stack.account("maker");
    let snapshot = maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap().snapshot_id;
    let image = maker.register("plain", &snapshot).await.unwrap().image_id;
    let before = inventory(&stack).await;

    ids(&stack.account("friend")).await;
    fields(&maker, &image, &snapshot).await;
    doors(&stack, &maker).await;

    // More than a message may hold, at a method forwarded and at one of the gateway's own.
    let large = "x".repeat(20 << 20);
    let request = launcher::ImportKeyPairRequest {
        name: "large".into(),
        public_key: large.clone(),
        request_id: new_request_id(),
        ..Default::default()
    };
    worded(&refused(maker.launcher().import_key_pair(request).await));
    let mut request = maker.registering("large", &snapshot);
    request.image.as_mut().unwrap().description = large;
    worded(&refused(maker.gateway().register_image(request).await));

    assert_eq!(inventory(&stack).await, before);
    stack.healthy().await;
}

/// A refusal that says something, and is not a fault of ours.
fn worded(seen: &Seen) {
    println!("{:?}: {} ({})", seen.code, seen.message, seen.reason);
    assert!(!seen.message.is_empty(), "{seen:?}");
    assert!(!matches!(seen.code, Code::Internal | Code::Unknown), "{seen:?}");
}

/// Ids that are none, are nobody's, or somebody else's.
async fn ids(friend: &Account) {
    for id in ["ami-0123456789abcdef0", "ami-xyz", "i-0123456789abcdef0", "../../etc", "", "\u{0}"]
    {
        let request = gateway::GetImageRequest { image_id: id.into() };
        worded(&refused(friend.gateway().get_image(request).await));
        let seen = refused(friend.gateway().run_instances(friend.launching(id, "no")).await);
        let known = ["IMAGE_NOT_FOUND", "FIELD_INVALID"].contains(&&*seen.reason);
        assert!(known, "{id}: {seen:?}");
        let request = launcher::GetInstanceRequest { instance_id: id.into() };
        let seen = refused(friend.launcher().get_instance(request).await);
        let known = ["INSTANCE_NOT_FOUND", "FIELD_INVALID"].contains(&&*seen.reason);
        assert!(known, "{id}: {seen:?}");
        let request = storage::DeleteSnapshotRequest {
            snapshot_id: id.into(),
            request_id: new_request_id(),
            ..Default::default()
        };
        let seen = refused(friend.storage().delete_snapshot(request).await);
        let known = ["SNAPSHOT_NOT_FOUND", "FIELD_INVALID"].contains(&&*seen.reason);
        assert!(known, "{id}: {seen:?}");
    }
}

/// Fields that are missing or wrong.
async fn fields(maker: &Account, image: &str, snapshot: &str) {
    let empty = gateway::RegisterImageRequest { image: None, request_id: new_request_id() };
    refused_as(maker.gateway().register_image(empty).await, "FIELD_INVALID");
    for name in ["", "x", &"x".repeat(200), "bad\nname"] {
        worded(&refused(maker.register(name, snapshot).await));
    }
    worded(&refused(maker.register("stolen", "snap-0123456789abcdef0").await));
    let taken = refused(maker.register("plain", snapshot).await);
    assert_eq!((taken.code, taken.reason.as_str()), (Code::AlreadyExists, "IMAGE_NAME_TAKEN"));

    for who in ["999999999999", "12", "root", ""] {
        let request = gateway::ModifyLaunchPermissionRequest {
            image_id: image.into(),
            add_account_ids: vec![who.into()],
            request_id: new_request_id(),
            ..Default::default()
        };
        worded(&refused(maker.gateway().modify_launch_permission(request).await));
    }
    let launch = |change: &dyn Fn(&mut gateway::RunInstancesRequest)| {
        let mut request = maker.launching(image, "no");
        change(&mut request);
        request
    };
    for (request, reason) in [
        (launch(&|r| r.instance_type = "v9.none".into()), "INSTANCE_TYPE_UNKNOWN"),
        (launch(&|r| r.key_name = "none".into()), "KEY_PAIR_NOT_FOUND"),
        (launch(&|r| r.count = -1), "FIELD_INVALID"),
        (launch(&|r| r.user_data = vec![0; 1 << 20].into()), "FIELD_INVALID"),
        (launch(&|r| r.image_id.clear()), "FIELD_INVALID"),
    ] {
        refused_as(maker.gateway().run_instances(request).await, reason);
    }
    let request = launcher::ImportKeyPairRequest {
        name: "bad".into(),
        public_key: "ssh-rsa nonsense".into(),
        request_id: new_request_id(),
        ..Default::default()
    };
    refused_as(maker.launcher().import_key_pair(request).await, "PUBLIC_KEY_INVALID");
    let request = gateway::ListImagesRequest { page_token: "abc".into(), ..Default::default() };
    refused_as(maker.gateway().list_images(request).await, "PAGE_TOKEN_INVALID");
}

/// Who is not signed in gets nowhere, and nobody reaches what services keep to themselves.
async fn doors(stack: &Stack, maker: &Account) {
    for token in ["", "x", "vmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &"y".repeat(4000)] {
        let nobody = maker.with_token(&stack.gateway(), token);
        let seen =
            refused(nobody.permissions().get_caller_identity(GetCallerIdentityRequest {}).await);
        assert_eq!((seen.code, &*seen.reason), (Code::Unauthenticated, "NOT_SIGNED_IN"));
        let request = gateway::ListImagesRequest::default();
        refused_as(nobody.gateway().list_images(request).await, "NOT_SIGNED_IN");
    }
    let token = stack.cli("maker", &["account", "token", "--read-only"]).await.ok();
    let reader = maker.with_token(&stack.gateway(), &token);
    assert_eq!(reader.images().await.len(), 1);
    let request = launcher::CreateKeyPairRequest {
        name: "k".into(),
        request_id: new_request_id(),
        ..Default::default()
    };
    let seen = refused(reader.launcher().create_key_pair(request).await);
    assert_eq!(seen.code, Code::PermissionDenied, "{seen:?}");

    let mut inside = CatalogInternalServiceClient::new(maker.channel());
    let request = vmint_api::catalog::v1::EnsureImageRequest::default();
    refused_as(inside.ensure_image(request).await, "METHOD_UNKNOWN");
}

/// Every program of the host but QEMU.
fn without_qemu(dir: &Path) -> String {
    fs::create_dir_all(dir).unwrap();
    for from in ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"] {
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with("qemu") {
                // The first of a name counts, as on any search path.
                let _ = symlink(entry.path(), dir.join(name));
            }
        }
    }
    dir.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_qemu_a_launch_says_what_to_install() {
    let tools = tempfile::tempdir().unwrap();
    let path = Some(without_qemu(tools.path()));
    let stack = Stack::start_with(Setting { path, ..Setting::default() }).await;
    let maker = stack.account("maker");
    let snapshot = maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap().snapshot_id;
    let image = maker.register("plain", &snapshot).await.unwrap().image_id;
    let before = inventory(&stack).await;
    let said = stack.cli("maker", &["launch", &image, "m"]).await;
    assert!(said.code != 0 && said.err.contains("HYPERVISOR_MISSING"), "{said:?}");
    assert!(said.err.contains("apt-get install"), "{said:?}");
    until("nothing is left", SOON, async || (inventory(&stack).await == before).then_some(()))
        .await;
    stack.healthy().await;
}

/// A small file system of memory, gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("vf-").tempdir_in("/tmp").ok()?.keep();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"])
            .arg(&dir)
            .output();
        let this = Self(dir);
        done.is_ok_and(|done| done.status.success()).then_some(this)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers() {
    let Some(small) = Small::mount("1500m") else {
        return skip("a_full_disk_refuses_and_recovers", "mounting a file system needs root");
    };
    let data = Some(small.0.join("d"));
    fs::create_dir(small.0.join("d")).unwrap();
    let stack = Stack::start_with(Setting { data, ..Setting::default() }).await;
    let maker = stack.account("maker");
    maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap();
    let before = inventory(&stack).await;

    let filler = small.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let length = file.metadata().unwrap().len();
    file.set_len(length - (4 << 20)).unwrap();
    // An open file would keep its room.
    drop(file);

    // Nothing compresses this.
    let mut noise = vec![0; 24 << 20];
    let mut state = 1u64;
    for byte in &mut noise {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_be_bytes()[0];
    }
    let seen = refused_as(maker.import("raw", size(&noise), &noise).await, "DISK_FULL");
    assert!(seen.hint.is_some(), "{seen:?}");
    assert_eq!(inventory(&stack).await, before, "reading needs no space");
    stack.healthy().await;

    fs::remove_file(&filler).unwrap();
    let snapshot = maker.import("raw", size(&noise), &noise).await.unwrap();
    maker.register("after", &snapshot.snapshot_id).await.unwrap();
    drop(stack);
}
