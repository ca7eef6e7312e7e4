//! Volumes at no instance.

use vmint_ids::{AccountId, VolumeId};
use vmint_store::{Asked, TxError};

use crate::{
    Result, Storage, StorageError, Volume,
    key::Wish,
    snapshot::Copied,
    store::{LEDGER, held, snapshots, volumes},
    volume::Begin,
};

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Made {
    #[prost(string, tag = "1")]
    volume: String,
}

impl Storage {
    /// Makes a volume, empty or over a snapshot that `account` may read. It
    /// takes no room until it is written.
    pub(crate) async fn create_volume(
        &self,
        account: AccountId,
        mut begin: Begin,
        wish: Wish,
        asked: Asked,
    ) -> Result<Volume> {
        let wish = self.wished(account, wish)?;
        let cover = match begin.snapshot {
            Some(id) => {
                let source = snapshots::readable(self.records.store(), id, account)?;
                Some(self.cover(&source, account, wish).await?)
            }
            None => None,
        };
        if begin.snapshot.is_none() {
            begin.seal = self.seal_of_new(account, wish).await?;
        }
        let over = cover.as_ref().map(|cover| (cover.content, cover.seal));
        // What lies under it must be in the list of a collection, or later.
        let _listed = self.listing.read().await;
        let quota = self.config.quota;
        let made = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let source = begin.snapshot.map(|id| snapshots::readable(tx, id, account));
                    let mut source = source.transpose().map_err(TxError::Refused)?;
                    if let (Some(source), Some((content, seal))) = (&mut source, over) {
                        // Under a key of the account's own, if it is to be.
                        let holds = Copied::Same { content, seal };
                        *source = source.copied(source.id, account, holds);
                    }
                    let id = VolumeId::random();
                    let mut volume = Volume::begun(id, account, begin, source.as_ref())
                        .map_err(TxError::Refused)?;
                    volume.created_ms = tx.now_ms();
                    volumes::put(tx, &volume)?;
                    held::within(tx, account, &quota)?;
                    Ok(Made { volume: id.to_string() })
                })
            })
            .await?;
        drop(cover);
        let id = made.volume.parse().map_err(|_| StorageError::Damaged)?;
        volumes::owned(self.records.store(), id, account)
    }
}
