//! What concerns one verb or one corner of the executor.

use std::{collections::HashSet, time::Duration};

use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1 as pb,
    launcher::v1::InstanceState,
    storage::v1::{ObjectName, disk_source::Source},
};
use vmint_rpc::Fault;
use vmint_store::Store;

use super::{
    Calm, Interfere, Moment,
    cases::{launch, package, register},
};
use crate::{
    reconcile,
    testing::{
        Lab, other, owner, settle,
        world::{IMAGE, INSTANCE, OTHER, PRODUCT, SNAPSHOT, VOLUME},
    },
};

fn run(image: &str, id: &str) -> pb::RunInstancesRequest {
    pb::RunInstancesRequest {
        image_id: image.to_owned(),
        request_id: id.to_owned(),
        ..pb::RunInstancesRequest::default()
    }
}

fn seen(status: &Status) -> (Code, String, String) {
    let seen = Fault::from_status(status);
    (seen.code, seen.reason, seen.domain)
}

fn refused(code: Code, reason: &str, domain: &str) -> (Code, String, String) {
    (code, reason.to_owned(), format!("{domain}.vmint"))
}

#[tokio::test]
async fn a_repeated_launch_is_one_launch_and_another_body_is_refused() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let first = gateway.run_instances(&owner(), run(IMAGE, "a")).await.unwrap();
    settle(&gateway).await;
    let again = gateway.run_instances(&owner(), run(IMAGE, "a")).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(lab.world.lock().machines.len(), 2);

    let other_body = pb::RunInstancesRequest { count: 2, ..run(IMAGE, "a") };
    let status = gateway.run_instances(&owner(), other_body).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::Aborted, "REQUEST_ID_REUSED", "gateway"));
    // Another account's ids are its own.
    let status = gateway.run_instances(&other(), run(IMAGE, "a")).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "IMAGE_NOT_FOUND", "gateway"));
}

#[tokio::test]
async fn refusals_of_services_come_through_unchanged_and_leave_nothing() {
    let lab = Lab::new();
    lab.world.lock().sell();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let status = gateway.run_instances(&owner(), run(IMAGE, "a")).await.unwrap_err();
    let expected = refused(Code::FailedPrecondition, "SUBSCRIPTION_REQUIRED", "marketplace");
    assert_eq!(seen(&status), expected);
    assert_eq!(Fault::from_status(&status).hint.as_deref(), Some("a hint"));

    lab.world.lock().subscribed.insert(owner().account);
    let keyed = pb::RunInstancesRequest { key_name: "unknown".to_owned(), ..run(IMAGE, "b") };
    let status = gateway.run_instances(&owner(), keyed).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "KEY_PAIR_NOT_FOUND", "launcher"));
    settle(&gateway).await;
    lab.world.lock().assert_no_loose_ends();
    assert_eq!(lab.world.lock().machines.len(), 1);
}

#[tokio::test]
async fn who_may_not_know_and_what_is_not_there_read_the_same() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let hidden = gateway.run_instances(&other(), run(IMAGE, "")).await.unwrap_err();
    let nowhere = "ami-0000000000000ffff";
    let absent = gateway.run_instances(&other(), run(nowhere, "")).await.unwrap_err();
    assert_eq!(seen(&hidden), seen(&absent));
    assert_eq!(hidden.message().replace(IMAGE, ""), absent.message().replace(nowhere, ""));

    let typo = gateway.get_image(&owner(), "bsae").await.unwrap_err();
    assert_eq!(Fault::from_status(&typo).hint.as_deref(), Some("did you mean `base`?"));
}

#[tokio::test]
async fn a_share_lets_in_and_its_end_binds_the_next_launch() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let share = pb::ModifyLaunchPermissionRequest {
        image_id: IMAGE.to_owned(),
        add_account_ids: vec![OTHER.to_owned()],
        ..pb::ModifyLaunchPermissionRequest::default()
    };
    gateway.modify_launch_permission(&owner(), share.clone()).await.unwrap();
    gateway.run_instances(&other(), run(IMAGE, "")).await.unwrap();
    let status = gateway.own_image_error(&other(), IMAGE).await;
    assert_eq!(seen(&status), refused(Code::PermissionDenied, "NOT_OWNER", "gateway"));

    let end = pb::ModifyLaunchPermissionRequest {
        add_account_ids: Vec::new(),
        remove_account_ids: vec![OTHER.to_owned()],
        ..share
    };
    gateway.modify_launch_permission(&owner(), end).await.unwrap();
    let status = gateway.run_instances(&other(), run(IMAGE, "")).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "IMAGE_NOT_FOUND", "gateway"));
    settle(&gateway).await;
}

#[tokio::test]
async fn a_deregistered_image_is_not_launched_and_its_owner_still_reads_of_it() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let request = pb::DeregisterImageRequest {
        image_id: IMAGE.to_owned(),
        ..pb::DeregisterImageRequest::default()
    };
    gateway.deregister_image(&owner(), request).await.unwrap();
    let status = gateway.run_instances(&owner(), run(IMAGE, "")).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::FailedPrecondition, "IMAGE_NOT_AVAILABLE", "gateway"));
    let image = gateway.get_image(&owner(), IMAGE).await.unwrap();
    assert_eq!(image.state(), ImageState::Deregistered);
    assert!(lab.world.lock().machines.contains(INSTANCE));
}

#[tokio::test]
async fn what_is_sold_is_not_made_public_and_only_its_seller_puts_a_product_on() {
    let lab = Lab::new();
    lab.world.lock().products.insert("theirs".to_owned(), OTHER.to_owned());
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let add = |code: &str| pb::AddProductCodeRequest {
        image_id: IMAGE.to_owned(),
        product_code: code.to_owned(),
        request_id: String::new(),
    };
    let status = gateway.add_product_code(&owner(), add("theirs")).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::PermissionDenied, "NOT_OWNER", "gateway"));
    let status = gateway.add_product_code(&owner(), add("nobodys")).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "PRODUCT_NOT_FOUND", "marketplace"));
    lab.world.lock().images.get_mut(IMAGE).unwrap().public = true;
    let status = gateway.add_product_code(&owner(), add(PRODUCT)).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::FailedPrecondition, "IMAGE_PUBLIC", "gateway"));
    lab.world.lock().images.get_mut(IMAGE).unwrap().public = false;
    gateway.add_product_code(&owner(), add(PRODUCT)).await.unwrap();
    let public = pb::ModifyLaunchPermissionRequest {
        image_id: IMAGE.to_owned(),
        add_public: true,
        ..pb::ModifyLaunchPermissionRequest::default()
    };
    let status = gateway.modify_launch_permission(&owner(), public).await.unwrap_err();
    let reason = "IMAGE_HAS_PRODUCT_CODES";
    assert_eq!(seen(&status), refused(Code::FailedPrecondition, reason, "gateway"));
}

#[tokio::test]
async fn what_is_encrypted_is_not_made_public() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let public = pb::ModifyLaunchPermissionRequest {
        image_id: IMAGE.to_owned(),
        add_public: true,
        ..pb::ModifyLaunchPermissionRequest::default()
    };
    for snapshot in lab.world.lock().snapshots.values_mut() {
        snapshot.encrypted = true;
    }
    let status = gateway.modify_launch_permission(&owner(), public.clone()).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::FailedPrecondition, "IMAGE_ENCRYPTED", "gateway"));
    for snapshot in lab.world.lock().snapshots.values_mut() {
        snapshot.encrypted = false;
    }
    assert!(gateway.modify_launch_permission(&owner(), public).await.unwrap().public);
}

/// A registration is answered while its end is being logged. Should that be lost, the image that
/// was answered stays, whatever may not be asked any more.
#[tokio::test]
async fn what_was_answered_early_is_not_undone_after_a_crash() {
    let lab = Lab::new();
    let store = Store::in_memory();
    // Its record is made and the log does not say so.
    let first = lab.gateway(&store, Dies(1)).await;
    register(first.clone()).await.unwrap_err();
    assert_eq!(lab.world.lock().census().available, 2);
    first.sagas.drain(Duration::from_secs(5)).await;

    lab.world.lock().away.extend(["storage", "catalog"]);
    let second = lab.gateway(&store, Calm).await;
    let waits = |gateway: &crate::ops::Gateway| {
        gateway.list_sagas().unwrap().iter().any(|saga| saga.attempts > 3)
    };
    while !waits(&second) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lab.world.lock().away.remove("catalog");
    settle(&second).await;
    assert_eq!(second.list_sagas().unwrap()[0].state(), pb::SagaState::Done);
    register(second.clone()).await.unwrap();
    assert_eq!(lab.world.lock().census().available, 2);
}

/// Ends everything before the log write of this number.
#[derive(Debug)]
struct Dies(u64);

impl Interfere for Dies {
    fn dies(&self, write: u64, when: Moment) -> bool {
        write == self.0 && when == Moment::Before
    }
}

#[tokio::test]
async fn a_launch_waits_for_a_service_that_is_away() {
    let lab = Lab::new();
    lab.world.lock().away.insert("launcher");
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let launching = tokio::spawn(launch(gateway.clone()));
    let at_reserve =
        |gateway: &crate::ops::Gateway| {
            gateway.list_sagas().unwrap().iter().any(|saga| {
                saga.step == "reserve" && saga.attempts > 2 && saga.error.contains("away")
            })
        };
    while !at_reserve(&gateway) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lab.world.lock().away.clear();
    launching.await.unwrap().unwrap();
    settle(&gateway).await;
    let ended = &gateway.list_sagas().unwrap()[0];
    assert_eq!((ended.state(), ended.attempts), (pb::SagaState::Done, 0));
    assert!(ended.start_time.unwrap().seconds > 1_000_000_000);
    lab.world.lock().assert_no_loose_ends();
}

#[tokio::test]
async fn an_older_gateway_is_fenced_off_and_undoes_nothing() {
    let lab = Lab::new();
    let store = Store::in_memory();
    lab.world.lock().away.insert("launcher");
    let old = lab.gateway(&store, Calm).await;
    let launching = tokio::spawn(launch(old.clone()));
    while lab.world.lock().pins.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    {
        let mut world = lab.world.lock();
        world.calls.clear();
        world.away.clear();
        world.epochs.values_mut().for_each(|epoch| *epoch += 1);
    }
    let status = launching.await.unwrap().unwrap_err();
    assert_eq!(seen(&status), refused(Code::Unavailable, "SERVICE_UNAVAILABLE", "gateway"));
    let undone = lab.world.lock().calls.iter().any(|call| call.contains("Release"));
    assert!(!undone, "it undid what is another's");

    let new = lab.gateway(&store, Calm).await;
    assert!(new.sagas.epoch() > old.sagas.epoch());
    settle(&new).await;
    assert_eq!(lab.world.lock().machines.len(), 4);
    lab.world.lock().assert_no_loose_ends();
}

#[tokio::test]
async fn what_a_deleted_snapshot_was_shared_with_is_forgotten() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    {
        let mut world = lab.world.lock();
        for id in [SNAPSHOT, "snap-0000000000000ffff", "snap-0000000000000fffe"] {
            world.snapshot_grants.entry(id.to_owned()).or_default().insert(OTHER.to_owned());
        }
    }
    let peers = lab.peers();
    assert_eq!(reconcile::forget_shares(&peers, &gateway.sagas).await.unwrap(), 2);
    assert_eq!(reconcile::forget_shares(&peers, &gateway.sagas).await.unwrap(), 0);
    let left = lab.world.lock().snapshot_grants.keys().cloned().collect::<Vec<_>>();
    assert_eq!(left, [SNAPSHOT]);
}

#[tokio::test]
async fn the_reconciler_releases_what_is_left_and_nothing_else() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let launched = gateway.run_instances(&owner(), run(IMAGE, "")).await.unwrap();
    settle(&gateway).await;
    let ended = &launched.instances[0].instance_id;
    {
        let mut world = lab.world.lock();
        world.machines.remove(ended);
        world.instances.get_mut(ended).unwrap().set_state(InstanceState::Terminated);
        let mut orphan = world.volumes[VOLUME].clone();
        orphan.volume_id = "vol-0000000000000ffff".to_owned();
        orphan.instance_id = "i-0000000000000ffff".to_owned();
        world.volumes.insert(orphan.volume_id.clone(), orphan);
        assert_eq!(world.volumes.len(), 3);
    }
    let mut suspects = HashSet::new();
    let peers = lab.peers();
    assert_eq!(reconcile::round(&peers, &gateway.sagas, &mut suspects).await.unwrap(), 1);
    assert_eq!(suspects.len(), 1);
    assert_eq!(reconcile::round(&peers, &gateway.sagas, &mut suspects).await.unwrap(), 1);
    assert_eq!(reconcile::round(&peers, &gateway.sagas, &mut suspects).await.unwrap(), 0);
    let world = lab.world.lock();
    assert_eq!(world.volumes.keys().collect::<Vec<_>>(), [VOLUME]);
}

#[tokio::test]
async fn only_its_owner_saves_an_image_and_only_while_it_is_there() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let save = pb::SaveImageRequest { image_id: IMAGE.to_owned(), ..Default::default() };
    let task = gateway.save_image(&owner(), save.clone()).await.unwrap().task.unwrap();
    assert_eq!((task.image_id.as_str(), task.format.as_str()), (IMAGE, "bundle"));
    let status = gateway.save_image(&other(), save.clone()).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "IMAGE_NOT_FOUND", "gateway"));
    let request = pb::DeregisterImageRequest {
        image_id: IMAGE.to_owned(),
        ..pb::DeregisterImageRequest::default()
    };
    gateway.deregister_image(&owner(), request).await.unwrap();
    let status = gateway.save_image(&owner(), save).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_its_owner_exports_an_image_and_a_bucket_makes_another() {
    let lab = Lab::new();
    let gateway = lab.gateway(&Store::in_memory(), Calm).await;
    let export = pb::ExportImageRequest {
        image_id: IMAGE.to_owned(),
        format: "vmdk".to_owned(),
        bucket: "disks".to_owned(),
        ..pb::ExportImageRequest::default()
    };
    let task = gateway.export_image(&owner(), export.clone()).await.unwrap().task.unwrap();
    assert_eq!((task.image_id.as_str(), task.format.as_str()), (IMAGE, "vmdk"));
    let status = gateway.export_image(&other(), export.clone()).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::NotFound, "IMAGE_NOT_FOUND", "gateway"));
    let request = pb::DeregisterImageRequest {
        image_id: IMAGE.to_owned(),
        ..pb::DeregisterImageRequest::default()
    };
    gateway.deregister_image(&owner(), request).await.unwrap();
    let status = gateway.export_image(&owner(), export).await.unwrap_err();
    assert_eq!(seen(&status), refused(Code::FailedPrecondition, "IMAGE_NOT_AVAILABLE", "gateway"));

    let object = ObjectName { bucket: "disks".to_owned(), key: "image.bin".to_owned() };
    let request = pb::RestoreImageRequest {
        object: Some(object.clone()),
        name: "restored".to_owned(),
        ..pb::RestoreImageRequest::default()
    };
    let restored = gateway.restore_image(&owner(), request).await.unwrap();
    let (image, task) = (restored.image.unwrap(), restored.task.unwrap());
    assert_eq!((image.name.as_str(), &task.image_id), ("restored", &image.image_id));
    let from = task.disks[0].source.as_ref().unwrap().source.clone();
    assert_eq!(from, Some(Source::Object(object)));
    let nothing = pb::RestoreImageRequest::default();
    let status = gateway.restore_image(&owner(), nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_package_stands_for_all_its_disks() {
    let lab = Lab::new();
    package(lab.gateway(&Store::in_memory(), Calm).await).await.unwrap();
}
