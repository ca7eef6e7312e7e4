//! The permissions service: who is who, and who may do what with which image.
//!
//! It keeps organizations, accounts, sessions (the digest of each bearer token,
//! never the token), access keys (their secrets sealed under a key that lies
//! beside the store and not in it), and for each image its owner and launch
//! permissions.
//!
//! Invariants:
//! * An account's id and name are unique for ever; so is a token.
//! * Every answer comes from this one writer's present state, so a revoke binds
//!   the next check.
//! * An access key may do no more than the session that made it; its secret is
//!   shown once, and what is derived from it for one day, region and service is
//!   all that others get.
//! * Someone who may not know of an image gets the answer of one that never was.

mod access_key;
mod account;
mod config;
mod error;
mod grpc;
mod ops;
mod session;
mod sharing;
mod signing;
mod store;

use vmint_api::permissions::v1::{
    permissions_internal_service_server::PermissionsInternalServiceServer,
    permissions_service_server::PermissionsServiceServer,
    snapshot_internal_service_server::SnapshotInternalServiceServer,
};
use vmint_daemon::Daemon;
use vmint_store::{Options, Store};

pub use access_key::{AccessKey, AccessKeyId, Secret, Use};
pub use account::{Account, Name, Organization};
pub use config::{Config, RunError};
pub use error::{PermissionsError, Result};
pub use grpc::{Grpc, Internal, Snapshots};
pub use ops::{
    Answer, First, FirstAccount, Made, NewAccessKey, NewAccount, NewSession, Page, Permissions,
    Shared,
};
pub use session::{Digest, Session, Token};
pub use sharing::{Action, Change, Decision, MAX_GRANTS, Sharing};
pub use signing::{Scope, SigningKey};
pub use store::{Step, WrappingKey};

/// Serves the permissions of the deployment until `shutdown`, then drains.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let dir = config.service.data.clone();
    let open = move || Store::open(&dir, Options::default());
    let store = tokio::task::spawn_blocking(open).await??;
    let path = config.service.data.join("wrapping.key");
    let wrapping = tokio::task::spawn_blocking(move || WrappingKey::load_or_make(&path)).await?;
    let wrapping = wrapping.map_err(RunError::WrappingKey)?;
    let permissions = Permissions::open(store.clone(), wrapping, config.access_keys_per_principal);
    let poisoned = store.clone();
    let served = Daemon::new("permissions", &config.service)?
        .service(PermissionsServiceServer::new(Grpc::new(permissions.clone())))
        .service(PermissionsInternalServiceServer::new(Internal::new(permissions.clone())))
        .service(SnapshotInternalServiceServer::new(Snapshots::new(permissions)))
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    store.close().await;
    Ok(served?)
}
