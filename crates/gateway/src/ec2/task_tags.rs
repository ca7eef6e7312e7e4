//! Tags of imports and exports, which storage keeps and changes as it does those of disks.

use vmint_api::{
    storage::v1::{GetExportTaskRequest, GetImportTaskRequest},
    types::v1::Tag,
};
use vmint_ec2::query::Page;
use vmint_ids::{ExportImageTaskKind, ImportImageTaskKind, ImportSnapshotTaskKind, Kind};
use vmint_rpc::Caller;

use super::{Call, Front, Refused, exports, imports};

/// What EC2 calls each kind, by how its ids begin.
const KINDS: [(&str, &str); 3] = [
    (ImportImageTaskKind::PREFIX, "import-image-task"),
    (ImportSnapshotTaskKind::PREFIX, "import-snapshot-task"),
    (ExportImageTaskKind::PREFIX, "export-image-task"),
];

fn kind(id: &str) -> Option<&'static str> {
    let prefix = id.rsplit_once('-')?.0;
    KINDS.iter().find(|(known, _)| *known == prefix).map(|(_, kind)| *kind)
}

/// Whether it is a task that bears this id.
pub(super) fn keeps(id: &str) -> bool {
    kind(id).is_some()
}

/// That all of them are there and the caller's own.
pub(super) async fn all_exist(
    front: &Front,
    caller: &Caller,
    ids: &[String],
) -> Result<(), Refused> {
    for id in ids {
        of(front, caller, id).await?;
    }
    Ok(())
}

/// The tags of a task of the caller's.
async fn of(front: &Front, caller: &Caller, id: &str) -> Result<Vec<Tag>, Refused> {
    let task_id = id.to_owned();
    if id.starts_with(ExportImageTaskKind::PREFIX) {
        let mut storage = front.gateway.peers.exports(caller);
        let found = storage.get_export_task(GetExportTaskRequest { task_id }).await?;
        return Ok(found.into_inner().task.unwrap_or_default().tags);
    }
    let mut storage = front.gateway.peers.imports(caller);
    let found = storage.get_import_task(GetImportTaskRequest { task_id }).await?;
    Ok(found.into_inner().task.unwrap_or_default().tags)
}

/// The tags of all tasks of the caller's: id, type, tags.
pub(super) async fn all_own(call: &Call) -> Result<Vec<(String, &'static str, Vec<Tag>)>, Refused> {
    let (imports, _) = imports::list(call, Page::default()).await?;
    let (exports, _) = exports::list(call, Page::default()).await?;
    let imports = imports.into_iter().map(|task| (task.task_id, task.tags));
    let exports = exports.into_iter().map(|task| (task.task_id, task.tags));
    let row = |(id, tags): (String, Vec<Tag>)| Some((id.clone(), kind(&id)?, tags));
    Ok(imports.chain(exports).filter_map(row).collect())
}
