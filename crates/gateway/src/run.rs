//! The process from bind to drain.

use std::{future::Future, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::server::HealthReporter;
use vmint_api::gateway::v1::{
    gateway_service_server::GatewayServiceServer, region_service_server::RegionServiceServer,
};
use vmint_daemon::{Listener, Metrics, Readiness, ServiceConfig, ops as watchers};
use vmint_rpc::{
    GATEWAY, Identity, Incomplete, Policies, ServiceAddress, TrustError, connect, seal_page_tokens,
};
use vmint_store::{Options, Store, StoreError};

use crate::{
    Config, Limits,
    door::{self, Buckets, Door, Sessions},
    ec2::{Aliases, Front, Groups, Regions},
    grpc::Grpc,
    health,
    ops::{Gateway, kinds, purge},
    peers::Peers,
    reconcile,
    saga::{Calm, Executor, Tuning},
};

/// How long steps of sagas may take to end at shutdown.
const STEPS_END: Duration = Duration::from_secs(5);
/// How often a renewed certificate is taken up.
const RENEWAL: Duration = Duration::from_mins(10);

/// Why the gateway did not start, or ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{address}` could not be bound")]
    Bind { address: ServiceAddress, source: io::Error },
    #[error("the certificates in the trust directory do not serve")]
    Trust(#[from] TrustError),
    #[error("the trust directory {} is that of `{found}`, not of `{GATEWAY}`", dir.display())]
    WrongName { found: String, dir: PathBuf },
    #[error("no address is set for the service `{0}`: set `service.peers.{0}`")]
    NoPeer(&'static str),
    #[error("the gateway's store failed")]
    Store(#[from] StoreError),
    #[error("a method lacks its policy")]
    Policies(#[from] Incomplete),
    #[error("the descriptors are not fit for reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the process cannot go on: {0}")]
    Poisoned(String),
}

/// Serves until `shutdown`, then drains.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    bind(&config).await?.run(shutdown).await
}

/// Opens the store and binds the door; sagas that have not ended go on.
pub async fn bind(config: &Config) -> Result<Bound, StartError> {
    let ServiceConfig { trust, data, listen, ops, peers, .. } = &config.service;
    let dir = trust.clone();
    let identity = Identity::load(&dir)?;
    if identity.name() != GATEWAY {
        return Err(StartError::WrongName { found: identity.name().to_owned(), dir });
    }
    seal_page_tokens(&identity.secret("page tokens")?);
    let channel = |name: &'static str| {
        let address = peers.get(name).ok_or(StartError::NoPeer(name))?;
        Ok::<_, StartError>(connect(address, &identity, name))
    };
    let peers = Peers::new(identity.signer()?, channel)?;
    let data = data.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&data, Options::default()));
    let store = opened.await.unwrap_or(Err(StoreError::Closed))?;
    let regions = Regions::new(config.region.clone(), config.regions.clone());
    let aliases = config.owner_aliases.clone();
    let limits = config.limits;
    let mode = config.test_mode;
    let assembled = Bound::assemble(listen, peers, store, limits, regions, aliases, mode);
    let mut bound = assembled.await?;
    bound.identity = Some(identity);
    bound.connections = config.service.max_connections;
    bound.streams = config.service.max_streams;
    bound.drain = config.service.drain();
    if let Some(ops) = ops {
        bound.ops = Some(listener(ops).await?);
    }
    Ok(bound)
}

async fn listener(address: &ServiceAddress) -> Result<Listener, StartError> {
    let bind = Listener::bind(address).await;
    bind.map_err(|source| StartError::Bind { address: address.clone(), source })
}

/// A gateway whose sockets are bound and that does not serve yet.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    ops: Option<Listener>,
    identity: Option<Identity>,
    store: Store,
    door: Door,
    pub(crate) gateway: Gateway,
    health: HealthReporter,
    connections: usize,
    streams: u32,
    drain: Duration,
}

impl Bound {
    pub(crate) async fn assemble(
        listen: &ServiceAddress,
        peers: Peers,
        store: Store,
        limits: Limits,
        regions: Regions,
        aliases: Aliases,
        test_mode: bool,
    ) -> Result<Self, StartError> {
        let public = door::public_services();
        Policies::ours().check_complete(public.iter().map(String::as_str))?;
        let listener = listener(listen).await?;
        let tuning = Tuning { open_at_most: limits.open_sagas, ..Tuning::default() };
        let purge = purge(&peers, Arc::new(Groups::new(store.clone())));
        let kinds = kinds(&peers).with(purge);
        let sagas = Executor::open(store.clone(), kinds, tuning, Arc::new(Calm)).await?;
        let draining = CancellationToken::new();
        let gateway = Gateway {
            peers: peers.clone(),
            sagas,
            draining: draining.clone(),
            streams: TaskTracker::new(),
            test_mode,
        };
        let health = HealthReporter::new();
        let metrics = Metrics::new(GATEWAY);
        let open = gateway.sagas.clone();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and they are few")]
        metrics.gauge("vmint_sagas_open", "Sagas that have not ended.", &[], move || {
            open.open_count() as f64
        });
        let buckets = Arc::new(Buckets::new(limits.calls_per_second, limits.burst));
        let longest = Duration::from_secs(limits.longest_call_seconds.max(1));
        let front = Front::new(
            gateway.clone(),
            store.clone(),
            regions,
            buckets.clone(),
            metrics.clone(),
            longest,
        )
        .with_aliases(aliases);
        let door = Door {
            ec2: Arc::new(front),
            peers,
            own: GatewayServiceServer::new(Grpc { gateway: gateway.clone() }),
            regions: RegionServiceServer::new(Grpc { gateway: gateway.clone() }),
            open: door::open_routes(health.clone())?,
            sessions: Sessions::new(),
            buckets,
            metrics,
            readiness: Readiness::new(),
            draining,
            longest,
        };
        Ok(Self {
            listener,
            ops: None,
            identity: None,
            store,
            door,
            gateway,
            health,
            connections: 512,
            streams: 256,
            drain: Duration::from_secs(10),
        })
    }

    /// Where the door is, with the port the kernel gave.
    #[must_use]
    pub fn address(&self) -> &ServiceAddress {
        self.listener.address()
    }

    /// Where metrics are served, if anywhere.
    #[must_use]
    pub fn ops_address(&self) -> Option<&ServiceAddress> {
        self.ops.as_ref().map(Listener::address)
    }

    /// Serves until `shutdown`; then turns unready, takes no further
    /// connections, lets running calls and steps end for a while, and leaves
    /// unended sagas to the next start.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let Self { listener, ops, identity, store, door, gateway, health, .. } = self;
        let draining = door.draining.clone();
        let (readiness, metrics) = (door.readiness.clone(), door.metrics.clone());
        let mut tasks = JoinSet::new();
        let peers = gateway.peers.clone();
        tasks.spawn(health::follow(peers.clone(), health, readiness.clone(), draining.clone()));
        tasks.spawn(reconcile::run(peers, gateway.sagas.clone(), draining.clone()));
        // What only ends by being dropped.
        let mut attendants = JoinSet::new();
        if let Some(ops) = ops {
            attendants.spawn(watchers::serve(ops, metrics, readiness.clone()));
        }
        if let Some(identity) = identity {
            attendants.spawn(renew(identity));
        }
        tracing::info!(service = GATEWAY, address = %listener.address(), "serving");
        let (most, streams, drain) = (self.connections, self.streams, self.drain);
        tasks.spawn(door::serve(listener, Arc::new(door), most, streams, drain));
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            why = store.poisoned() => Err(StartError::Poisoned(why)),
        };
        draining.cancel();
        readiness.not_ready("stopping");
        ended?;
        // Calls that wait for a saga may still see it end.
        while tasks.join_next().await.is_some() {}
        gateway.streams.close();
        gateway.sagas.drain(STEPS_END).await;
        store.close().await;
        tracing::info!(service = GATEWAY, "stopped");
        Ok(())
    }
}

/// Takes up a certificate that was renewed while the process runs.
async fn renew(identity: Identity) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let again = identity.clone();
        match tokio::task::spawn_blocking(move || again.reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the certificate does not serve any more"),
            Err(_) => return,
        }
    }
}
