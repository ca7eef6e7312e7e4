//! Running one service, and asking one how it is.

use std::{path::Path, time::Duration};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Serialize, de::DeserializeOwned};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use vmint_daemon::{SERVICES, ServiceConfig, certs, signals, telemetry};
use vmint_rpc::{Identity, ServiceAddress, chain, connect, connect_plain};

use crate::{
    cli::{CertsArgs, HealthArgs, ServeArgs, Service},
    client::{Failure, Result},
};

/// Who makes the first accounts; a name among the services'.
pub(crate) const OPERATOR: &str = "operator";

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Permissions => "permissions",
            Self::Catalog => "catalog",
            Self::Marketplace => "marketplace",
            Self::Storage => "storage",
            Self::Launcher => "launcher",
            Self::Gateway => "gateway",
        }
    }
}

/// Serves until told to stop.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    if args.supervised {
        // Whoever started us restarts us; without it nobody would.
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
    }
    let file = args.config.as_deref();
    let stop = signals::stopped();
    match args.service {
        Service::Permissions => {
            let config = settings(file, |c: &vmint_permissions::Config| &c.service)?;
            ended(vmint_permissions::run(config, stop).await)
        }
        Service::Catalog => {
            let config = settings(file, |c: &vmint_catalog::Config| &c.service)?;
            ended(vmint_catalog::run(config, stop).await)
        }
        Service::Marketplace => {
            let config = settings(file, |c: &vmint_marketplace::Config| &c.service)?;
            ended(vmint_marketplace::run(config, stop).await)
        }
        Service::Storage => {
            let config = settings(file, |c: &vmint_storage::Config| &c.service)?;
            ended(vmint_storage::run(config, stop).await)
        }
        Service::Launcher => {
            let config = settings(file, |c: &vmint_launcher::Config| &c.service)?;
            ended(vmint_launcher::run(config, stop).await)
        }
        Service::Gateway => {
            let config = settings(file, |c: &vmint_gateway::Config| &c.service)?;
            ended(vmint_gateway::run(config, stop).await)
        }
    }
}

/// Reads settings and begins to log as they say.
fn settings<C: Default + Serialize + DeserializeOwned>(
    file: Option<&Path>,
    service: impl Fn(&C) -> &ServiceConfig,
) -> Result<C> {
    let config =
        vmint_daemon::load(C::default(), file).map_err(|error| Failure::usage(chain(&error)))?;
    telemetry::init(&service(&config).log).map_err(|error| Failure::usage(chain(&error)))?;
    Ok(config)
}

fn ended<E: std::error::Error>(outcome: std::result::Result<(), E>) -> Result<()> {
    outcome.map_err(|error| {
        let text = chain(&error);
        tracing::error!(error = %text, "the service ended");
        Failure::new(text)
    })
}

/// Makes a deployment's certificates.
pub(crate) fn certs(args: &CertsArgs) -> Result<()> {
    let made = make_certs(&args.dir)?;
    for name in made {
        println!("certificate  {name}");
    }
    Ok(())
}

/// Makes or renews what every process needs to be known by.
pub(crate) fn make_certs(dir: &Path) -> Result<Vec<String>> {
    let names: Vec<&str> = SERVICES.into_iter().chain([OPERATOR]).collect();
    certs::init(dir, &names).map_err(|error| Failure::new(chain(&error)))
}

/// Asks a service for its health, with its own certificate.
pub(crate) async fn health(args: &HealthArgs) -> Result<()> {
    let name = args.service.name();
    let own = placed(args.service, args.config.as_deref())?;
    if args.service == Service::Gateway {
        return ask(connect_plain(&reachable(&own.listen), name)).await;
    }
    let identity = Identity::load(&own.trust).map_err(|error| Failure::new(chain(&error)))?;
    ask(connect(&reachable(&own.listen), &identity, name)).await
}

/// Where a service would be if it were served with these settings.
fn placed(service: Service, file: Option<&Path>) -> Result<ServiceConfig> {
    macro_rules! of {
        ($config:ty) => {
            vmint_daemon::load(<$config>::default(), file).map(|config| config.service)
        };
    }
    let config = match service {
        Service::Permissions => of!(vmint_permissions::Config),
        Service::Catalog => of!(vmint_catalog::Config),
        Service::Marketplace => of!(vmint_marketplace::Config),
        Service::Storage => of!(vmint_storage::Config),
        Service::Launcher => of!(vmint_launcher::Config),
        Service::Gateway => of!(vmint_gateway::Config),
    };
    config.map_err(|error| Failure::usage(chain(&error)))
}

/// An address that listens everywhere is reached at home.
fn reachable(address: &ServiceAddress) -> ServiceAddress {
    match address {
        ServiceAddress::Tcp(text) => {
            ServiceAddress::Tcp(text.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"))
        }
        unix @ ServiceAddress::Unix(_) => unix.clone(),
    }
}

/// One health check over a channel.
pub(crate) async fn ask(channel: vmint_rpc::Channel) -> Result<()> {
    let mut client = HealthClient::new(channel.deadline(Duration::from_secs(2)));
    let answer = client.check(HealthCheckRequest { service: String::new() }).await?.into_inner();
    if answer.status == 1 {
        return Ok(());
    }
    Err(Failure::unreachable("it answers but is not ready"))
}
