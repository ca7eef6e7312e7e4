//! The marketplace service: products on images, who subscribed to them, and
//! what their use costs.
//!
//! It keeps products, agreements, holds of launches, a meter for each run of an
//! instance, and a double-entry ledger. A seller runs its own products without
//! an agreement; such runs are metered at no price and nothing is booked.
//!
//! Invariants:
//! * A buyer has one active agreement for a product at most.
//! * Every run is billed once, whatever the order in which its events arrive and
//!   however often: meters and transactions have natural keys.
//! * Each transaction sums to zero, and so does the ledger. Entries are only
//!   ever added.

mod booking;
mod config;
mod error;
mod feed;
mod grpc;
mod meter;
mod money;
mod ops;
mod product;
mod store;

pub use booking::{Entry, FEES, payable, receivable};
pub use config::{Config, RunError};
pub use error::{MarketError, Result};
pub use feed::{Launcher, Source, follow};
pub use grpc::{Grpc, Internal};
pub use meter::{Bill, MachineEvent, Meter, MeterKey, Terms, What};
pub use money::{Currency, Money, PICOS, billed_seconds};
pub use ops::{Audit, Marketplace, NewHold, NewProduct, Page};
pub use product::{Agreement, Hold, Product};
pub use store::Step;

use vmint_api::marketplace::v1::{
    marketplace_internal_service_server::MarketplaceInternalServiceServer,
    marketplace_service_server::MarketplaceServiceServer,
};
use vmint_daemon::Daemon;
use vmint_store::{Options, Store};

/// Serves the marketplace of the deployment and follows its launcher until
/// `shutdown`, then drains.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let dir = config.service.data.clone();
    let open = move || Store::open(&dir, Options::default());
    let store = tokio::task::spawn_blocking(open).await??;
    let market = Marketplace::open(store.clone(), config.fee_ppm);
    let daemon = Daemon::new("marketplace", &config.service)?;
    let mut launcher = Launcher::new(&daemon.peer("launcher")?);
    let (follower, stop) = (market.clone(), daemon.stop_token());
    let poisoned = store.clone();
    let served = daemon
        .service(MarketplaceServiceServer::new(Grpc::new(market.clone())))
        .service(MarketplaceInternalServiceServer::new(Internal::new(market)))
        .task("feed", async move {
            tokio::select! {
                ended = follow(&follower, &mut launcher) => ended,
                () = stop.cancelled() => Ok(()),
            }
        })
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    store.close().await;
    Ok(served?)
}
