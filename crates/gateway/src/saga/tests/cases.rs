//! One case a kind of saga: what is asked, and what must be there afterwards.

mod copies;
mod imports;
mod volumes;

use futures::future::BoxFuture;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1 as pb,
    launcher::v1::InstanceState,
    storage::v1::{AttachmentState, TransferState},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};

use crate::{
    ops::Gateway,
    testing::{
        owner,
        world::{Census, IMAGE, INSTANCE, OTHER, OWNER, PRODUCT, SNAPSHOT, SPARE, World},
    },
};

use copies::{copy, fetch};
pub(super) use imports::package;
use imports::{import, load};
use volumes::{attach, detach, keep, share_snapshot};

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) world: fn() -> World,
    pub(super) call: fn(Gateway) -> BoxFuture<'static, Result<(), Status>>,
    pub(super) steps: &'static [&'static str],
    pub(super) pivot: usize,
    /// What changed when it was done.
    done: fn(&World, Census) -> bool,
}

impl Case {
    pub(super) fn assert_done(&self, world: &World) {
        world.assert_no_loose_ends();
        let before = (self.world)().census();
        assert!((self.done)(world, before), "{} is not done: {:#?}", self.name, world.census());
    }

    /// Nothing is as if it had been done, but for records of what failed.
    pub(super) fn assert_clean(&self, world: &World, what: &str) {
        world.assert_no_loose_ends();
        let before = (self.world)();
        assert_eq!(world.census(), before.census(), "{} {what}", self.name);
        assert_eq!(world.grants, before.grants, "{} {what}", self.name);
        assert_eq!(world.images[IMAGE], before.images[IMAGE], "{} {what}", self.name);
    }

    pub(super) fn assert_done_or_clean(&self, world: &World, what: &str) {
        world.assert_no_loose_ends();
        let before = (self.world)().census();
        if !(self.done)(world, before) {
            self.assert_clean(world, what);
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn all() -> Vec<Case> {
    let one = World::with_one_of_each as fn() -> World;
    vec![
        Case {
            name: "launch",
            world: paid,
            call: |gateway| Box::pin(launch(gateway)),
            steps: &[
                "authorise",
                "pin-image",
                "hold-entitlement",
                "reserve",
                "volumes",
                "identity",
                "machines",
                "confirm-hold",
                "unpin-image",
            ],
            pivot: 6,
            done: |world, before| {
                let now = world.census();
                let named = world.instances.values().all(|i| {
                    i.state() != InstanceState::Running
                        || i.instance_id == INSTANCE
                        || i.product_codes == [PRODUCT]
                });
                now.running == before.running + 3
                    && now.volumes == before.volumes + 3
                    && now.holds == 1
                    && named
            },
        },
        Case {
            name: "register",
            world: one,
            call: |gateway| Box::pin(register(gateway)),
            steps: &["claim", "record"],
            pivot: 1,
            done: |world, before| {
                let used = world.snapshots[SNAPSHOT].image_ids.len();
                world.census().available == before.available + 1 && used == 2
            },
        },
        Case {
            name: "import-image",
            world: one,
            call: |gateway| Box::pin(import(gateway)),
            steps: &["begin", "record", "own", "convert", "available", "end"],
            pivot: 4,
            done: |world, before| {
                let now = world.census();
                let ended = world.imports.values().all(|t| t.state() == TransferState::Completed);
                now.available == before.available + 1
                    && now.snapshots == before.snapshots + 2
                    && world.imports.len() == 1
                    && ended
            },
        },
        // The same saga, from a bundle.
        Case {
            name: "import-image",
            world: one,
            call: |gateway| Box::pin(load(gateway)),
            steps: &["begin", "record", "own", "convert", "available", "end"],
            pivot: 4,
            done: |world, before| {
                let now = world.census();
                let named = world.images.values().any(|image| image.name == "bundled");
                now.available == before.available + 1
                    && now.snapshots == before.snapshots + 2
                    && named
            },
        },
        Case {
            name: "create-image",
            world: one,
            call: |gateway| Box::pin(create(gateway)),
            steps: &["record", "own", "halt", "snapshots", "available", "resume"],
            pivot: 4,
            done: |world, before| {
                let now = world.census();
                now.available == before.available + 1
                    && now.snapshots == before.snapshots + 1
                    && now.running == before.running
            },
        },
        Case {
            name: "copy-image",
            world: paid,
            call: |gateway| Box::pin(copy(gateway)),
            steps: &["pin", "record", "own", "snapshots", "available", "unpin"],
            pivot: 4,
            done: |world, before| {
                let now = world.census();
                let copy = world.images.values().find(|i| i.name == "base-copy");
                let sold = copy.is_some_and(|i| i.product_codes == [PRODUCT]);
                now.available == before.available + 1
                    && now.snapshots == before.snapshots + 1
                    && sold
            },
        },
        Case {
            name: "copy-from-region",
            world: one,
            call: |gateway| Box::pin(fetch(gateway)),
            steps: &["record", "own", "disks", "available"],
            pivot: 3,
            done: |world, before| {
                let now = world.census();
                let copy = world.images.values().find(|i| i.name == "elsewhere-copy");
                let known = copy.is_some_and(|i| i.source_image_id == IMAGE);
                now.available == before.available + 1
                    && now.snapshots == before.snapshots + 1
                    && known
            },
        },
        Case {
            name: "deregister",
            world: one,
            call: |gateway| Box::pin(deregister(gateway)),
            steps: &["record", "disown", "snapshots"],
            pivot: 0,
            done: |world, _| {
                world.images[IMAGE].state() == ImageState::Deregistered
                    && world.owners.is_empty()
                    && world.snapshots.is_empty()
            },
        },
        Case {
            name: "share",
            world: one,
            call: |gateway| Box::pin(share(gateway)),
            steps: &["permission", "hint"],
            pivot: 0,
            done: |world, _| {
                let granted = world.grants.contains(&(IMAGE.to_owned(), OTHER.to_owned()));
                granted && world.hints.get(IMAGE).is_some_and(|who| who == &[OTHER])
            },
        },
        Case {
            name: "add-product",
            world: one,
            call: |gateway| Box::pin(add_product(gateway)),
            steps: &["record", "snapshots"],
            pivot: 0,
            done: |world, _| {
                world.images[IMAGE].product_codes == [PRODUCT]
                    && world.snapshots[SNAPSHOT].product_codes == [PRODUCT]
            },
        },
        Case {
            name: "terminate",
            world: one,
            call: |gateway| Box::pin(terminate(gateway)),
            steps: &["machines", "volumes"],
            pivot: 0,
            done: |world, _| world.machines.is_empty() && world.volumes.is_empty(),
        },
        Case {
            name: "attach-volume",
            world: World::with_a_spare_volume,
            call: |gateway| Box::pin(attach(gateway)),
            steps: &["reserve", "plug", "confirm"],
            pivot: 1,
            done: |world, before| {
                let volume = &world.volumes[SPARE];
                world.census().attached == before.attached + 1
                    && volume.attachment_state() == AttachmentState::Attached
                    && volume.device_name == "/dev/sdf"
            },
        },
        Case {
            name: "detach-volume",
            world: World::with_a_plugged_volume,
            call: |gateway| Box::pin(detach(gateway)),
            steps: &["mark", "unplug", "release"],
            pivot: 1,
            done: |world, before| world.census().attached + 1 == before.attached,
        },
        Case {
            name: "keep-volume",
            world: World::with_a_plugged_volume,
            call: |gateway| Box::pin(keep(gateway)),
            steps: &["volume", "machine"],
            pivot: 0,
            done: |world, _| {
                let plugs = &world.instances[INSTANCE].volumes;
                let plug = plugs.iter().find(|plug| plug.volume_id == SPARE);
                world.volumes[SPARE].delete_on_termination
                    && plug.is_some_and(|plug| plug.delete_on_termination)
            },
        },
        Case {
            name: "share-snapshot",
            world: one,
            call: |gateway| Box::pin(share_snapshot(gateway)),
            steps: &["permission", "storage"],
            pivot: 0,
            done: |world, _| {
                let granted = world.snapshot_grants.get(SNAPSHOT);
                granted.is_some_and(|with| with.contains(OTHER))
                    && world.snapshot_hints.get(SNAPSHOT).is_some_and(|with| with == &[OTHER])
            },
        },
    ]
}

fn paid() -> World {
    let mut world = World::with_one_of_each();
    world.sell();
    world.subscribed.insert(OWNER.to_owned());
    world
}

pub(super) async fn launch(gateway: Gateway) -> Result<(), Status> {
    let request = pb::RunInstancesRequest {
        image_id: "base".to_owned(),
        count: 3,
        user_data: b"#!/bin/sh\n".to_vec().into(),
        request_id: "launch-1".to_owned(),
        ..pb::RunInstancesRequest::default()
    };
    let answer = gateway.run_instances(&owner(), request).await?;
    assert_eq!(answer.instances.len(), 3);
    assert!(answer.reservation_id.starts_with("r-"));
    Ok(())
}

pub(super) async fn register(gateway: Gateway) -> Result<(), Status> {
    let disk = BlockDeviceMapping {
        device_name: "/dev/sda1".to_owned(),
        ebs: Some(EbsBlockDevice { snapshot_id: SNAPSHOT.to_owned(), ..Default::default() }),
        no_device: false,
    };
    let image = Image {
        name: "second".to_owned(),
        block_device_mappings: vec![disk],
        // What a caller can't decide.
        owner_id: OTHER.to_owned(),
        product_codes: vec!["shed".to_owned()],
        ..Image::default()
    };
    let request_id = "register-1".to_owned();
    let request = pb::RegisterImageRequest { image: Some(image), request_id };
    let image = gateway.register_image(&owner(), request).await?.image.unwrap();
    assert_eq!((image.owner_id.as_str(), image.state()), (OWNER, ImageState::Available));
    assert_eq!(image.block_device_mappings[0].ebs.as_ref().unwrap().size_gib, 2);
    assert!(image.product_codes.is_empty());
    Ok(())
}

async fn create(gateway: Gateway) -> Result<(), Status> {
    let request = pb::CreateImageRequest {
        instance_id: INSTANCE.to_owned(),
        name: "made".to_owned(),
        reboot: true,
        request_id: "create-1".to_owned(),
        ..pb::CreateImageRequest::default()
    };
    let image = gateway.create_image(&owner(), request).await?.image.unwrap();
    assert_eq!(image.state(), ImageState::Pending);
    assert_eq!(image.source_instance_id, INSTANCE);
    assert_eq!(image.source_image_id, IMAGE);
    Ok(())
}

async fn deregister(gateway: Gateway) -> Result<(), Status> {
    let request = pb::DeregisterImageRequest {
        image_id: IMAGE.to_owned(),
        delete_snapshots: true,
        request_id: "deregister-1".to_owned(),
        dry_run: false,
    };
    let answer = gateway.deregister_image(&owner(), request).await?;
    assert_eq!(answer.image.unwrap().state(), ImageState::Deregistered);
    Ok(())
}

async fn share(gateway: Gateway) -> Result<(), Status> {
    let request = pb::ModifyLaunchPermissionRequest {
        image_id: IMAGE.to_owned(),
        add_account_ids: vec![OTHER.to_owned()],
        request_id: "share-1".to_owned(),
        ..pb::ModifyLaunchPermissionRequest::default()
    };
    let answer = gateway.modify_launch_permission(&owner(), request).await?;
    assert_eq!(answer.account_ids, [OTHER]);
    Ok(())
}

async fn add_product(gateway: Gateway) -> Result<(), Status> {
    let request = pb::AddProductCodeRequest {
        image_id: IMAGE.to_owned(),
        product_code: PRODUCT.to_owned(),
        request_id: "product-1".to_owned(),
    };
    let answer = gateway.add_product_code(&owner(), request).await?;
    assert_eq!(answer.image.unwrap().product_codes, [PRODUCT]);
    Ok(())
}

async fn terminate(gateway: Gateway) -> Result<(), Status> {
    let request = pb::TerminateInstancesRequest {
        instance_ids: vec![INSTANCE.to_owned()],
        request_id: "terminate-1".to_owned(),
    };
    let answer = gateway.terminate_instances(&owner(), request).await?;
    assert_eq!(answer.instances[0].state(), InstanceState::Terminated);
    Ok(())
}
