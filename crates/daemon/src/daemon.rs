//! A process from bind to drain.

use std::{
    convert::Infallible,
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
    transport::Server,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;
use vmint_rpc::{
    Channel, GuardLayer, Identity, Incomplete, MAX_FRAME_BYTES, Policies, ServiceAddress,
    TrustError, connect, seal_page_tokens,
};

use crate::{
    Listener, Metrics, Readiness, ReflectionError, ServiceConfig, listen, ops, reflection,
};

/// How often renewed certificates are looked for.
const RENEWAL: Duration = Duration::from_mins(1);
/// How long background tasks may take to end.
const TASKS_END: Duration = Duration::from_secs(5);

/// Why a process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("`{address}` could not be bound")]
    Bind { address: ServiceAddress, source: io::Error },
    #[error("the certificates in the trust directory do not serve")]
    Trust(#[from] TrustError),
    #[error("the trust directory is that of `{found}`, not of `{wanted}`")]
    WrongName { found: String, wanted: String },
    #[error("a method lacks its policy")]
    Policies(#[from] Incomplete),
    #[error("the descriptors are not fit for reflection")]
    Reflection(#[from] ReflectionError),
    #[error("no address is set for the service `{0}`: set `service.peers.{0}`")]
    NoPeer(String),
    #[error("serving failed")]
    Serve(#[from] tonic::transport::Error),
    #[error("the task `{task}` failed: {text}")]
    Task { task: String, text: String },
    #[error("the process cannot go on: {0}")]
    Poisoned(String),
}

type Work = BoxFuture<'static, Result<(), String>>;

/// A service process: its services, its background tasks, its settings.
///
/// Built up, then [run](Self::run). Everything it starts ends with it.
pub struct Daemon {
    name: String,
    config: ServiceConfig,
    identity: Identity,
    policies: Policies,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    tasks: Vec<(String, Work)>,
    poisoned: BoxFuture<'static, String>,
    metrics: Metrics,
    readiness: Readiness,
    draining: CancellationToken,
    stop: CancellationToken,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Daemon {
    /// A process for the service `name`; reads its trust directory.
    pub fn new(name: &str, config: &ServiceConfig) -> Result<Self, DaemonError> {
        let identity = Identity::load(&config.trust)?;
        if identity.name() != name {
            let (found, wanted) = (identity.name().to_owned(), name.to_owned());
            return Err(DaemonError::WrongName { found, wanted });
        }
        seal_page_tokens(&identity.secret("page tokens")?);
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            identity,
            policies: Policies::ours().clone(),
            routes: Routes::builder(),
            names: Vec::new(),
            tasks: Vec::new(),
            poisoned: Box::pin(std::future::pending()),
            metrics: Metrics::new(name),
            readiness: Readiness::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves `service` too.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Guards with these policies in place of our own; for tests.
    #[must_use]
    pub fn with_policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// Works on `work` while the process runs. An error ends the process.
    ///
    /// It must end soon after [`stop_token`](Self::stop_token) is cancelled;
    /// after five seconds it is dropped.
    #[must_use]
    pub fn task<E: std::error::Error>(
        mut self,
        name: &str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let work = async move { work.await.map_err(|error| vmint_rpc::chain(&error)) };
        self.tasks.push((name.to_owned(), Box::pin(work)));
        self
    }

    /// Ends the process at once, as failed, when `poisoned` says why.
    #[must_use]
    pub fn poisoned(mut self, poisoned: impl Future<Output = String> + Send + 'static) -> Self {
        self.poisoned = Box::pin(poisoned);
        self
    }

    /// Where the process counts; services add their own gauges.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the process wants work; it is set ready once it serves.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Cancelled when the process begins to drain: endless streams end then.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Cancelled when all calls have ended: background tasks end then.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The certificate this process shows.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A channel to another service of the deployment, at its configured address.
    pub fn peer(&self, service: &str) -> Result<Channel, DaemonError> {
        let address = self.config.peers.get(service);
        let address = address.ok_or_else(|| DaemonError::NoPeer(service.to_owned()))?;
        Ok(connect(address, &self.identity, service))
    }

    /// Binds its sockets; refuses to if a method says not how it is guarded.
    pub async fn bind(self) -> Result<Bound, DaemonError> {
        self.policies.check_complete(self.names.iter().copied())?;
        let bind = async |address: &ServiceAddress| {
            let address = address.clone();
            Listener::bind(&address).await.map_err(|source| DaemonError::Bind { address, source })
        };
        let listener = bind(&self.config.listen).await?;
        let ops = match &self.config.ops {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Bound { daemon: self, listener, ops })
    }

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
        self.bind().await?.run(shutdown).await
    }
}

/// A process whose sockets are bound and that does not serve yet.
#[derive(Debug)]
pub struct Bound {
    daemon: Daemon,
    listener: Listener,
    ops: Option<Listener>,
}

impl Bound {
    /// Where it serves its peers.
    #[must_use]
    pub fn address(&self) -> &ServiceAddress {
        self.listener.address()
    }

    /// Where it serves its metrics.
    #[must_use]
    pub fn ops_address(&self) -> Option<&ServiceAddress> {
        self.ops.as_ref().map(Listener::address)
    }

    /// Serves until `shutdown`, then drains: it turns unready, takes no further
    /// connections, gives running calls [`ServiceConfig::drain_seconds`], and
    /// cuts off what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
        let Self { daemon, listener, ops } = self;
        let Daemon { name, config, identity, policies, mut routes, names, .. } = daemon;
        let (draining, stop) = (daemon.draining, daemon.stop);
        let health = crate::health(&mut routes);
        reflection(&mut routes, names.iter().copied())?;
        let guard = GuardLayer::new(policies, identity.verifier()?)
            .observed_by(Arc::new(daemon.metrics.clone()));

        let mut tasks = JoinSet::new();
        for (task, work) in daemon.tasks {
            tasks.spawn(async move { (task, work.await) });
        }
        // What only ends by being dropped.
        let mut attendants = JoinSet::new();
        let cut = CancellationToken::new();
        let _cut_when_dropped = cut.clone().drop_guard();
        let (to, connections) = mpsc::channel(16);
        let address = listener.address().clone();
        let most = config.max_connections;
        attendants.spawn(listen::accept(listener, identity.clone(), most, cut.clone(), to));
        attendants.spawn(follow_renewal(identity, config.trust.clone()));
        if let Some(ops) = ops {
            attendants.spawn(ops::serve(ops, daemon.metrics, daemon.readiness.clone()));
        }

        let server = Server::builder()
            .max_frame_size(MAX_FRAME_BYTES)
            .initial_stream_window_size(2 * 1024 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024)
            .max_concurrent_streams(config.max_streams)
            .http2_max_header_list_size(16 * 1024)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .layer(guard)
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(
                ReceiverStream::new(connections),
                draining.clone().cancelled_owned(),
            );
        let mut server = std::pin::pin!(server);

        report(&health, &names, ServingStatus::Serving).await;
        daemon.readiness.set_ready();
        tracing::info!(service = name, %address, "serving");
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            failed = first_failure(&mut tasks) => Err(failed),
            why = daemon.poisoned => Err(DaemonError::Poisoned(why)),
            over = &mut server => over.map_err(Into::into),
        };
        daemon.readiness.not_ready("stopping");
        report(&health, &names, ServingStatus::NotServing).await;
        if matches!(ended, Err(DaemonError::Poisoned(_) | DaemonError::Serve(_))) {
            return ended;
        }
        draining.cancel();
        if timeout(config.drain(), &mut server).await.is_err() {
            tracing::warn!(service = name, "calls still running are cut off");
            cut.cancel();
        }
        stop.cancel();
        let all_end = async { while tasks.join_next().await.is_some() {} };
        if timeout(TASKS_END, all_end).await.is_err() {
            tracing::warn!(service = name, "background tasks still running are dropped");
        }
        tracing::info!(service = name, "stopped");
        ended
    }
}

async fn report(health: &HealthReporter, names: &[&'static str], status: ServingStatus) {
    for name in names.iter().copied().chain([""]) {
        health.set_service_status(name, status).await;
    }
}

/// Ends when a task fails; tasks that end well are let go.
async fn first_failure(tasks: &mut JoinSet<(String, Result<(), String>)>) -> DaemonError {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((task, Err(text))) => return DaemonError::Task { task, text },
            Ok((task, Ok(()))) => tracing::debug!(task, "a background task ended"),
            Err(error) => {
                return DaemonError::Task { task: "unknown".to_owned(), text: error.to_string() };
            }
        }
    }
    std::future::pending().await
}

/// Takes up certificates that were renewed while the process runs.
async fn follow_renewal(identity: Identity, trust: std::path::PathBuf) {
    let changed = async || tokio::fs::metadata(trust.join("cert.pem")).await?.modified();
    let mut seen: Option<SystemTime> = changed().await.ok();
    loop {
        tokio::time::sleep(RENEWAL).await;
        let now = changed().await.ok();
        if now == seen {
            continue;
        }
        let again = identity.clone();
        match tokio::task::spawn_blocking(move || again.reload()).await {
            Ok(Ok(())) => {
                seen = now;
                tracing::info!("took up the renewed certificate");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the renewed certificate does not serve"),
            Err(_) => return,
        }
    }
}
