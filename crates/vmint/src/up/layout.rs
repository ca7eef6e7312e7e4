//! Where a deployment on one machine keeps what.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use vmint_daemon::ServiceConfig;
use vmint_rpc::ServiceAddress;

use crate::client::{Failure, Result};

/// A unix socket's path may have 107 bytes, and the longest of ours adds
/// this much to the directory it is in.
const LONGEST_TAIL: usize = 60;

/// The directories and addresses of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    pub(crate) trust: PathBuf,
    pub(crate) listen: SocketAddr,
    run: PathBuf,
}

impl Layout {
    /// Makes the directories.
    pub(crate) fn make(data: &Path, listen: SocketAddr) -> Result<Self> {
        let make = |dir: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(|error| {
                let why = crate::client::plain(&error);
                Failure::new(format!("{} cannot be made: {why}", dir.display()))
            })
        };
        make(data)?;
        let data = fs::canonicalize(data)?;
        if data.as_os_str().len() + LONGEST_TAIL > 107 {
            return Err(Failure::usage(format!(
                "{} is too long a path for the sockets in it",
                data.display()
            ))
            .hint("choose a shorter one with --data"));
        }
        let this = Self::at(data, listen);
        for dir in ["run", "logs", "settings", "exports", "instances"] {
            make(&this.data.join(dir))?;
        }
        fs::write(this.data.join("listen"), listen.to_string())?;
        Ok(this)
    }

    /// The layout of a deployment that was made before.
    pub(crate) fn find(data: &Path) -> Result<Self> {
        let none = || {
            Failure::unreachable(format!("there is no deployment in {}", data.display()))
                .hint("vmint up")
        };
        let listen = fs::read_to_string(data.join("listen")).map_err(|_| none())?;
        let data = fs::canonicalize(data)?;
        Ok(Self::at(data, listen.trim().parse().map_err(|_| none())?))
    }

    fn at(data: PathBuf, listen: SocketAddr) -> Self {
        Self { trust: data.join("trust"), run: data.join("run"), data, listen }
    }

    /// Where a service serves its peers.
    pub(crate) fn address(&self, name: &str) -> ServiceAddress {
        ServiceAddress::Unix(self.run.join(format!("{name}.sock")))
    }

    pub(crate) fn settings(&self, name: &str) -> PathBuf {
        self.data.join("settings").join(format!("{name}.toml"))
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }

    /// Writes each service's settings file.
    pub(crate) fn write_settings(&self) -> Result<()> {
        macro_rules! settings {
            ($name:literal, $config:ty) => {{
                let mut config = <$config>::default();
                config.service = ServiceConfig::under($name, &self.run, &self.data, &self.trust);
                config
            }};
        }
        self.write("permissions", &settings!("permissions", vmint_permissions::Config))?;
        self.write("catalog", &settings!("catalog", vmint_catalog::Config))?;
        self.write("marketplace", &settings!("marketplace", vmint_marketplace::Config))?;
        let mut storage = settings!("storage", vmint_storage::Config);
        storage.exports_dir = self.data.join("exports");
        storage.keys_dir = self.data.join("storage-keys");
        self.write("storage", &storage)?;
        let mut launcher = settings!("launcher", vmint_launcher::Config);
        launcher.instances_dir = self.data.join("instances");
        self.write("launcher", &launcher)?;
        let mut gateway = settings!("gateway", vmint_gateway::Config);
        gateway.service.listen = ServiceAddress::Tcp(self.listen.to_string());
        self.write("gateway", &gateway)
    }

    fn write(&self, name: &str, settings: &impl Serialize) -> Result<()> {
        let text = toml::to_string(settings).map_err(|error| Failure::new(error.to_string()))?;
        Ok(fs::write(self.settings(name), text)?)
    }
}
