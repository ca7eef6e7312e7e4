//! Exports: images on their way into buckets, as files of their disks.

use vmint_api::{
    gateway::v1::ExportImageRequest,
    storage::v1::{
        CancelExportTaskRequest, ExportTask, GetExportTaskRequest, ListExportTasksRequest,
        TransferState,
    },
};
use vmint_ec2::{Operation, Xml, query::Page};
use vmint_ids::{ExportImageTaskId, ExportImageTaskKind, ImageKind};

use super::{
    Call, Entry, Refused, entries, entry::Answer, filter, imports::state, service::Service,
    snapshots, tags,
};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes EXPORT => export_image,
    reads TASKS => describe_export_image_tasks,
    writes CANCEL => cancel_export_task,
};

const EXPORT: Operation = Operation::new(
    "ExportImage",
    &[
        "ImageId!",
        "DiskImageFormat!",
        "S3ExportLocation.S3Bucket!",
        "S3ExportLocation.S3Prefix",
        "ClientToken",
        "Description",
        "RoleName",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
);
const TASKS: Operation = Operation::new(
    "DescribeExportImageTasks",
    &["ExportImageTaskId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["task-state"]);
const CANCEL: Operation = Operation::new("CancelExportTask", &["ExportTaskId!"]);

/// As many as one call of storage gives.
const PAGE: i32 = 999;

async fn export_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let formats = [("VMDK", "vmdk"), ("RAW", "raw"), ("VHD", "vhd")];
    let location = params.inside("S3ExportLocation", |at| {
        Ok((at.need("S3Bucket")?, at.text("S3Prefix")?.unwrap_or_default()))
    })?;
    let (bucket, prefix) = location.unwrap_or_default();
    let role = params.text("RoleName")?;
    let request = ExportImageRequest {
        image_id: params.need_id::<ImageKind>("ImageId")?.to_string(),
        format: params.choice("DiskImageFormat", &formats)?.unwrap_or_default().to_owned(),
        bucket,
        prefix,
        description: params.text("Description")?.unwrap_or_default(),
        tags: tags::of_new(params, "export-image-task")?,
        request_id,
    };
    let begun = call.front.gateway.export_image(&call.caller, request).await?;
    let task = begun.task.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("diskImageFormat", task.format.to_ascii_uppercase()).maybe("roleName", role);
    shown(&mut xml, &task);
    Ok(xml)
}

async fn describe_export_image_tasks(mut call: Call) -> Answer {
    let ids = call.params.ids::<ExportImageTaskKind>("ExportImageTaskId")?;
    let page = call.params.page(1, 1000)?;
    let filters = call.params.filters()?;
    let (mut found, mut next) = (Vec::new(), String::new());
    if ids.is_empty() {
        (found, next) = list(&call, page).await?;
    }
    let mut storage = call.front.gateway.peers.exports(&call.caller);
    for id in &ids {
        let request = GetExportTaskRequest { task_id: id.to_string() };
        found.extend(storage.get_export_task(request).await?.into_inner().task);
    }
    // Others are files to fetch, or whole images.
    found.retain(|task| task.task_id.parse::<ExportImageTaskId>().is_ok());
    found.retain(|task| filter::all(&filters, |_| vec![state(task.state()).to_owned()]));
    let mut xml = Xml::new();
    xml.items("exportImageTaskSet", &found, shown).filled("nextToken", next);
    Ok(xml)
}

async fn cancel_export_task(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let task_id = call.params.need_id::<ExportImageTaskKind>("ExportTaskId")?.to_string();
    let mut storage = call.front.gateway.peers.exports(&call.caller);
    storage.cancel_export_task(CancelExportTaskRequest { task_id, request_id }).await?;
    Ok(Xml::done())
}

/// One page of exports of every kind, or all of them.
pub(super) async fn list(call: &Call, page: Page) -> Result<(Vec<ExportTask>, String), Refused> {
    let mut storage = call.front.gateway.peers.exports(&call.caller);
    let mut found = Vec::new();
    let mut request = ListExportTasksRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
    };
    loop {
        let listed = storage.list_export_tasks(request.clone()).await?.into_inner();
        found.extend(listed.tasks);
        let next = listed.next_page_token;
        if next.is_empty() || page.max_results.is_some() {
            return Ok((found, next));
        }
        request.page_token = next;
    }
}

fn shown(xml: &mut Xml, task: &ExportTask) {
    xml.text("exportImageTaskId", &task.task_id)
        .filled("description", &task.description)
        .text("imageId", &task.image_id);
    if task.state() == TransferState::Active {
        xml.value("progress", task.progress_percent);
    }
    if let Some(first) = task.objects.first() {
        let prefix = first.key.split(&task.task_id).next().unwrap_or_default();
        xml.node("s3ExportLocation", |xml| {
            xml.text("s3Bucket", &first.bucket).filled("s3Prefix", prefix);
        });
    }
    xml.text("status", state(task.state())).filled("statusMessage", &task.status_message).items(
        "tagSet",
        &task.tags,
        snapshots::tag,
    );
}
