//! The services behind the gateway.

use std::{collections::BTreeMap, fmt, time::Duration};

use vmint_api::{
    catalog::v1::{
        catalog_internal_service_client::CatalogInternalServiceClient as Catalog,
        catalog_service_client::CatalogServiceClient as Images,
        parameter_internal_service_client::ParameterInternalServiceClient as OwnParameters,
        parameter_service_client::ParameterServiceClient as Parameters,
    },
    launcher::v1::{
        launcher_internal_service_client::LauncherInternalServiceClient as Launcher,
        launcher_service_client::LauncherServiceClient as Instances,
    },
    marketplace::v1::{
        marketplace_internal_service_client::MarketplaceInternalServiceClient as Marketplace,
        marketplace_service_client::MarketplaceServiceClient as Products,
    },
    permissions::v1::snapshot_internal_service_client::SnapshotInternalServiceClient as SnapshotRights,
    permissions::v1::{
        permissions_internal_service_client::PermissionsInternalServiceClient as Permissions,
        permissions_service_client::PermissionsServiceClient as Accounts,
    },
    storage::v1::{
        block_service_client::BlockServiceClient as Blocks,
        bundle_internal_service_client::BundleInternalServiceClient as Bundles,
        copy_internal_service_client::CopyInternalServiceClient as Copies,
        export_service_client::ExportServiceClient as Exports,
        key_internal_service_client::KeyInternalServiceClient as OwnKeys,
        key_service_client::KeyServiceClient as Keys,
        object_internal_service_client::ObjectInternalServiceClient as OwnFiles,
        object_service_client::ObjectServiceClient,
        snapshot_service_client::SnapshotServiceClient as Snapshots,
        storage_internal_service_client::StorageInternalServiceClient as Storage,
        storage_service_client::StorageServiceClient as Disks,
        transfer_internal_service_client::TransferInternalServiceClient as Transfers,
        transfer_service_client::TransferServiceClient as Imports,
        volume_internal_service_client::VolumeInternalServiceClient as Volumes,
        volume_service_client::VolumeServiceClient as OwnVolumes,
    },
};
use vmint_rpc::{Caller, Channel, ContextSigner};

/// The services that the gateway speaks to.
pub(crate) const SERVICES: [&str; 5] =
    ["catalog", "permissions", "marketplace", "launcher", "storage"];

/// Pages of a thousand records are larger than tonic expects.
const LARGEST_ANSWER: usize = 16 << 20;
/// What an object may take on its way.
const OBJECT: Duration = Duration::from_hours(1);
/// What users may ask of buckets and objects.
pub(crate) type Objects = ObjectServiceClient<Channel>;
/// What one attempt at a step may take; a service cuts off at a minute.
const STEP: Duration = Duration::from_secs(55);

/// Channels to the services, and the key that callers are signed with. Cheap
/// to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    channels: BTreeMap<&'static str, Channel>,
    signer: ContextSigner,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.channels.keys()).finish()
    }
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident of $service:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self, caller: &Caller) -> $client<Channel> {
            let channel = self.of($service).deadline(STEP).acting(&self.signer, caller);
            $client::new(channel).max_decoding_message_size(LARGEST_ANSWER)
        }
    )*};
}

impl Peers {
    /// The services at the ends of `channels`, one for each of [`SERVICES`].
    pub(crate) fn new<E>(
        signer: ContextSigner,
        mut channel: impl FnMut(&'static str) -> Result<Channel, E>,
    ) -> Result<Self, E> {
        let channels = SERVICES.iter().map(|name| Ok((*name, channel(name)?)));
        Ok(Self { channels: channels.collect::<Result<_, E>>()?, signer })
    }

    /// The channel to one of [`SERVICES`], speaking for nobody.
    pub(crate) fn of(&self, service: &str) -> &Channel {
        self.channels.get(service).expect("every name of SERVICES has its channel")
    }

    /// The channel to `service`, if there is such a one, speaking for `caller`.
    pub(crate) fn acting(&self, service: &str, caller: &Caller) -> Option<Channel> {
        Some(self.channels.get(service)?.acting(&self.signer, caller))
    }

    /// What users may ask of buckets and objects; with time for what is large.
    pub(crate) fn objects(&self, caller: &Caller) -> Objects {
        let channel = self.of("storage").deadline(OBJECT).acting(&self.signer, caller);
        ObjectServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER)
    }

    clients! {
        catalog: Catalog of "catalog";
        /// What users may ask the catalog.
        images: Images of "catalog";
        parameters: Parameters of "catalog";
        /// What sagas and joins ask of parameters.
        own_parameters: OwnParameters of "catalog";
        permissions: Permissions of "permissions";
        marketplace: Marketplace of "marketplace";
        /// What users may ask the marketplace.
        products: Products of "marketplace";
        launcher: Launcher of "launcher";
        /// What users may ask the launcher.
        instances: Instances of "launcher";
        storage: Storage of "storage";
        /// What sagas ask about single volumes and snapshots.
        volumes: Volumes of "storage";
        /// What users may ask storage: snapshots, volumes and their blocks.
        disks: Disks of "storage";
        snapshots: Snapshots of "storage";
        own_volumes: OwnVolumes of "storage";
        blocks: Blocks of "storage";
        snapshot_rights: SnapshotRights of "permissions";
        /// What users may ask of permissions.
        accounts: Accounts of "permissions";
        /// What users may ask of keys.
        keys: Keys of "storage";
        /// What sagas ask of an account's encryption keys.
        own_keys: OwnKeys of "storage";
        /// What users may ask of uploads and imports.
        imports: Imports of "storage";
        transfers: Transfers of "storage";
        /// What sagas ask of an account's files.
        own_files: OwnFiles of "storage";
        copies: Copies of "storage";
        bundles: Bundles of "storage";
        /// What users may ask of exports.
        exports: Exports of "storage";
    }
}
