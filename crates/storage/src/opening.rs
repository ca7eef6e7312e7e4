//! Opening what a data directory holds.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use vmint_blocks::BlockStore;
use vmint_store::Store;

use crate::{Config, Result, StorageError};

/// A data directory that is open; nobody else has it.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) blocks: BlockStore,
    /// What deduplication domains are derived from.
    pub(crate) secret: [u8; 32],
}

/// Opens it, or makes it.
pub(crate) fn open(config: &Config) -> Result<Opened> {
    let data = &config.service.data;
    let secret = domain_secret(data)?;
    let store = Store::open(&data.join("records"), vmint_store::Options::default())?;
    let options = vmint_blocks::Options {
        cache_bytes: config.cache_bytes,
        ..vmint_blocks::Options::default()
    };
    let dir = data.join("blocks");
    let blocks = match &config.bucket {
        None => BlockStore::open(&dir, options)?,
        Some(bucket) => BlockStore::open_objects(&dir, options, &bucket.options())?,
    };
    Ok(Opened { store, blocks, secret })
}

/// What deduplication domains are derived from, made at the first start.
/// Without it no block can be read, so it lies beside them and not with the
/// certificates, which may be made anew.
fn domain_secret(data: &Path) -> Result<[u8; 32]> {
    fs::create_dir_all(data)?;
    let path = data.join("domains.key");
    match fs::read(&path) {
        Ok(bytes) => bytes.as_slice().try_into().map_err(|_| StorageError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|e| io::Error::other(e.to_string()))?;
            let new = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(data)?.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}
