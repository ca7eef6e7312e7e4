//! Which snapshots, volumes and images lost chunks hit.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use vmint_blocks::{Lost, Root};
use vmint_ids::AccountId;

use super::needed::Holder;
use crate::{
    Content, Result, Storage,
    damage::{Damage, DamagedDisk, Disk, name},
    store::{snapshots, volumes},
};

impl Storage {
    /// Every chunk that is lost, by its name here.
    pub(crate) async fn damage(&self) -> Result<Vec<Damage>> {
        let storage = self.clone();
        Self::blocking(move || storage.find_damage()).await
    }

    /// What a content has lost.
    pub(super) fn lost_of(&self, content: &Content) -> Result<Vec<Lost>> {
        let (domain, root) = self.root_of(content);
        let mut lost = self.blocks.lost(domain, root)?;
        for lost in lost.iter_mut().filter(|lost| lost.node) {
            lost.length = lost.length.min(content.size_bytes.saturating_sub(lost.offset));
        }
        Ok(lost)
    }

    pub(super) fn find_damage(&self) -> Result<Vec<Damage>> {
        let needed = self.needed()?;
        // What all have in common is looked at once; mostly nothing is lost.
        if !self.blocks.any_lost(needed.iter().map(|(_, content)| self.root_of(content)))? {
            return Ok(Vec::new());
        }
        let mut known: HashMap<(AccountId, Root), Vec<Lost>> = HashMap::new();
        let mut found: BTreeMap<String, Damage> = BTreeMap::new();
        for (holder, content) in needed {
            let lost = match known.entry((content.domain, content.root)) {
                Entry::Occupied(lost) => lost.into_mut(),
                Entry::Vacant(place) => place.insert(self.lost_of(&content)?),
            };
            if lost.is_empty() {
                continue;
            }
            // Asked after the look: one deleted meanwhile has lost nothing.
            let Some((disk, account)) = self.disk_of(holder)? else { continue };
            for lost in lost {
                let (id, node) = (name(&lost.chunk), lost.node);
                let damage = found.entry(id.clone());
                let damage = damage.or_insert_with(|| Damage { id, node, disks: Vec::new() });
                let (disk, offset, length) = (disk.clone(), lost.offset, lost.length);
                damage.disks.push(DamagedDisk { disk, account, offset, length });
            }
        }
        Ok(found.into_values().collect())
    }

    fn disk_of(&self, holder: Holder) -> Result<Option<(Disk, AccountId)>> {
        let store = self.records.store();
        Ok(match holder {
            Holder::Snapshot(id) => snapshots::find(store, id)?.map(|snapshot| {
                let images = snapshot.images.iter().copied().collect();
                (Disk::Snapshot { id, images }, snapshot.account)
            }),
            Holder::Volume(id) => volumes::find(store, id)?.map(|volume| {
                let instance = volume.attachment.map(|at| at.instance);
                (Disk::Volume { id, instance }, volume.account)
            }),
            Holder::Transfer => None,
        })
    }
}
