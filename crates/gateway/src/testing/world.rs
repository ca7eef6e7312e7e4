//! What the fake services keep, and whether it is as it should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::{Architecture, Image, ImageState},
    launcher::v1::{AttachedVolume, Instance, InstanceState},
    storage::v1::{AttachmentState, ImportTask, Snapshot, SnapshotState, TransferState, Volume},
    types::v1::{BlockDeviceMapping, EbsBlockDevice, SagaStep},
};
use vmint_rpc::{Caller, Fault, Kind};

pub(crate) const OWNER: &str = "111111111111";
pub(crate) const OTHER: &str = "222222222222";
pub(crate) const IMAGE: &str = "ami-00000000000000001";
pub(crate) const SNAPSHOT: &str = "snap-00000000000000001";
pub(crate) const INSTANCE: &str = "i-00000000000000001";
pub(crate) const VOLUME: &str = "vol-00000000000000001";
/// At no instance.
pub(crate) const SPARE: &str = "vol-00000000000000002";
pub(crate) const PRODUCT: &str = "paidproduct";

/// All that the fake services know.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) images: BTreeMap<String, Image>,
    /// Which saga recorded an image.
    pub(crate) made_by: BTreeMap<String, String>,
    pub(crate) pins: BTreeSet<(String, String)>,
    pub(crate) owners: BTreeMap<String, String>,
    pub(crate) grants: BTreeSet<(String, String)>,
    pub(crate) public: BTreeSet<String>,
    pub(crate) hints: BTreeMap<String, Vec<String>>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) imports: BTreeMap<String, ImportTask>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) machines: BTreeSet<String>,
    /// By saga: whether it is confirmed.
    pub(crate) holds: BTreeMap<String, bool>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) products: BTreeMap<String, String>,
    pub(crate) epochs: HashMap<String, u64>,
    /// By token: account, operator, read-only.
    pub(crate) tokens: HashMap<String, (String, bool, bool)>,
    pub(crate) authenticated: usize,
    /// Names of services that are away.
    pub(crate) away: BTreeSet<&'static str>,
    /// The last callers of public methods.
    pub(crate) callers: Vec<Caller>,
    pub(crate) headers: Vec<String>,
    pub(crate) calls: Vec<String>,
    /// Which saga attached a volume.
    pub(crate) attached_by: BTreeMap<String, String>,
    pub(crate) snapshot_grants: BTreeMap<String, BTreeSet<String>>,
    pub(crate) snapshot_hints: BTreeMap<String, Vec<String>>,
}

pub(crate) fn refuse(kind: Kind, reason: &'static str, domain: &str) -> Status {
    Fault::new(kind, reason).hint("a hint").into_status(domain, &format!("refused: {reason}"))
}

impl World {
    /// A machine of [`OWNER`] and the image it came from.
    pub(crate) fn with_one_of_each() -> Self {
        let mut world = Self::default();
        world.add_snapshot(SNAPSHOT, OWNER);
        let disk = BlockDeviceMapping {
            device_name: "/dev/sda1".to_owned(),
            ebs: Some(EbsBlockDevice {
                snapshot_id: SNAPSHOT.to_owned(),
                size_gib: 2,
                ..EbsBlockDevice::default()
            }),
            no_device: false,
        };
        let image = Image {
            image_id: IMAGE.to_owned(),
            name: "base".to_owned(),
            owner_id: OWNER.to_owned(),
            state: ImageState::Available.into(),
            architecture: Architecture::X8664.into(),
            root_device_name: "/dev/sda1".to_owned(),
            block_device_mappings: vec![disk],
            ..Image::default()
        };
        world.images.insert(IMAGE.to_owned(), image);
        world.owners.insert(IMAGE.to_owned(), OWNER.to_owned());
        world.snapshots.get_mut(SNAPSHOT).unwrap().image_ids.push(IMAGE.to_owned());
        let volume = Volume {
            volume_id: VOLUME.to_owned(),
            account_id: OWNER.to_owned(),
            instance_id: INSTANCE.to_owned(),
            device_name: "/dev/sda1".to_owned(),
            delete_on_termination: true,
            size_bytes: 2 << 30,
            ..Volume::default()
        };
        let attached = AttachedVolume {
            volume_id: VOLUME.to_owned(),
            device_name: "/dev/sda1".to_owned(),
            delete_on_termination: true,
            size_bytes: 2 << 30,
            ..AttachedVolume::default()
        };
        world.volumes.insert(VOLUME.to_owned(), volume);
        let instance = Instance {
            instance_id: INSTANCE.to_owned(),
            account_id: OWNER.to_owned(),
            image_id: IMAGE.to_owned(),
            state: InstanceState::Running.into(),
            volumes: vec![attached],
            ..Instance::default()
        };
        world.instances.insert(INSTANCE.to_owned(), instance);
        world.machines.insert(INSTANCE.to_owned());
        world.products.insert(PRODUCT.to_owned(), OWNER.to_owned());
        for (token, account, operator, read_only) in [
            ("owner", OWNER, false, false),
            ("other", OTHER, false, false),
            ("reader", OWNER, false, true),
            ("root", "000000000000", true, false),
        ] {
            world.tokens.insert(token.to_owned(), (account.to_owned(), operator, read_only));
        }
        world
    }

    /// The same, and a volume beside it.
    pub(crate) fn with_a_spare_volume() -> Self {
        let mut world = Self::with_one_of_each();
        let volume = Volume {
            volume_id: SPARE.to_owned(),
            account_id: OWNER.to_owned(),
            size_bytes: 1 << 30,
            ..Volume::default()
        };
        world.volumes.insert(SPARE.to_owned(), volume);
        world
    }

    /// The same, with the volume attached.
    pub(crate) fn with_a_plugged_volume() -> Self {
        let mut world = Self::with_a_spare_volume();
        let volume = world.volumes.get_mut(SPARE).unwrap();
        volume.instance_id = INSTANCE.to_owned();
        volume.device_name = "/dev/sdf".to_owned();
        volume.set_attachment_state(AttachmentState::Attached);
        let plug = AttachedVolume {
            volume_id: SPARE.to_owned(),
            device_name: "/dev/sdf".to_owned(),
            size_bytes: 1 << 30,
            ..AttachedVolume::default()
        };
        world.instances.get_mut(INSTANCE).unwrap().volumes.push(plug);
        world
    }

    pub(crate) fn add_snapshot(&mut self, id: &str, account: &str) {
        let snapshot = Snapshot {
            snapshot_id: id.to_owned(),
            account_id: account.to_owned(),
            state: SnapshotState::Completed.into(),
            progress_percent: 100,
            size_gib: 2,
            size_bytes: 2 << 30,
            ..Snapshot::default()
        };
        self.snapshots.insert(id.to_owned(), snapshot);
    }

    pub(crate) fn sell(&mut self) {
        self.images.get_mut(IMAGE).unwrap().product_codes = vec![PRODUCT.to_owned()];
    }

    /// Refuses an epoch lower than one seen of the same saga.
    pub(super) fn fence(
        &mut self,
        saga: Option<&SagaStep>,
        domain: &str,
    ) -> Result<String, Status> {
        let saga =
            saga.ok_or_else(|| Status::new(Code::InvalidArgument, "a step names its saga"))?;
        let seen = self.epochs.entry(saga.saga_id.clone()).or_default();
        if saga.epoch < *seen || saga.epoch == 0 {
            return Err(refuse(Kind::Precondition, "SAGA_FENCED", domain));
        }
        *seen = saga.epoch;
        Ok(saga.saga_id.clone())
    }

    pub(super) fn instances_of(&self, ids: &[String]) -> Vec<Instance> {
        ids.iter().filter_map(|id| self.instances.get(id).cloned()).collect()
    }

    /// What no saga may leave behind, whatever became of it.
    pub(crate) fn assert_no_loose_ends(&self) {
        assert!(self.pins.is_empty(), "pins are left: {:?}", self.pins);
        for volume in self.volumes.values() {
            let plugged = |i: &Instance| {
                i.state() == InstanceState::Running
                    && i.volumes.iter().any(|plug| plug.volume_id == volume.volume_id)
            };
            if volume.instance_id.is_empty() {
                assert!(!self.instances.values().any(plugged), "at no instance: {volume:?}");
                continue;
            }
            let instance = self.instances.get(&volume.instance_id);
            let alive = instance.is_some_and(|i| i.state() == InstanceState::Running);
            assert!(alive, "a volume without its instance: {volume:?}");
            assert!(instance.is_some_and(plugged), "a volume without its plug: {volume:?}");
            let settled = [AttachmentState::Unspecified, AttachmentState::Attached];
            assert!(settled.contains(&volume.attachment_state()), "a volume hangs: {volume:?}");
        }
        for machine in &self.machines {
            let state = self.instances.get(machine).map(Instance::state);
            assert_eq!(state, Some(InstanceState::Running), "a machine without its record");
        }
        for instance in self.instances.values() {
            let runs = self.machines.contains(&instance.instance_id);
            let fits = match instance.state() {
                InstanceState::Running => runs,
                InstanceState::Terminated => !runs,
                _ => false,
            };
            assert!(fits, "an instance hangs: {instance:?}");
        }
        for image in self.images.values() {
            let fits = match image.state() {
                ImageState::Available => self.owners.get(&image.image_id) == Some(&image.owner_id),
                ImageState::Deregistered => !self.owners.contains_key(&image.image_id),
                // Its failed record is all that is left, for its owner to see.
                ImageState::Failed => !self.uses(&image.image_id),
                _ => false,
            };
            assert!(fits, "an image hangs: {image:?}");
        }
        for owned in self.owners.keys() {
            assert!(self.images.contains_key(owned), "{owned} is owned and is not there");
        }
        for snapshot in self.snapshots.values() {
            for image in &snapshot.image_ids {
                let state = self.images.get(image).map(Image::state);
                assert_eq!(
                    state,
                    Some(ImageState::Available),
                    "{} is in use",
                    snapshot.snapshot_id
                );
            }
        }
        for task in self.imports.values() {
            let ended = matches!(task.state(), TransferState::Completed | TransferState::Deleted);
            assert!(ended, "an import hangs: {task:?}");
        }
        assert!(self.holds.values().all(|confirmed| *confirmed), "a hold is left");
    }

    fn uses(&self, image: &str) -> bool {
        self.snapshots.values().any(|s| s.image_ids.iter().any(|id| id == image))
    }

    /// What was made by now, to compare before and after.
    pub(crate) fn census(&self) -> Census {
        let running =
            self.instances.values().filter(|i| i.state() == InstanceState::Running).count();
        let available = self.images.values().filter(|i| i.state() == ImageState::Available).count();
        Census {
            running,
            available,
            volumes: self.volumes.len(),
            attached: self.volumes.values().filter(|v| !v.instance_id.is_empty()).count(),
            snapshots: self.snapshots.len(),
            holds: self.holds.len(),
        }
    }
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) running: usize,
    pub(crate) available: usize,
    pub(crate) volumes: usize,
    pub(crate) attached: usize,
    pub(crate) snapshots: usize,
    pub(crate) holds: usize,
}
