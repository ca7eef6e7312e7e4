//! The launcher service: instances, their machines, key pairs.
//!
//! It keeps every instance's record (`instances.v1`, with user data in a table of its
//! own), which place in the networks each has (`slots.v1`), key pairs (the public half),
//! the highest epoch of a gateway it has seen, and tells what happens to machines under
//! the topic `machine`.
//!
//! Invariants:
//! * A change of state and the telling of it are one commit: each run is told to have
//!   started once and to have stopped once, never to have stopped before it started.
//! * Machines outlive this process; the next one finds them again, or finds them gone
//!   and says so with the time they were last seen alive.
//! * A machine without a record is ended; a record without a machine is stopped.
//! * No two instances that are not terminated share a place in the networks.

mod clock;
mod config;
mod error;
mod filter;
mod grpc;
mod instance;
mod instance_type;
mod key_pair;
mod machines;
mod metadata;
mod ops;
mod state;
mod store;
mod tag;

use std::{path::PathBuf, sync::Arc};

use vmint_api::launcher::v1::{
    launcher_internal_service_server::LauncherInternalServiceServer,
    launcher_service_server::LauncherServiceServer,
};
use vmint_daemon::Daemon;
use vmint_store::{Options, Store};

pub use config::{Config, HypervisorKind, RunError};
pub use error::{LauncherError, Result};
pub use filter::{BadFilter, Filters};
pub use grpc::{Grpc, Internal};
pub use instance::{
    Endpoint, Happening, Identity, Instance, MAX_LAUNCH, MAX_USER_DATA, OnPoweroff, Particulars,
    Run, Volume,
};
pub use instance_type::{INSTANCE_TYPES, InstanceType};
pub use key_pair::{KeyKind, KeyName, KeyPair};
pub use machines::{hypervisor, qemu::QemuHypervisor, simulated::SimulatedHypervisor};
pub use ops::{
    Console, ConsoleInput, Following, Health, KeyQuery, Launcher, MachineEvent, MadeKeyPair, Page,
    Query, Reservation, Status,
};
pub use state::State;
pub use store::Change;
pub use tag::Change as TagChange;

/// Runs machines until `shutdown`, then drains; the machines go on without it.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let dir = config.service.data.join("store");
    let open = move || Store::open(&dir, Options::default());
    let store = tokio::task::spawn_blocking(open).await??;
    let shim = match &config.shim {
        Some(shim) => shim.clone(),
        // This very program, also when its file has been replaced since.
        None => PathBuf::from("/proc/self/exe"),
    };
    let hypervisor: Arc<dyn hypervisor::Hypervisor> = match config.hypervisor {
        HypervisorKind::Qemu => Arc::new(QemuHypervisor::new(shim, config.qemu.clone())),
        HypervisorKind::Simulated => {
            tracing::warn!("machines are simulated: the settings say so, and no guest runs");
            Arc::new(SimulatedHypervisor::default())
        }
    };
    let daemon = Daemon::new("launcher", &config.service)?;
    let launcher = Launcher::new(store.clone(), hypervisor, &config)?.draining(daemon.draining());
    launcher.adopt().await?;

    let (probing, tending, stop) = (launcher.clone(), launcher.clone(), daemon.stop_token());
    let poisoned = store.clone();
    let served = daemon
        .service(LauncherServiceServer::new(Grpc::new(launcher.clone())))
        .service(LauncherInternalServiceServer::new(Internal::new(launcher)))
        .task("probing the host", async move {
            probing.host().await;
            Ok::<_, RunError>(())
        })
        .task("tending machines", async move {
            tending.tend(stop).await;
            Ok::<_, RunError>(())
        })
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    store.close().await;
    Ok(served?)
}
