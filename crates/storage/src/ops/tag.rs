//! Labels put on and taken off.

use vmint_ids::{AccountId, SnapshotId, VolumeId};
use vmint_store::{Asked, TxError};

use crate::{
    Result, Storage, StorageError,
    export_task::ExportName,
    import_task::TaskId,
    store::{LEDGER, exports, import_tasks, snapshots, volumes},
    tag::TagChange,
};

/// What can be labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Snapshot(SnapshotId),
    Volume(VolumeId),
    Import(TaskId),
    Export(ExportName),
}

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

impl Storage {
    /// Changes the tags of resources that are all `account`'s, or of none.
    pub(crate) async fn change_tags(
        &self,
        account: AccountId,
        resources: Vec<Resource>,
        change: TagChange,
        asked: Asked,
    ) -> Result<()> {
        let refuse = |error: crate::tag::BadTag| TxError::Refused(StorageError::from(error));
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    for resource in resources {
                        match resource {
                            Resource::Snapshot(id) => {
                                let mut one =
                                    snapshots::owned(tx, id, account).map_err(TxError::Refused)?;
                                one.tags = change.of(&one.tags).map_err(refuse)?;
                                snapshots::put(tx, &one)?;
                            }
                            Resource::Volume(id) => {
                                let mut one =
                                    volumes::owned(tx, id, account).map_err(TxError::Refused)?;
                                one.tags = change.of(&one.tags).map_err(refuse)?;
                                volumes::put(tx, &one)?;
                            }
                            Resource::Import(id) => {
                                let mut one = import_tasks::owned(tx, id, account)
                                    .map_err(TxError::Refused)?;
                                one.tags = change.of(&one.tags).map_err(refuse)?;
                                import_tasks::put(tx, &one)?;
                            }
                            Resource::Export(name) => {
                                let mut one =
                                    exports::owned(tx, name, account).map_err(TxError::Refused)?;
                                one.tags = change.of(&one.tags).map_err(refuse)?;
                                exports::put(tx, &one)?;
                            }
                        }
                    }
                    Ok(Done {})
                })
            })
            .await?;
        Ok(())
    }
}
