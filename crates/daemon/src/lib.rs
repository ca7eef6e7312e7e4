//! The shell every service process lives in.
//!
//! ```no_run
//! # async fn example<S>(catalog: S) -> Result<(), Box<dyn std::error::Error>> {
//! use vmint_daemon::{Daemon, ServiceConfig, signals, telemetry};
//!
//! let config = ServiceConfig::of("catalog");
//! telemetry::init(&config.log)?;
//! let daemon = Daemon::new("catalog", &config)?;
//! // let daemon = daemon.service(CatalogServiceServer::new(Grpc::new(catalog)));
//! daemon.run(signals::stopped()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The gateway, which has a door of its own, uses the parts: [`telemetry`],
//! [`signals`], [`Metrics`], [`Readiness`], [`ops`], [`health`], [`reflection`].

pub mod certs;
pub mod config;
pub mod metrics;
pub mod ops;
pub mod signals;
pub mod telemetry;

mod daemon;
mod listen;
mod ready;
mod reflect;

pub use config::{ConfigError, SERVICES, ServiceConfig, load};
pub use daemon::{Bound, Daemon, DaemonError};
pub use listen::Listener;
pub use metrics::Metrics;
pub use ready::Readiness;
pub use reflect::{ReflectionError, health, reflection};
