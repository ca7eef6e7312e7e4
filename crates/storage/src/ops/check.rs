//! Whether records, trees, index and packs fit one another.

use vmint_blocks::{CheckReport, ScrubReport};
use vmint_ids::VolumeId;

use crate::{Config, Damage, Result, Storage, StorageError, opening};

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    pub report: CheckReport,
    /// Directories of volumes without a record.
    pub orphan_volumes: Vec<VolumeId>,
}

impl Checked {
    /// Nothing is lost and nothing contradicts.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let report = &self.report;
        report.damaged_packs.is_empty() && report.unlisted_chunks == 0 && report.lost_chunks == 0
    }
}

/// What a check of a storage that is not running found.
#[derive(Debug, Clone)]
pub struct CheckedOffline {
    pub checked: Checked,
    /// Of reading every chunk, if that was asked for.
    pub scrubbed: Option<ScrubReport>,
    pub damage: Vec<Damage>,
}

impl Storage {
    /// Follows the trees of everything that is needed.
    pub(crate) async fn check(&self) -> Result<Checked> {
        let storage = self.clone();
        Self::blocking(move || {
            // Listed when the block store asks, which keeps collections away
            // from then on.
            let mut failed = None;
            let roots = std::iter::once_with(|| {
                let needed = storage.needed().unwrap_or_else(|error| {
                    failed = Some(error);
                    Vec::new()
                });
                needed.into_iter().map(|(_, content)| storage.root_of(&content))
            });
            let report = storage.blocks.check(roots.flatten())?;
            if let Some(error) = failed {
                return Err(error);
            }
            let mut orphan_volumes = Vec::new();
            for id in storage.live.on_disk()? {
                if storage.volume(id)?.is_none() {
                    orphan_volumes.push(id);
                }
            }
            Ok(Checked { report, orphan_volumes })
        })
        .await
    }
}

/// Checks a storage that is not running; with `contents` reads every chunk
/// too. Damage it finds is remembered.
pub async fn check_offline(config: Config, contents: bool) -> Result<CheckedOffline> {
    let (opened, config) = Storage::blocking(move || Ok((opening::open(&config)?, config))).await?;
    let opening::Opened { store, blocks, secret } = opened;
    let storage = Storage::new(store, blocks, &secret, config);
    let scrubbed = if contents {
        let blocks = storage.blocks.clone();
        let read = Storage::blocking(move || {
            blocks.rewind_scrub()?;
            Ok::<_, StorageError>(blocks.scrub(u64::MAX)?)
        });
        Some(read.await?)
    } else {
        None
    };
    let checked = storage.check().await?;
    let damage = storage.damage().await?;
    storage.records.store().close().await;
    Ok(CheckedOffline { checked, scrubbed, damage })
}
