//! What accounts note for themselves on images of others.

use std::collections::BTreeMap;

use vmint_ids::{AccountId, ImageId};
use vmint_store::{Asked, OrRefuse as _, StoreError, Table, Tx, TxError, prefix};

use super::{
    Images,
    images::{LEDGER, find, missing, touch},
    record::{ViewerTagsRecord, parse},
};
use crate::{CatalogError as E, Result, State};

static TAGS: Table<(String, ImageId), ViewerTagsRecord> = Table::new("viewer-tags.v1");

/// Labels by their keys.
pub(crate) type Tags = BTreeMap<String, String>;

impl Images {
    /// Changes the tags of `viewer` on another's image, once for each request id.
    pub(crate) async fn tag_as_viewer(
        &self,
        id: ImageId,
        viewer: AccountId,
        asked: Asked,
        change: impl FnOnce(&Tags) -> Result<Tags> + Send + 'static,
    ) -> Result<Tags> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                let image = find(tx, id)?.ok_or_else(|| missing(id))?;
                if image.owner == viewer {
                    let why = "owns the image: change the image's own tags";
                    return Err(TxError::refuse(E::field("account_id", why)));
                }
                if image.state == State::Deregistered {
                    return Err(TxError::refuse(image.not_available()));
                }
                let key = (viewer.to_string(), id);
                let before = TAGS.get(tx, &key)?.unwrap_or_default().tags;
                let tags = change(&before).or_refuse()?;
                if tags != before {
                    keep(tx, &key, &tags)?;
                }
                forget_ended(tx, &key)?;
                Ok(ViewerTagsRecord { tags })
            })
        };
        Ok(self.store().commit(work).await?.tags)
    }

    pub(crate) fn viewer_tags(&self, viewer: AccountId, id: ImageId) -> Result<Tags> {
        let found = TAGS.get(self.store(), &(viewer.to_string(), id))?;
        Ok(found.unwrap_or_default().tags)
    }

    /// Shows all of them. Takes its time; not for the async runtime.
    pub(crate) fn walk_viewer_tags(
        &self,
        mut visit: impl FnMut(AccountId, ImageId, Tags),
    ) -> Result<()> {
        TAGS.walk(self.store(), |(viewer, id), record| {
            visit(parse(&viewer, "viewer")?, id, record.tags);
            Ok(())
        })
    }
}

fn keep(tx: &mut Tx<'_>, key: &(String, ImageId), tags: &Tags) -> Result<(), StoreError> {
    if tags.is_empty() {
        TAGS.remove(tx, key)?;
    } else {
        TAGS.put(tx, key, &ViewerTagsRecord { tags: tags.clone() })?;
    }
    touch(tx, key.1, &key.0)
}

/// Removes a few of the account's tags from images that have ended, more than
/// one commit adds.
fn forget_ended(tx: &mut Tx<'_>, key: &(String, ImageId)) -> Result<(), TxError<E>> {
    let after = vmint_store::Key::encode(key);
    for (key, _) in TAGS.scan(tx, &prefix(&[&key.0.as_str()]), Some(&after), 4)? {
        if find(tx, key.1)?.is_none_or(|image| image.state.is_ended()) {
            keep(tx, &key, &Tags::new())?;
        }
    }
    Ok(())
}
