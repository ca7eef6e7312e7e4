//! The catalog service: the record of every machine image.
//!
//! It keeps images, pins on them, hints of who may see them, the tags that
//! others than their owners put on them, and named parameters that tools look
//! images up by.
//!
//! Invariants:
//! * An account's images that have not ended bear different names.
//! * Deregistering and pinning are one order: once an image is deregistered no
//!   new pin succeeds; a pin made before stays good.
//! * Product codes are only ever added.
//! * What was acknowledged is in the next listing.

mod config;
mod disk;
mod error;
mod filter;
mod grpc;
mod image;
mod index;
mod ops;
mod parameter;
mod pattern;
mod store;
mod tag;

pub use config::{Config, RunError};
pub use disk::{Disk, MAX_DISKS, Performance};
pub use error::{CatalogError, Result};
pub use filter::{Filter, MAX_FILTERS, MAX_VALUES};
pub use grpc::{Grpc, Internal};
pub use image::{Architecture, BootMode, Image, MAX_PRODUCT_CODES, Name, State};
pub use ops::{
    Asker, Catalog, Executor, Hinted, Listed, NewImage, Page, ParameterPage, ParameterQuery,
    Progress, Query, Update, ViewerTags,
};
pub use parameter::{
    DataType, Parameter, ParameterFilter, ParameterKind, ParameterName, ParameterPath, Selector,
};
pub use pattern::Pattern;
pub use store::Step;
pub use tag::MAX_TAGS;

use vmint_api::catalog::v1::{
    catalog_internal_service_server::CatalogInternalServiceServer,
    catalog_service_server::CatalogServiceServer,
    parameter_internal_service_server::ParameterInternalServiceServer,
    parameter_service_server::ParameterServiceServer,
};
use vmint_daemon::Daemon;
use vmint_store::{Options, Store};

/// Serves the catalog of the deployment until `shutdown`, then drains.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let dir = config.service.data.clone();
    let open = move || {
        let store = Store::open(&dir, Options::default())?;
        Ok::<_, RunError>((store.clone(), Catalog::open(store)?))
    };
    let (store, catalog) = tokio::task::spawn_blocking(open).await??;
    let poisoned = store.clone();
    let served = Daemon::new("catalog", &config.service)?
        .service(CatalogServiceServer::new(Grpc::new(catalog.clone())))
        .service(ParameterServiceServer::new(Grpc::new(catalog.clone())))
        .service(CatalogInternalServiceServer::new(Internal::new(catalog.clone())))
        .service(ParameterInternalServiceServer::new(Internal::new(catalog)))
        .poisoned(async move { poisoned.poisoned().await })
        .run(shutdown)
        .await;
    store.close().await;
    Ok(served?)
}
