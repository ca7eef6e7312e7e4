//! Where a process's settings come from: defaults, then a file, then the environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment, Provider as _,
    providers::{Env, Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vmint_rpc::ServiceAddress;

use crate::telemetry::LogConfig;

/// The services of a deployment.
pub const SERVICES: [&str; 6] =
    ["catalog", "permissions", "marketplace", "launcher", "storage", "gateway"];

/// What every service is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Where it serves its peers.
    pub listen: ServiceAddress,
    /// The directory of what it keeps.
    pub data: PathBuf,
    /// Its own part of the deployment's trust directory.
    pub trust: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; nowhere if unset.
    pub ops: Option<ServiceAddress>,
    /// How long running calls may take to end at shutdown.
    pub drain_seconds: u64,
    /// How many connections it keeps open at once.
    pub max_connections: usize,
    /// How many calls it works on at once in one connection.
    pub max_streams: u32,
    pub log: LogConfig,
    /// Where the other services listen.
    pub peers: BTreeMap<String, ServiceAddress>,
}

impl ServiceConfig {
    /// The defaults of the service `name`, for a system-wide installation.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::under(
            name,
            Path::new("/run/vmint"),
            Path::new("/var/lib/vmint"),
            Path::new("/etc/vmint/trust"),
        )
    }

    /// The defaults of the service `name`, with sockets, data and trust under
    /// these directories.
    #[must_use]
    pub fn under(name: &str, run: &Path, data: &Path, trust: &Path) -> Self {
        let socket = |name: &str| ServiceAddress::Unix(run.join(format!("{name}.sock")));
        Self {
            listen: socket(name),
            data: data.join(name),
            trust: trust.join(name),
            ops: None,
            drain_seconds: 10,
            max_connections: 512,
            max_streams: 4096,
            log: LogConfig::default(),
            peers: SERVICES.iter().map(|peer| ((*peer).to_owned(), socket(peer))).collect(),
        }
    }

    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// Why the settings do not serve.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the settings file {} does not exist", .0.display())]
    NoFile(PathBuf),
    #[error("unknown setting `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { key: String, nearest: Option<String> },
    #[error("the settings do not fit: {0}")]
    Figment(#[from] Box<figment::Error>),
}

/// Settings: `defaults`, changed by `file`, changed by variables such as
/// `VMINT_SERVICE__LISTEN` (section, two underscores, key).
///
/// A key that `defaults` do not have is refused.
pub fn load<T: Serialize + DeserializeOwned>(
    defaults: T,
    file: Option<&Path>,
) -> Result<T, ConfigError> {
    let defaults = Serialized::defaults(defaults);
    let known = dict(defaults.data())?;
    let mut figment = Figment::from(defaults);
    if let Some(file) = file {
        if !file.is_file() {
            return Err(ConfigError::NoFile(file.to_owned()));
        }
        let toml = Toml::file_exact(file);
        check(&known, &dict(toml.data())?, "")?;
        figment = figment.merge(toml);
    }
    // Other variables of ours, such as VMINT_LOG, have no section.
    let env = Env::prefixed("VMINT_").filter(|key| key.as_str().contains("__")).split("__");
    check(&known, &dict(env.data())?, "")?;
    figment.merge(env).extract().map_err(|error| ConfigError::Figment(Box::new(error)))
}

fn dict(
    data: Result<figment::value::Map<figment::Profile, Dict>, figment::Error>,
) -> Result<Dict, ConfigError> {
    let data = data.map_err(|error| ConfigError::Figment(Box::new(error)))?;
    Ok(data.into_values().next().unwrap_or_default())
}

fn check(known: &Dict, given: &Dict, path: &str) -> Result<(), ConfigError> {
    for (key, value) in given {
        let full = format!("{path}{key}");
        let Some(expected) = known.get(key) else {
            let nearest = nearest(key, known.keys()).map(|n| format!("{path}{n}"));
            return Err(ConfigError::Unknown { key: full, nearest });
        };
        // An empty table among the defaults takes any keys.
        if let (Value::Dict(_, known), Value::Dict(_, given)) = (expected, value)
            && !known.is_empty()
        {
            check(known, given, &format!("{full}."))?;
        }
    }
    Ok(())
}

/// The candidate that takes the fewest edits to become `key`, if few enough.
fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let (edits, best) =
        candidates.map(|c| (edits(key.as_bytes(), c.as_bytes()), c)).min_by_key(|(n, _)| *n)?;
    (edits <= 1 + key.len() / 3).then_some(best)
}

fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
