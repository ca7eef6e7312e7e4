//! The life of an image, over a real socket.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{
    ANN, BOB, Running, ensure, from, image, image_id, reason, saga, start, state, whole,
};
use tonic::Code;
use vmint_api::catalog::v1 as pb;
use vmint_api::types::v1::{BlockDeviceMapping, EbsBlockDevice, Tag};
use vmint_store::{Options, Store};

fn pin(saga_id: &str, n: u64) -> pb::PinImageRequest {
    pb::PinImageRequest { saga: saga(saga_id, 1), image_id: image_id(n), lease: None }
}

fn deregister(n: u64, by: &str) -> pb::EnsureDeregisteredRequest {
    pb::EnsureDeregisteredRequest {
        saga: saga("ender", 1),
        image_id: image_id(n),
        account_id: by.into(),
    }
}

async fn get(running: &mut Running, n: u64) -> Option<pb::Image> {
    let request = pb::BatchGetImagesRequest {
        image_ids: vec![image_id(n), "nonsense".into()],
        account_id: String::new(),
    };
    running.internal.batch_get_images(request).await.unwrap().into_inner().images.pop()
}

#[tokio::test]
async fn an_image_goes_from_pending_to_available_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), Options::default()).unwrap();
    let store = open();
    let mut running = start(store.clone()).await;
    let full = pb::Image {
        description: "all of it".into(),
        boot_mode: pb::BootMode::Uefi.into(),
        platform: "windows".into(),
        product_codes: vec!["code1".into()],
        source_image_id: image_id(9),
        source_instance_id: "i-00000000000000009".into(),
        tags: vec![Tag { key: "Stage".into(), value: "prod".into() }],
        ..image(1, "base image")
    };
    let made = running.internal.ensure_image(ensure(full.clone())).await.unwrap().into_inner();
    let made = made.image.unwrap();
    assert_eq!(made.state(), pb::ImageState::Pending);
    let again = running.internal.ensure_image(ensure(full.clone())).await.unwrap().into_inner();
    assert_eq!(again.image.unwrap(), made);

    let half =
        pb::EnsureImageStateRequest { progress_percent: 50, ..state(1, pb::ImageState::Pending) };
    running.internal.ensure_image_state(half).await.unwrap();
    let back =
        pb::EnsureImageStateRequest { progress_percent: 20, ..state(1, pb::ImageState::Pending) };
    let back = running.internal.ensure_image_state(back).await.unwrap().into_inner();
    assert_eq!(back.image.unwrap().progress_percent, 50);
    let done = pb::EnsureImageStateRequest {
        product_codes: vec!["code2".into()],
        encrypted_snapshot_ids: vec!["snap-00000000000000001".into()],
        ..state(1, pb::ImageState::Available)
    };
    let first = running.internal.ensure_image_state(done.clone()).await.unwrap().into_inner();
    let second = running.internal.ensure_image_state(done).await.unwrap().into_inner();
    assert_eq!(first, second);
    let undone = state(1, pb::ImageState::Pending);
    let undone = running.internal.ensure_image_state(undone).await.unwrap_err();
    assert_eq!(reason(&undone), "IMAGE_NOT_AVAILABLE");
    running.stop().await;
    store.close().await;
    drop(store);

    let mut running = start(open()).await;
    let kept = get(&mut running, 1).await.unwrap();
    assert_eq!(Some(&kept), first.image.as_ref());
    let mapping = BlockDeviceMapping {
        device_name: "/dev/sda1".into(),
        ebs: Some(EbsBlockDevice {
            snapshot_id: "snap-00000000000000001".into(),
            size_gib: 0,
            delete_on_termination: Some(true),
            volume_type: "gp3".into(),
            encrypted: true,
            ..Default::default()
        }),
        no_device: false,
    };
    let expected = pb::Image {
        state: pb::ImageState::Available.into(),
        progress_percent: 100,
        product_codes: vec!["code1".into(), "code2".into()],
        block_device_mappings: vec![mapping],
        create_time: made.create_time,
        etag: kept.etag.clone(),
        ..full
    };
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_whole_image_is_available_from_its_record_on_and_its_saga_may_take_it_back() {
    let mut running = start(Store::in_memory()).await;
    let mut new = image(1, "base");
    new.block_device_mappings[0].ebs.as_mut().unwrap().encrypted = true;
    new.product_codes = vec!["code1".into()];
    let made = running.internal.ensure_image(whole(new.clone())).await.unwrap().into_inner();
    let made = made.image.unwrap();
    assert_eq!((made.state(), made.progress_percent), (pb::ImageState::Available, 100));
    assert!(made.block_device_mappings[0].ebs.as_ref().unwrap().encrypted);
    // Again, in either way, it is as it is.
    for again in [whole(new.clone()), ensure(new.clone())] {
        let again = running.internal.ensure_image(again).await.unwrap().into_inner();
        assert_eq!(again.image.as_ref(), Some(&made));
    }
    let taken = running.internal.ensure_image(whole(image(2, "base"))).await.unwrap_err();
    assert_eq!(reason(&taken), "IMAGE_NAME_TAKEN");
    let release =
        |saga_id: &str| pb::ReleaseImageRequest { saga: saga(saga_id, 1), image_id: image_id(1) };
    let refused = running.internal.release_image(release("another")).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_NOT_AVAILABLE");
    running.internal.release_image(release("maker")).await.unwrap();
    assert!(get(&mut running, 1).await.is_none());

    // What was recorded before it was whole moves on.
    running.internal.ensure_image(ensure(image(3, "slow"))).await.unwrap();
    let done = running.internal.ensure_image(whole(image(3, "slow"))).await.unwrap().into_inner();
    assert_eq!(done.image.unwrap().state(), pb::ImageState::Available);
    assert_eq!(get(&mut running, 3).await.unwrap().progress_percent, 100);
}

#[tokio::test]
async fn a_name_is_taken_while_its_image_lives() {
    let mut running = start(Store::in_memory()).await;
    running.available(image(1, "base")).await;
    let taken = running.internal.ensure_image(ensure(image(2, "base"))).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, "IMAGE_NAME_TAKEN".into()));
    let id_taken = running.internal.ensure_image(ensure(image(1, "other"))).await.unwrap_err();
    assert_eq!(reason(&id_taken), "FIELD_INVALID");
    let bobs = pb::Image { owner_id: BOB.into(), ..image(3, "base") };
    running.internal.ensure_image(ensure(bobs)).await.unwrap();

    running.internal.ensure_deregistered(deregister(1, ANN)).await.unwrap();
    running.internal.ensure_image(ensure(image(2, "base"))).await.unwrap();
    let failed = pb::EnsureImageStateRequest {
        state_reason: "the disk could not be read".into(),
        ..state(2, pb::ImageState::Failed)
    };
    let failed = running.internal.ensure_image_state(failed).await.unwrap().into_inner();
    let failed = failed.image.unwrap();
    assert_eq!(failed.state_reason, "the disk could not be read");
    assert_eq!(failed.state_reason_code, "Server.InternalError");
    running.internal.ensure_image(ensure(image(4, "base"))).await.unwrap();
}

#[tokio::test]
async fn what_breaks_the_rules_is_refused() {
    let mut running = start(Store::in_memory()).await;
    let good = || image(1, "good");
    for (bad, expected) in [
        (pb::Image { name: "x".into(), ..good() }, "IMAGE_NAME_INVALID"),
        (pb::Image { name: "bad*name".into(), ..good() }, "IMAGE_NAME_INVALID"),
        (pb::Image { architecture: 0, ..good() }, "FIELD_MISSING"),
        (pb::Image { root_device_name: String::new(), ..good() }, "FIELD_MISSING"),
        (pb::Image { root_device_name: "/dev/sdb".into(), ..good() }, "FIELD_INVALID"),
        (pb::Image { block_device_mappings: vec![], ..good() }, "FIELD_INVALID"),
        (pb::Image { image_id: "ami-1".into(), ..good() }, "FIELD_INVALID"),
        (pb::Image { image_id: String::new(), ..good() }, "FIELD_MISSING"),
        (pb::Image { owner_id: "ann".into(), ..good() }, "FIELD_INVALID"),
        (pb::Image { platform: "linux".into(), ..good() }, "FIELD_INVALID"),
        (pb::Image { description: "x".repeat(256), ..good() }, "FIELD_INVALID"),
        (pb::Image { product_codes: vec!["UPPER".into()], ..good() }, "FIELD_INVALID"),
        (pb::Image { source_image_id: "x".into(), ..good() }, "FIELD_INVALID"),
        (
            pb::Image { tags: vec![Tag { key: "aws:x".into(), value: String::new() }], ..good() },
            "TAG_INVALID",
        ),
        (
            pb::Image { product_codes: (0..21).map(|n| format!("code{n}")).collect(), ..good() },
            "FIELD_INVALID",
        ),
    ] {
        let refused = running.internal.ensure_image(ensure(bad.clone())).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{bad:?}");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let none = pb::EnsureImageRequest { saga: saga("s", 1), ..Default::default() };
    assert_eq!(reason(&running.internal.ensure_image(none).await.unwrap_err()), "FIELD_MISSING");
    let no_saga = pb::EnsureImageRequest { saga: None, ..ensure(good()) };
    assert_eq!(reason(&running.internal.ensure_image(no_saga).await.unwrap_err()), "FIELD_MISSING");
    assert!(get(&mut running, 1).await.is_none(), "nothing is left behind");
}

#[tokio::test]
async fn a_pin_holds_an_image_that_is_deregistered_and_no_new_one_does() {
    let mut running = start(Store::in_memory()).await;
    running.internal.ensure_image(ensure(image(1, "base"))).await.unwrap();
    let pending = running.internal.pin_image(pin("launch", 1)).await.unwrap_err();
    assert_eq!(reason(&pending), "IMAGE_NOT_AVAILABLE");
    let missing = running.internal.pin_image(pin("launch", 2)).await.unwrap_err();
    assert_eq!(reason(&missing), "IMAGE_NOT_FOUND");
    running.internal.ensure_image_state(state(1, pb::ImageState::Available)).await.unwrap();
    let pinned = running.internal.pin_image(pin("launch", 1)).await.unwrap().into_inner();
    assert_eq!(pinned.image.unwrap().name, "base");
    let brief = pb::PinImageRequest {
        lease: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
        ..pin("brief", 1)
    };
    running.internal.pin_image(brief).await.unwrap();

    let foreign = running.internal.ensure_deregistered(deregister(1, BOB)).await.unwrap_err();
    assert_eq!(reason(&foreign), "IMAGE_NOT_FOUND");
    let ended = running.internal.ensure_deregistered(deregister(1, ANN)).await.unwrap();
    let again = running.internal.ensure_deregistered(deregister(1, ANN)).await.unwrap();
    let ended = ended.into_inner();
    assert_eq!(ended, again.into_inner());
    assert!(ended.image.unwrap().deregister_time.is_some());

    running.internal.pin_image(pin("launch", 1)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    for late in ["brief", "other"] {
        let refused = running.internal.pin_image(pin(late, 1)).await.unwrap_err();
        assert_eq!(reason(&refused), "IMAGE_NOT_AVAILABLE");
    }
    let unpin = || pb::UnpinImageRequest { saga: saga("launch", 1), image_id: image_id(1) };
    running.internal.unpin_image(unpin()).await.unwrap();
    running.internal.unpin_image(unpin()).await.unwrap();
    assert!(running.internal.pin_image(pin("launch", 1)).await.is_err());
    let forever = pb::PinImageRequest {
        lease: Some(prost_types::Duration { seconds: 90_000, nanos: 0 }),
        ..pin("launch", 1)
    };
    assert_eq!(reason(&running.internal.pin_image(forever).await.unwrap_err()), "FIELD_INVALID");
}

#[tokio::test]
async fn an_image_is_taken_back_by_whoever_made_it() {
    let mut running = start(Store::in_memory()).await;
    let release =
        |by: &str, n| pb::ReleaseImageRequest { saga: saga(by, 1), image_id: image_id(n) };
    running.internal.release_image(release("maker", 1)).await.unwrap();
    running.internal.ensure_image(ensure(image(1, "one"))).await.unwrap();
    running.internal.release_image(release("maker", 1)).await.unwrap();
    assert!(get(&mut running, 1).await.is_none());

    running.available(image(1, "one")).await;
    let stranger = running.internal.release_image(release("stranger", 1)).await.unwrap_err();
    assert_eq!(reason(&stranger), "IMAGE_NOT_AVAILABLE");
    running.internal.release_image(release("maker", 1)).await.unwrap();
    assert!(get(&mut running, 1).await.is_none());

    running.available(image(2, "two")).await;
    running.internal.pin_image(pin("launch", 2)).await.unwrap();
    running.internal.release_image(release("maker", 2)).await.unwrap();
    running.internal.release_image(release("maker", 2)).await.unwrap();
    let left = get(&mut running, 2).await.unwrap();
    assert_eq!(left.state(), pb::ImageState::Deregistered);
}

#[tokio::test]
async fn product_codes_are_only_added() {
    let mut running = start(Store::in_memory()).await;
    running.available(pb::Image { product_codes: vec!["one".into()], ..image(1, "base") }).await;
    let add = |by: &str| pb::EnsureProductCodesRequest {
        saga: saga("s", 1),
        image_id: image_id(1),
        account_id: by.into(),
        product_codes: vec!["two".into(), "one".into()],
    };
    let foreign = running.internal.ensure_product_codes(add(BOB)).await.unwrap_err();
    assert_eq!(reason(&foreign), "IMAGE_NOT_FOUND");
    let added = running.internal.ensure_product_codes(add(ANN)).await.unwrap().into_inner();
    assert_eq!(added.image.unwrap().product_codes, ["one", "two"]);
    running.internal.ensure_deregistered(deregister(1, ANN)).await.unwrap();
    let ended = running.internal.ensure_product_codes(add(ANN)).await.unwrap_err();
    assert_eq!(reason(&ended), "IMAGE_NOT_AVAILABLE");
}

#[tokio::test]
async fn an_older_gateway_is_kept_out() {
    let mut running = start(Store::in_memory()).await;
    let of = |epoch, n| pb::EnsureImageRequest {
        saga: saga("s", epoch),
        ..ensure(image(n, &format!("image {n}")))
    };
    running.internal.ensure_image(of(3, 1)).await.unwrap();
    let late = running.internal.ensure_image(of(2, 2)).await.unwrap_err();
    assert_eq!(reason(&late), "SAGA_FENCED");
    assert!(get(&mut running, 2).await.is_none());
}

#[tokio::test]
async fn an_owner_changes_description_and_tags() {
    let mut running = start(Store::in_memory()).await;
    let read = running.available(image(1, "base")).await;
    let change = |description: &str, request_id: &str| pb::UpdateImageRequest {
        image_id: image_id(1),
        description: Some(description.into()),
        put_tags: vec![Tag { key: "Stage".into(), value: "test".into() }],
        request_id: request_id.into(),
        ..Default::default()
    };
    let with_etag = pb::UpdateImageRequest { etag: read.etag.clone(), ..change("new", "1") };
    let updated = running.users.update_image(from(ANN, with_etag.clone())).await.unwrap();
    let updated = updated.into_inner();
    let again = running.users.update_image(from(ANN, with_etag.clone())).await.unwrap();
    assert_eq!(updated, again.into_inner(), "the same request has the same answer");
    let image = updated.image.unwrap();
    assert_eq!((image.description.as_str(), image.tags.len()), ("new", 1));
    assert_ne!(image.etag, read.etag);

    let stale = pb::UpdateImageRequest { request_id: "2".into(), ..with_etag };
    let stale = running.users.update_image(from(ANN, stale)).await.unwrap_err();
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
    let reused = running.users.update_image(from(ANN, change("other", "1"))).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    let missing = pb::UpdateImageRequest { image_id: image_id(5), ..change("x", "") };
    let missing = running.users.update_image(from(BOB, missing)).await.unwrap_err();
    let foreign = running.users.update_image(from(BOB, change("x", ""))).await.unwrap_err();
    assert_eq!((foreign.code(), reason(&foreign)), (missing.code(), "IMAGE_NOT_FOUND".into()));
    assert_eq!(
        foreign.message().replace(&image_id(1), ""),
        missing.message().replace(&image_id(5), "")
    );
    let reserved = pb::UpdateImageRequest {
        put_tags: vec![Tag { key: "vmint:x".into(), value: String::new() }],
        ..change("x", "")
    };
    let reserved = running.users.update_image(from(ANN, reserved)).await.unwrap_err();
    assert_eq!(reason(&reserved), "TAG_INVALID");
    let emptied = pb::UpdateImageRequest {
        image_id: image_id(1),
        description: Some(String::new()),
        remove_tag_keys: vec!["Stage".into(), "none".into()],
        ..Default::default()
    };
    let emptied = running.users.update_image(from(ANN, emptied)).await.unwrap().into_inner();
    let emptied = emptied.image.unwrap();
    assert_eq!((emptied.description.as_str(), emptied.tags.len()), ("", 0));
    let long = pb::UpdateImageRequest { request_id: "r".repeat(129), ..change("x", "") };
    let long = running.users.update_image(from(ANN, long)).await.unwrap_err();
    assert_eq!(reason(&long), "FIELD_INVALID");
}

#[tokio::test]
async fn semantics_13_tokens_once_required_stay_required() {
    let mut running = start(Store::in_memory()).await;
    running.available(image(1, "debian-12")).await;
    let update = |require| pb::UpdateImageRequest {
        image_id: image_id(1),
        require_imds_v2: require,
        ..Default::default()
    };
    for require in [true, false] {
        let changed = running.users.update_image(from(ANN, update(require))).await.unwrap();
        assert!(changed.into_inner().image.unwrap().imds_v2_required);
    }
}

#[tokio::test]
async fn one_tag_too_many_has_a_reason_of_its_own() {
    let mut running = start(Store::in_memory()).await;
    running.available(image(1, "debian-12")).await;
    let put = |n| vmint_api::types::v1::Tag { key: format!("k{n}"), value: String::new() };
    let update = |tags: std::ops::Range<u32>| pb::UpdateImageRequest {
        image_id: image_id(1),
        put_tags: tags.map(put).collect(),
        ..Default::default()
    };
    running.users.update_image(from(ANN, update(0..50))).await.unwrap();
    let refused = running.users.update_image(from(ANN, update(50..51))).await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_MANY_TAGS");
}
