//! Somebody signed in.

use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Architecture, Image, ImageState, catalog_service_client::CatalogServiceClient},
    gateway::v1 as gateway,
    gateway::v1::gateway_service_client::GatewayServiceClient,
    launcher::v1::{
        self as launcher, Instance, InstanceState, launcher_service_client::LauncherServiceClient,
    },
    marketplace::v1::{self as market, marketplace_service_client::MarketplaceServiceClient},
    permissions::v1::permissions_service_client::PermissionsServiceClient,
    storage::v1::{
        self as storage, storage_service_client::StorageServiceClient,
        transfer_service_client::TransferServiceClient,
    },
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_rpc::{Channel, ServiceAddress, connect_plain, new_request_id};

use crate::{BOOT, READY, SOON, until};

const MAX_MESSAGE: usize = 8 << 20;
/// The root disk, in EC2's names.
const ROOT: &str = "/dev/sda1";

/// Somebody signed in at the gateway.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub id: String,
    /// The bearer token.
    pub token: String,
    channel: Channel,
}

impl Account {
    pub(crate) fn new(name: &str, id: &str, token: &str, gateway: &str) -> Self {
        let channel = connect_plain(&ServiceAddress::Tcp(gateway.to_owned()), "gateway");
        let channel = channel.bearer(token).expect("a token of ours is plain text");
        Self {
            name: name.into(),
            id: id.into(),
            token: token.into(),
            channel: channel.deadline(SOON),
        }
    }

    /// Signed in with a token of one's own choice.
    #[must_use]
    pub fn with_token(&self, gateway: &str, token: &str) -> Self {
        Self::new(&self.name, &self.id, token, gateway)
    }

    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    #[must_use]
    pub fn gateway(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel())
    }

    #[must_use]
    pub fn launcher(&self) -> LauncherServiceClient<Channel> {
        LauncherServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    #[must_use]
    pub fn marketplace(&self) -> MarketplaceServiceClient<Channel> {
        MarketplaceServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    #[must_use]
    pub fn permissions(&self) -> PermissionsServiceClient<Channel> {
        PermissionsServiceClient::new(self.channel())
    }

    #[must_use]
    pub fn storage(&self) -> StorageServiceClient<Channel> {
        StorageServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    #[must_use]
    pub fn transfers(&self) -> TransferServiceClient<Channel> {
        TransferServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Everything of one's own that the launcher knows.
    pub async fn instances(&self) -> Vec<Instance> {
        let request = launcher::ListInstancesRequest { page_size: 1000, ..Default::default() };
        self.launcher().list_instances(request).await.unwrap().into_inner().instances
    }

    /// As [`Self::instances`], without those that are over.
    pub async fn living(&self) -> Vec<Instance> {
        let mut all = self.instances().await;
        all.retain(|instance| instance.state() != InstanceState::Terminated);
        all
    }

    pub async fn images(&self) -> Vec<Image> {
        let request = gateway::ListImagesRequest { page_size: 1000, ..Default::default() };
        self.gateway().list_images(request).await.unwrap().into_inner().images
    }

    pub async fn volumes(&self) -> Vec<storage::Volume> {
        let request = storage::ListVolumesRequest { page_size: 1000, ..Default::default() };
        self.storage().list_volumes(request).await.unwrap().into_inner().volumes
    }

    pub async fn snapshots(&self) -> Vec<storage::Snapshot> {
        let request = storage::ListSnapshotsRequest { page_size: 1000, ..Default::default() };
        self.storage().list_snapshots(request).await.unwrap().into_inner().snapshots
    }

    pub async fn meters(&self) -> Vec<market::Meter> {
        let request = market::ListMetersRequest { page_size: 1000, ..Default::default() };
        self.marketplace().list_meters(request).await.unwrap().into_inner().meters
    }

    /// The closed run of an instance; the marketplace learns of it by an event.
    pub async fn bill(&self, instance: &str) -> market::Meter {
        until("the run's bill", SOON, async || {
            let closed = |m: &market::Meter| m.instance_id == instance && m.stop_time.is_some();
            self.meters().await.into_iter().find(closed)
        })
        .await
    }

    /// A request to launch one small machine.
    #[must_use]
    pub fn launching(&self, image: &str, name: &str) -> gateway::RunInstancesRequest {
        gateway::RunInstancesRequest {
            image_id: image.to_owned(),
            name: name.to_owned(),
            instance_type: "v1.micro".to_owned(),
            request_id: new_request_id(),
            ..Default::default()
        }
    }

    /// Launches one machine and waits until it runs.
    pub async fn launch(&self, image: &str, name: &str, key: &str) -> Instance {
        let mut request = self.launching(image, name);
        key.clone_into(&mut request.key_name);
        let answer = self.gateway().run_instances(request).await.unwrap().into_inner();
        let instance = &answer.instances[0].instance_id;
        self.reaches(instance, InstanceState::Running).await
    }

    /// Launches nothing: the refusal of a launch that must be refused.
    pub async fn launch_refused(&self, image: &str, reason: &str) -> vmint_rpc::Seen {
        let request = self.launching(image, "refused");
        crate::refused_as(self.gateway().run_instances(request).await, reason)
    }

    /// Follows an instance until it is in this state.
    pub async fn reaches(&self, instance: &str, state: InstanceState) -> Instance {
        let follow = async {
            loop {
                let request = launcher::WatchInstanceRequest { instance_id: instance.to_owned() };
                let Ok(changes) = self.launcher().watch_instance(request).await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let mut changes = changes.into_inner();
                // A stream that breaks is opened again: services get killed here.
                while let Some(Ok(change)) = changes.next().await {
                    let now = change.instance.expect("a change holds the instance");
                    if now.state() == state {
                        return now;
                    }
                    let over = now.state() == InstanceState::Terminated;
                    assert!(!over, "{instance} is over: {}", now.state_reason);
                }
            }
        };
        let late = || format!("{instance} is not {} in time", state.as_str_name());
        timeout(BOOT, follow).await.unwrap_or_else(|_| panic!("{}", late()))
    }

    /// Reads the console until the text comes; all it said.
    pub async fn console_says(&self, instance: &str, text: &str) -> String {
        let request =
            launcher::StreamConsoleRequest { instance_id: instance.to_owned(), follow: true };
        let mut pieces = self.launcher().stream_console(request).await.unwrap().into_inner();
        let mut seen = Vec::new();
        let read = async {
            while let Some(piece) = pieces.next().await {
                seen.extend_from_slice(&piece.unwrap().output);
                let so_far = String::from_utf8_lossy(&seen);
                if so_far.contains(text) {
                    return so_far.into_owned();
                }
            }
            panic!("the console of {instance} ended before it said `{text}`");
        };
        let late = || format!("the console of {instance} does not say `{text}`");
        timeout(BOOT, read).await.unwrap_or_else(|_| panic!("{}", late()))
    }

    /// Waits until a machine's first-boot agent is done.
    pub async fn booted(&self, instance: &str) -> String {
        self.console_says(instance, READY).await
    }

    /// Ends instances for good and waits until they are over.
    pub async fn terminate(&self, instances: &[String]) {
        if instances.is_empty() {
            return;
        }
        let request = gateway::TerminateInstancesRequest {
            instance_ids: instances.to_vec(),
            request_id: new_request_id(),
        };
        self.gateway().terminate_instances(request).await.unwrap();
        until("the instances' end", SOON, async || {
            let living = self.living().await;
            (!living.iter().any(|i| instances.contains(&i.instance_id))).then_some(())
        })
        .await;
    }

    /// Sends these bytes as a disk file of `size` bytes.
    pub async fn import(
        &self,
        format: &str,
        size: i64,
        content: &[u8],
    ) -> Result<storage::Snapshot, Status> {
        use storage::import_snapshot_request::Part;
        let header = storage::ImportHeader {
            format: format.to_owned(),
            file_bytes: size,
            request_id: new_request_id(),
            ..Default::default()
        };
        let mut parts = vec![Part::Header(header)];
        for (at, piece) in content.chunks(512 << 10).enumerate() {
            let offset = i64::try_from(at * (512 << 10)).expect("small");
            let content = piece.to_vec().into();
            parts.push(Part::Data(storage::ImportData { offset, content }));
        }
        let parts =
            parts.into_iter().map(|part| storage::ImportSnapshotRequest { part: Some(part) });
        let sent = tokio_stream::iter(parts.collect::<Vec<_>>());
        let answer = self.storage().import_snapshot(sent).await?.into_inner();
        Ok(answer.snapshot.expect("an import's answer holds the snapshot"))
    }

    /// What [`Self::register`] sends.
    #[must_use]
    pub fn registering(&self, name: &str, snapshot: &str) -> gateway::RegisterImageRequest {
        let ebs = EbsBlockDevice { snapshot_id: snapshot.to_owned(), ..Default::default() };
        let root =
            BlockDeviceMapping { device_name: ROOT.into(), ebs: Some(ebs), no_device: false };
        let image = Image {
            name: name.to_owned(),
            architecture: Architecture::X8664.into(),
            root_device_name: ROOT.to_owned(),
            block_device_mappings: vec![root],
            ..Default::default()
        };
        gateway::RegisterImageRequest { image: Some(image), request_id: new_request_id() }
    }

    /// Registers an image over a snapshot.
    pub async fn register(&self, name: &str, snapshot: &str) -> Result<Image, Status> {
        let request = self.registering(name, snapshot);
        let answer = self.gateway().register_image(request).await?.into_inner();
        Ok(answer.image.expect("a registration's answer holds the image"))
    }

    /// Follows an image until it is made.
    pub async fn image_made(&self, image: &str) -> Image {
        until("the image", SOON, async || {
            let request = gateway::GetImageRequest { image_id: image.to_owned() };
            let answer = self.gateway().get_image(request).await.ok()?;
            let image = answer.into_inner().image?;
            assert_ne!(image.state(), ImageState::Failed, "{}", image.state_reason);
            (image.state() == ImageState::Available).then_some(image)
        })
        .await
    }
}
