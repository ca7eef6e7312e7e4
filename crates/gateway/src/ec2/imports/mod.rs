//! Imports: disk files on their way to becoming snapshots and images.

mod begin;
mod shown;

use vmint_api::storage::v1::{CancelImportTaskRequest, GetImportTaskRequest};
use vmint_ec2::{Operation, Xml};

use super::{Call, Entry, entries, entry::Answer, service::Service};
use begin::{import_image, import_snapshot};
use shown::{describe_import_image_tasks, describe_import_snapshot_tasks};

pub(super) use shown::{list, state};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes IMAGE => import_image,
    writes SNAPSHOT => import_snapshot,
    reads IMAGE_TASKS => describe_import_image_tasks,
    reads SNAPSHOT_TASKS => describe_import_snapshot_tasks,
    writes CANCEL => cancel_import_task,
};

/// What is said of a disk.
const DISK: &[&str] = &["Description", "Format", "Url", "UserBucket.S3Bucket", "UserBucket.S3Key"];
/// What both operations take of who sends it, and of tags.
const CLIENT: (&str, &[&str]) =
    ("ClientData", &["Comment", "UploadEnd", "UploadSize", "UploadStart"]);
const TAGS: (&str, &[&str]) = ("TagSpecification.N", &["ResourceType", "Tag.N.Key", "Tag.N.Value"]);

const IMAGE: Operation = Operation::new(
    "ImportImage",
    &[
        "Architecture",
        "BootMode",
        "ClientToken",
        "Description",
        "DiskContainer.N.DeviceName",
        "DiskContainer.N.SnapshotId",
        "Encrypted",
        "KmsKeyId",
        "Platform",
        "RoleName",
    ],
)
.within(&[CLIENT, ("DiskContainer.N", DISK), TAGS])
.only(&[
    ("Hypervisor", &["xen"]),
    ("LicenseSpecifications.N.LicenseConfigurationArn", &[]),
    ("LicenseType", &["BYOL"]),
    ("UsageOperation", &[]),
]);
const SNAPSHOT: Operation = Operation::new(
    "ImportSnapshot",
    &["ClientToken", "Description", "Encrypted", "KmsKeyId", "RoleName"],
)
.within(&[CLIENT, ("DiskContainer", DISK), TAGS]);
const DESCRIBES: &[&str] =
    &["ImportTaskId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"];
const IMAGE_TASKS: Operation =
    Operation::new("DescribeImportImageTasks", DESCRIBES).filters(&["task-state"]);
const SNAPSHOT_TASKS: Operation =
    Operation::new("DescribeImportSnapshotTasks", DESCRIBES).filters(&["task-state"]);
const CANCEL: Operation = Operation::new("CancelImportTask", &["ImportTaskId!", "CancelReason"]);

async fn cancel_import_task(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let task_id = call.params.need("ImportTaskId")?;
    let reason = call.params.text("CancelReason")?.unwrap_or_default();
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    let request = GetImportTaskRequest { task_id: task_id.clone() };
    let before = storage.get_import_task(request).await?.into_inner().task.unwrap_or_default();
    let request = CancelImportTaskRequest { task_id, reason, request_id };
    let after = storage.cancel_import_task(request).await?.into_inner().task.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("importTaskId", &after.task_id)
        .text("previousState", state(before.state()))
        .text("state", state(after.state()));
    Ok(xml)
}
