//! Who the person is: address, token and keys, kept in one private file.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One account as this person uses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) url: String,
    pub(crate) account_id: String,
    pub(crate) token: String,
}

/// Every profile, by name, and which one is used if none is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Profiles {
    pub(crate) default: String,
    #[serde(default)]
    pub(crate) profile: BTreeMap<String, Profile>,
}

/// Where a deployment of this user keeps its data unless told otherwise.
pub(crate) fn default_data_dir() -> PathBuf {
    let home = env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(|| {
        env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("share"))
    });
    home.unwrap_or_else(|| PathBuf::from("/var/lib")).join("vmint")
}

impl Profiles {
    /// The file in a deployment's data directory.
    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join("profiles.toml")
    }

    /// Reads them; none at all is no error.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                let text = format!("{} is not a profiles file: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes them, readable by this user alone.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        write_private(path, text.as_bytes())
    }
}

/// Replaces a file by one that only this user can read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)
}
