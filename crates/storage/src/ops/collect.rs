//! Giving back what nothing needs.

use super::attach::now_ms;
use crate::{Result, Storage};

impl Storage {
    /// Looks once for blocks that nothing needs and gives them back; answers
    /// how many bytes.
    pub async fn collect(&self) -> Result<u64> {
        let (storage, begun_ms) = (self.clone(), now_ms());
        let (deleted_bytes, labels) = Self::blocking(move || {
            // Begun before the list is made, so that nothing made meanwhile is
            // missed.
            let collection = storage.blocks.begin_collect();
            let needed = {
                let _alone = storage.listing.blocking_write();
                storage.needed()?
            };
            let labels = needed.iter().map(|(_, content)| content.to_string()).collect();
            let needed = needed.into_iter().map(|(_, content)| {
                let (domain, root) = storage.root_of(&content);
                (domain, root, content.size_bytes)
            });
            let report = collection.sweep(needed, Some(storage.config.trash()))?;
            Ok((report.deleted_bytes, labels))
        })
        .await?;
        self.forget_boots(&labels, begun_ms).await?;
        Ok(deleted_bytes)
    }
}
