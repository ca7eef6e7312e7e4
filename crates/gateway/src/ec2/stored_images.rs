//! Whole images in buckets: stored, and restored under a new id.

use vmint_api::{
    gateway::v1::{ExportImageRequest, RestoreImageRequest},
    storage::v1::{ExportTask, ObjectName, TransferState},
};
use vmint_ec2::{Error, Operation, Params, Xml};
use vmint_ids::{ImageKind, StoreImageTaskId};

use super::{Call, Entry, entries, entry::Answer, exports, filter, service::Service, stamp, tags};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes STORE => create_store_image_task,
    reads TASKS => describe_store_image_tasks,
    writes RESTORE => create_restore_image_task,
};

const STORE: Operation = Operation::new("CreateStoreImageTask", &["ImageId!", "Bucket!"])
    .only(&[("S3ObjectTag.N.Key", &[]), ("S3ObjectTag.N.Value", &[])]);
const TASKS: Operation = Operation::new(
    "DescribeStoreImageTasks",
    &["ImageId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["bucket", "task-state"]);
const RESTORE: Operation = Operation::new(
    "CreateRestoreImageTask",
    &[
        "Bucket!",
        "ObjectKey!",
        "Name",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
);

/// What storage calls a whole image as a format.
const WHOLE: &str = "bundle";

async fn create_store_image_task(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let request = ExportImageRequest {
        image_id: call.params.need_id::<ImageKind>("ImageId")?.to_string(),
        format: WHOLE.to_owned(),
        bucket: call.params.need("Bucket")?,
        request_id,
        ..ExportImageRequest::default()
    };
    let begun = call.front.gateway.export_image(&call.caller, request).await?;
    let mut xml = Xml::new();
    xml.text("objectKey", object(&begun.task.unwrap_or_default()).key);
    Ok(xml)
}

async fn describe_store_image_tasks(mut call: Call) -> Answer {
    let ids = call.params.ids::<ImageKind>("ImageId")?;
    let page = call.params.page(1, 200)?;
    let filters = call.params.filters()?;
    if !ids.is_empty() && page.max_results.is_some() {
        let text = "The parameter MaxResults cannot be used with the parameter ImageId.";
        return Err(Error::combination(text).into());
    }
    let (mut found, next) = exports::list(&call, page).await?;
    found.retain(|task| task.task_id.parse::<StoreImageTaskId>().is_ok());
    for id in &ids {
        let id = id.to_string();
        if !found.iter().any(|task| task.image_id == id) {
            call.front.gateway.get_image(&call.caller, &id).await?;
        }
    }
    found.retain(|task| ids.is_empty() || ids.iter().any(|id| id.to_string() == task.image_id));
    found.retain(|task| {
        filter::all(&filters, |name| match name {
            "bucket" => vec![object(task).bucket],
            _ => vec![state(task).to_owned()],
        })
    });
    let mut xml = Xml::new();
    xml.items("storeImageTaskResultSet", &found, shown).filled("nextToken", next);
    Ok(xml)
}

async fn create_restore_image_task(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let specifications = params.tag_specifications(&["image", "snapshot"])?;
    let object = ObjectName { bucket: params.need("Bucket")?, key: params.need("ObjectKey")? };
    let request = RestoreImageRequest {
        object: Some(object),
        name: params.text("Name")?.unwrap_or_default(),
        tags: tags::kept(Params::tags_for(&specifications, "image")),
        snapshot_tags: tags::kept(Params::tags_for(&specifications, "snapshot")),
        request_id,
    };
    let begun = call.front.gateway.restore_image(&call.caller, request).await?;
    let mut xml = Xml::new();
    xml.text("imageId", begun.image.unwrap_or_default().image_id);
    Ok(xml)
}

/// The one object of a whole image.
fn object(task: &ExportTask) -> ObjectName {
    task.objects.first().cloned().unwrap_or_default()
}

fn state(task: &ExportTask) -> &'static str {
    match task.state() {
        TransferState::Unspecified | TransferState::Active => "InProgress",
        TransferState::Completed => "Completed",
        TransferState::Deleting | TransferState::Deleted => "Failed",
    }
}

fn shown(xml: &mut Xml, task: &ExportTask) {
    let ObjectName { bucket, key } = object(task);
    xml.text("amiId", &task.image_id);
    if let Some(begun) = stamp(task.create_time.as_ref()) {
        xml.time("taskStartTime", begun);
    }
    xml.text("bucket", bucket)
        .text("s3objectKey", key)
        .value("progressPercentage", task.progress_percent)
        .text("storeTaskState", state(task));
    if state(task) == "Failed" {
        xml.text("storeTaskFailureReason", &task.status_message);
    }
}
