//! The gateway as a command sees it.

mod failure;
mod print;
mod profile;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
};
use vmint_api::{
    gateway::v1::gateway_service_client::GatewayServiceClient,
    launcher::v1::launcher_service_client::LauncherServiceClient,
    marketplace::v1::marketplace_service_client::MarketplaceServiceClient,
    permissions::v1::permissions_service_client::PermissionsServiceClient,
    storage::v1::{
        export_service_client::ExportServiceClient,
        instance_bundle_service_client::InstanceBundleServiceClient,
        object_service_client::ObjectServiceClient, snapshot_service_client::SnapshotServiceClient,
        storage_service_client::StorageServiceClient,
        transfer_service_client::TransferServiceClient, upkeep_service_client::UpkeepServiceClient,
        volume_service_client::VolumeServiceClient,
    },
};
use vmint_rpc::{Channel, ServiceAddress};

use crate::cli::{Global, Output};
pub(crate) use failure::{Failure, Result, plain};
pub(crate) use print::{Row, json, pool, size, table, to_json};
pub(crate) use profile::{Profile, Profiles, default_data_dir, write_private};

/// The largest message a command takes or sends.
const MAX_MESSAGE: usize = 8 << 20;
/// What one unary call may take; a launch waits for its machine elsewhere.
const DEADLINE: Duration = Duration::from_mins(1);

/// A signed-in connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    bearer: Bearer,
    output: Output,
    no_wait: bool,
    data: PathBuf,
    url: String,
}

/// Puts the token on every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

pub(crate) type Authed = InterceptedService<Channel, Bearer>;

impl Client {
    /// The gateway and the account that the flags, the environment or the
    /// profiles name, in this order.
    pub(crate) fn open(global: &Global) -> Result<Self> {
        let data = global.data.clone().unwrap_or_else(default_data_dir);
        let profiles = Profiles::load(&Profiles::path(&data))?;
        let name = global.profile.as_deref().unwrap_or(&profiles.default);
        let profile = profiles.profile.get(name);
        if let (Some(wanted), None) = (&global.profile, profile) {
            let known = profiles.profile.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("there is no profile `{wanted}`"))
                .hint(format!("profiles in {}: {known}", Profiles::path(&data).display())));
        }
        let url = global.url.clone().or_else(|| profile.map(|p| p.url.clone()));
        let token = global.token.clone().or_else(|| profile.map(|p| p.token.clone()));
        Self::connect(&url.unwrap_or_else(|| "127.0.0.1:8773".to_owned()), token, global, data)
    }

    fn connect(url: &str, token: Option<String>, global: &Global, data: PathBuf) -> Result<Self> {
        let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let address: ServiceAddress = format!("tcp:{host}")
            .parse()
            .map_err(|_| Failure::usage(format!("`{url}` is not an address: use HOST:PORT")))?;
        let token = match token {
            Some(token) => Some(format!("Bearer {token}").parse().map_err(|_| {
                Failure::usage("the token holds characters that no token of ours has")
            })?),
            None => None,
        };
        let channel = vmint_rpc::connect_plain(&address, "gateway").deadline(DEADLINE);
        Ok(Self {
            channel,
            bearer: Bearer(token),
            output: global.output,
            no_wait: global.no_wait,
            data,
            url: host.to_owned(),
        })
    }

    pub(crate) fn output(&self) -> Output {
        self.output
    }

    pub(crate) fn waits(&self) -> bool {
        !self.no_wait
    }

    /// The gateway's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where private keys of the account's key pairs are kept.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.data.join("keys")
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn authed(&self) -> Authed {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    pub(crate) fn gateway(&self) -> GatewayServiceClient<Authed> {
        GatewayServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn launcher(&self) -> LauncherServiceClient<Authed> {
        LauncherServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn marketplace(&self) -> MarketplaceServiceClient<Authed> {
        MarketplaceServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn permissions(&self) -> PermissionsServiceClient<Authed> {
        PermissionsServiceClient::new(self.authed())
    }

    pub(crate) fn transfer(&self) -> TransferServiceClient<Authed> {
        TransferServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn exports(&self) -> ExportServiceClient<Authed> {
        ExportServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn instance_bundles(&self) -> InstanceBundleServiceClient<Authed> {
        InstanceBundleServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn objects(&self) -> ObjectServiceClient<Authed> {
        ObjectServiceClient::new(self.authed())
    }

    pub(crate) fn storage(&self) -> StorageServiceClient<Authed> {
        StorageServiceClient::new(self.authed())
    }

    pub(crate) fn snapshots(&self) -> SnapshotServiceClient<Authed> {
        SnapshotServiceClient::new(self.authed())
    }

    pub(crate) fn upkeep(&self) -> UpkeepServiceClient<Authed> {
        UpkeepServiceClient::new(self.authed()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn volumes(&self) -> VolumeServiceClient<Authed> {
        VolumeServiceClient::new(self.authed())
    }
}

/// A request id of our own: a random UUID.
pub(crate) fn request_id() -> String {
    let mut bytes = [0u8; 16];
    // Not a secret: should the kernel give nothing, the clock must do.
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = now.map(|d| d.as_nanos()).unwrap_or_default().to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}
