//! Data keys in memory, so that a read does not ask the provider.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use vmint_blocks::DataKey;
use vmint_disk::VolumeKey;
use vmint_ids::LineageId;

use crate::{KeyProvider, Result, Seal, StorageError, Volume};

/// The data keys that were needed so far. Everything here blocks.
#[derive(Debug)]
pub(crate) struct DataKeys {
    pub(crate) provider: Arc<dyn KeyProvider>,
    known: Mutex<HashMap<LineageId, DataKey>>,
}

impl DataKeys {
    pub(crate) fn new(provider: Arc<dyn KeyProvider>) -> Self {
        Self { provider, known: Mutex::default() }
    }

    pub(crate) fn known(&self, lineage: LineageId) -> Option<DataKey> {
        self.known.lock().get(&lineage).copied()
    }

    /// The data key of a lineage, unless it was destroyed.
    pub(crate) fn get(&self, seal: Seal) -> Result<DataKey> {
        let mut known = self.known.lock();
        if let Some(key) = known.get(&seal.lineage) {
            return Ok(*key);
        }
        let id = seal.lineage;
        let key = self.provider.data_key(seal.key, id).map_err(StorageError::Provider)?;
        let key = key.ok_or(StorageError::DataKeyGone { id })?;
        known.insert(id, key);
        Ok(key)
    }

    /// Destroys a data key, here and with the provider.
    pub(crate) fn destroy(&self, lineage: LineageId) -> Result<()> {
        // Held meanwhile, so that nobody brings it back from a file that is about to go.
        let mut known = self.known.lock();
        known.remove(&lineage);
        self.provider.destroy_data_key(lineage).map_err(StorageError::Provider)
    }

    /// What a volume's own writes are encrypted with.
    pub(crate) fn of_volume(&self, volume: &Volume) -> Result<Option<VolumeKey>> {
        let Some(seal) = volume.seal else { return Ok(None) };
        let key = self.get(seal)?.derive(&volume.id.to_string());
        Ok(Some(VolumeKey::from_bytes(key)))
    }
}
