//! Where a deployment on one machine keeps what.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use vmint_daemon::ServiceConfig;
use vmint_launcher::HypervisorKind;
use vmint_rpc::ServiceAddress;

use super::stand_ins;
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

/// What sets one deployment on a machine apart from another.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) region: String,
    /// The gateways of the other regions.
    pub(crate) others: BTreeMap<String, SocketAddr>,
    /// What sessions of regions' operators the others copy with; empty if there are no others.
    pub(crate) tokens: BTreeMap<String, String>,
    /// Which of the loopback networks its machines are reached in, from 0.
    pub(crate) number: u8,
    pub(crate) simulated: bool,
    /// Accounts may be purged.
    pub(crate) test_mode: bool,
    /// There are images of a provider.
    pub(crate) stand_ins: bool,
}

impl Place {
    /// The only deployment on this machine.
    pub(crate) fn alone() -> Self {
        let region = REGION.to_owned();
        Self {
            region,
            others: BTreeMap::new(),
            tokens: BTreeMap::new(),
            number: 0,
            simulated: false,
            test_mode: false,
            stand_ins: false,
        }
    }
}

/// What a region is called unless told otherwise.
pub(crate) const REGION: &str = "local-1";

/// Says which directories hold the deployments of several regions, one a line.
const REGIONS: &str = "regions";

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

    /// Notes which regions have their directories here; none if there is but one, here.
    pub(crate) fn note_regions(data: &Path, regions: &[String]) -> Result<()> {
        let file = data.join(REGIONS);
        if regions.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(data)?;
        Ok(fs::write(file, regions.join("\n"))?)
    }

    /// The deployments that were made here before, by their regions.
    pub(crate) fn all(data: &Path) -> Vec<(String, Self)> {
        let Ok(regions) = fs::read_to_string(data.join(REGIONS)) else {
            let only = Self::find(data).ok().map(|layout| (layout.region(), layout));
            return only.into_iter().collect();
        };
        let find = |name: &str| Some((name.to_owned(), Self::find(&data.join(name)).ok()?));
        regions.lines().filter_map(find).collect()
    }

    fn setting(&self, service: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.settings(service)).ok()?;
        let table: toml::Table = toml::from_str(&text).ok()?;
        table.get(name)?.as_str().map(str::to_owned)
    }

    /// What its region is called.
    pub(crate) fn region(&self) -> String {
        self.setting("gateway", "region").unwrap_or_else(|| REGION.to_owned())
    }

    /// Whether its machines are on paper only.
    pub(crate) fn simulates(&self) -> bool {
        self.setting("launcher", "hypervisor").as_deref() == Some("simulated")
    }

    /// Writes each service's settings file.
    pub(crate) fn write_settings(&self, place: &Place) -> Result<()> {
        macro_rules! settings {
            ($name:literal, $config:ty) => {{
                let mut config = <$config>::default();
                config.service = ServiceConfig::under($name, &self.run, &self.data, &self.trust);
                config
            }};
        }
        let other = |name: &String, at: &SocketAddr| {
            let token = place.tokens.get(name)?.clone();
            let address = ServiceAddress::Tcp(at.to_string());
            Some((name.clone(), vmint_storage::Region { address, token }))
        };
        self.write("permissions", &settings!("permissions", vmint_permissions::Config))?;
        self.write("catalog", &settings!("catalog", vmint_catalog::Config))?;
        self.write("marketplace", &settings!("marketplace", vmint_marketplace::Config))?;
        let mut storage = settings!("storage", vmint_storage::Config);
        storage.exports_dir = self.data.join("exports");
        storage.keys_dir = self.data.join("storage-keys");
        storage.regions = place.others.iter().filter_map(|(name, at)| other(name, at)).collect();
        self.write("storage", &storage)?;
        let mut launcher = settings!("launcher", vmint_launcher::Config);
        launcher.instances_dir = self.data.join("instances");
        launcher.region.clone_from(&place.region);
        launcher.ssh_range = format!("127.{}.0.0/16", 100 + place.number);
        if place.simulated {
            launcher.hypervisor = HypervisorKind::Simulated;
        }
        self.write("launcher", &launcher)?;
        let mut gateway = settings!("gateway", vmint_gateway::Config);
        gateway.service.listen = ServiceAddress::Tcp(self.listen.to_string());
        gateway.region.clone_from(&place.region);
        gateway.test_mode = place.test_mode;
        if place.stand_ins {
            gateway.owner_aliases = stand_ins::aliases();
        }
        let other = |(name, at): (&String, &SocketAddr)| (name.clone(), at.to_string());
        gateway.regions = place.others.iter().map(other).collect();
        self.write("gateway", &gateway)
    }

    fn write(&self, name: &str, settings: &impl Serialize) -> Result<()> {
        let text = toml::to_string(settings).map_err(|error| Failure::new(error.to_string()))?;
        // Storage's hold what other regions let it in by.
        write_private(&self.settings(name), &text)
    }

    /// The token of a session of this deployment's operator, drawn at first, that other regions
    /// copy with.
    pub(crate) fn region_token(data: &Path) -> Result<String> {
        let file = data.join("region.token");
        match fs::read_to_string(&file) {
            Ok(token) => Ok(token.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o711).create(data)?;
                let token = vmint_permissions::Token::random().reveal().to_owned();
                write_private(&file, &token)?;
                Ok(token)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a file, whole or not at all, that only this user may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    Ok(fs::rename(new, path)?)
}
