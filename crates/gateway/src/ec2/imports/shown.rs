//! Imports as EC2 shows them.

use std::collections::HashMap;

use vmint_api::{
    catalog::v1::Image,
    storage::v1::{
        GetImportTaskRequest, ImportDisk, ImportTask, ListImportTasksRequest, ObjectName,
        TransferState, disk_source::Source,
    },
};
use vmint_ec2::{Xml, query::Page};
use vmint_ids::{ImportImageTaskKind, ImportSnapshotTaskKind, Kind};

use crate::ec2::{Call, Refused, entry::Answer, filter, images, snapshots};

/// As many as one call of storage gives, and one of the catalog takes.
const PAGE: i32 = 999;
const AT_ONCE: usize = 999;

pub(super) async fn describe_import_image_tasks(mut call: Call) -> Answer {
    let (found, next) = asked::<ImportImageTaskKind>(&mut call).await?;
    let ids = found.iter().map(|task| task.image_id.clone());
    let ids = ids.filter(|id| !id.is_empty()).collect::<Vec<_>>();
    let mut images = HashMap::new();
    for ids in ids.chunks(AT_ONCE) {
        for image in call.front.gateway.get_images(&call.caller, ids).await? {
            images.insert(image.image_id.clone(), image);
        }
    }
    let mut xml = Xml::new();
    xml.items("importImageTaskSet", &found, |xml, task| {
        image_task(xml, task, images.get(&task.image_id));
    })
    .filled("nextToken", next);
    Ok(xml)
}

pub(super) async fn describe_import_snapshot_tasks(mut call: Call) -> Answer {
    let (found, next) = asked::<ImportSnapshotTaskKind>(&mut call).await?;
    let mut xml = Xml::new();
    xml.items("importSnapshotTaskSet", &found, snapshot_task).filled("nextToken", next);
    Ok(xml)
}

/// The tasks of one kind that are asked for, and where the next page begins.
async fn asked<K: Kind>(call: &mut Call) -> Result<(Vec<ImportTask>, String), Refused> {
    let ids = call.params.ids::<K>("ImportTaskId")?;
    let page = call.params.page(1, 1000)?;
    let filters = call.params.filters()?;
    let (mut found, mut next) = (Vec::new(), String::new());
    if ids.is_empty() {
        (found, next) = list(call, page).await?;
    }
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    for id in &ids {
        let request = GetImportTaskRequest { task_id: id.to_string() };
        found.extend(storage.get_import_task(request).await?.into_inner().task);
    }
    // Those of the other kind are another operation's.
    found.retain(|task| task.task_id.parse::<vmint_ids::Id<K>>().is_ok());
    found.retain(|task| filter::all(&filters, |_| vec![state(task.state()).to_owned()]));
    Ok((found, next))
}

/// One page of imports of either kind, or all of them.
pub(in crate::ec2) async fn list(
    call: &Call,
    page: Page,
) -> Result<(Vec<ImportTask>, String), Refused> {
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    let mut found = Vec::new();
    let mut request = ListImportTasksRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
    };
    loop {
        let listed = storage.list_import_tasks(request.clone()).await?.into_inner();
        found.extend(listed.tasks);
        let next = listed.next_page_token;
        if next.is_empty() || page.max_results.is_some() {
            return Ok((found, next));
        }
        request.page_token = next;
    }
}

/// Where a task stands.
pub(in crate::ec2) fn state(state: TransferState) -> &'static str {
    match state {
        TransferState::Unspecified | TransferState::Active => "active",
        TransferState::Completed => "completed",
        TransferState::Deleting => "deleting",
        TransferState::Deleted => "deleted",
    }
}

pub(super) fn image_task(xml: &mut Xml, task: &ImportTask, image: Option<&Image>) {
    xml.text("importTaskId", &task.task_id)
        .filled("description", &task.description)
        .value("encrypted", task.encrypted)
        .filled("kmsKeyId", &task.kms_key_id);
    if let Some(image) = image {
        xml.text("architecture", images::architecture(image.architecture()))
            .text("bootMode", images::boot_mode(image.boot_mode()));
    }
    // What is being taken away is no image.
    if matches!(task.state(), TransferState::Active | TransferState::Completed) {
        xml.filled("imageId", &task.image_id);
    }
    let windows = image.is_some_and(|image| image.platform == "windows");
    xml.text("licenseType", "BYOL")
        .text("platform", if windows { "Windows" } else { "Linux" })
        .items("snapshotDetailSet", &task.disks, |xml, disk| {
            xml.filled("deviceName", &disk.device_name);
            shown(xml, disk);
        });
    standing(xml, task);
    xml.items("tagSet", &task.tags, snapshots::tag);
}

pub(super) fn snapshot_task(xml: &mut Xml, task: &ImportTask) {
    xml.text("importTaskId", &task.task_id).filled("description", &task.description);
    xml.node("snapshotTaskDetail", |xml| {
        xml.filled("description", &task.description)
            .value("encrypted", task.encrypted)
            .filled("kmsKeyId", &task.kms_key_id);
        if let Some(disk) = task.disks.first() {
            shown(xml, disk);
        }
        standing(xml, task);
    });
    xml.items("tagSet", &task.tags, snapshots::tag);
}

/// How far it is; clients wait for `status`.
fn standing(xml: &mut Xml, task: &ImportTask) {
    if task.state() == TransferState::Active {
        xml.value("progress", task.progress_percent);
    }
    xml.text("status", state(task.state())).filled("statusMessage", &task.status_message);
}

fn shown(xml: &mut Xml, disk: &ImportDisk) {
    if disk.file_bytes > 0 {
        xml.value("diskImageSize", format!("{}.0", disk.file_bytes));
    }
    let source = disk.source.as_ref();
    let declared = source.map(|source| source.format.as_str()).unwrap_or_default();
    let format = match disk.detected_format.as_str() {
        "" => declared,
        found => found,
    };
    xml.filled("format", format.to_ascii_uppercase()).filled("snapshotId", &disk.snapshot_id);
    match source.and_then(|source| source.source.as_ref()) {
        Some(Source::Url(url)) => {
            xml.text("url", url);
        }
        Some(Source::Object(ObjectName { bucket, key })) => {
            xml.node("userBucket", |xml| {
                xml.text("s3Bucket", bucket).text("s3Key", key);
            });
        }
        Some(Source::BundleManifest(at)) => {
            let (bucket, key) = at.split_once('/').unwrap_or_default();
            xml.node("userBucket", |xml| {
                xml.text("s3Bucket", bucket).text("s3Key", key);
            });
        }
        Some(Source::UploadId(_) | Source::SnapshotId(_)) | None => {}
    }
}
