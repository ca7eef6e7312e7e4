//! Imports: disk files at https URLs on their way to becoming snapshots and images.

use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image},
    gateway::v1::{ImportImageDisk, ImportImageRequest},
    storage::v1::{
        CancelImportTaskRequest, DiskSource, GetImportTaskRequest, ImportDisk, ImportTask,
        ListImportTasksRequest, StartSnapshotImportRequest, TransferState, disk_source::Source,
    },
};
use vmint_ec2::{Error, Operation, Params, Xml};
use vmint_ids::{ImportImageTaskKind, ImportSnapshotTaskKind, Kind};

use super::{Call, Entry, entries, entry::Answer, filter, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes IMAGE => import_image,
    writes SNAPSHOT => import_snapshot,
    reads IMAGE_TASKS => describe_import_image_tasks,
    reads SNAPSHOT_TASKS => describe_import_snapshot_tasks,
    writes CANCEL => cancel_import_task,
};

const IMAGE: Operation = Operation::new(
    "ImportImage",
    &[
        "Architecture",
        "BootMode",
        "ClientData.Comment",
        "ClientData.UploadEnd",
        "ClientData.UploadSize",
        "ClientData.UploadStart",
        "ClientToken",
        "Description",
        "DiskContainer.N.Description",
        "DiskContainer.N.DeviceName",
        "DiskContainer.N.Format",
        "DiskContainer.N.Url",
        "Encrypted",
        "KmsKeyId",
        "RoleName",
    ],
)
.only(&[
    ("DiskContainer.N.SnapshotId", &[]),
    ("DiskContainer.N.UserBucket.S3Bucket", &[]),
    ("DiskContainer.N.UserBucket.S3Key", &[]),
    ("Hypervisor", &["xen"]),
    ("LicenseSpecifications.N.LicenseConfigurationArn", &[]),
    ("LicenseType", &["BYOL"]),
    ("Platform", &["Linux"]),
    ("TagSpecification.N.ResourceType", &[]),
    ("UsageOperation", &[]),
]);
const SNAPSHOT: Operation = Operation::new(
    "ImportSnapshot",
    &[
        "ClientData.Comment",
        "ClientData.UploadEnd",
        "ClientData.UploadSize",
        "ClientData.UploadStart",
        "ClientToken",
        "Description",
        "DiskContainer.Description",
        "DiskContainer.Format",
        "DiskContainer.Url",
        "Encrypted",
        "KmsKeyId",
        "RoleName",
    ],
)
.only(&[
    ("DiskContainer.UserBucket.S3Bucket", &[]),
    ("DiskContainer.UserBucket.S3Key", &[]),
    ("TagSpecification.N.ResourceType", &[]),
]);
const DESCRIBES: &[&str] =
    &["ImportTaskId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"];
const IMAGE_TASKS: Operation =
    Operation::new("DescribeImportImageTasks", DESCRIBES).filters(&["task-state"]);
const SNAPSHOT_TASKS: Operation =
    Operation::new("DescribeImportSnapshotTasks", DESCRIBES).filters(&["task-state"]);
const CANCEL: Operation = Operation::new("CancelImportTask", &["ImportTaskId!", "CancelReason"]);
/// As many as one call of storage gives.
const PAGE: i32 = 999;

async fn import_image(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let (encrypted, kms_key_id) = sealed(params)?;
    let known = [
        ("x86_64", Architecture::X8664),
        ("i386", Architecture::I386),
        ("arm64", Architecture::Arm64),
    ];
    let architecture = params.choice("Architecture", &known)?.unwrap_or(Architecture::X8664);
    let modes = [("legacy-bios", BootMode::LegacyBios), ("uefi", BootMode::Uefi)];
    let boot_mode = params.choice("BootMode", &modes)?.unwrap_or(BootMode::Unspecified);
    let disks = params.each("DiskContainer", |disk| {
        disk.text("Description")?;
        let device_name = disk.text("DeviceName")?.unwrap_or_default();
        Ok(ImportImageDisk { source: Some(source(disk)?), device_name })
    })?;
    if disks.is_empty() {
        return Err(Error::missing("DiskContainer.1.Url").into());
    }
    let image = Image {
        description: params.text("Description")?.unwrap_or_default(),
        architecture: architecture.into(),
        boot_mode: boot_mode.into(),
        ..Image::default()
    };
    let request =
        ImportImageRequest { image: Some(image), disks, request_id, encrypted, kms_key_id };
    let begun = call.front.gateway.import_image(&call.caller, request).await?;
    let mut xml = Xml::new();
    let of = known.iter().find(|(_, known)| *known == architecture);
    xml.text("architecture", of.map_or("", |(name, _)| name));
    image_task(&mut xml, &begun.task.unwrap_or_default());
    Ok(xml)
}

async fn import_snapshot(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let params = &mut call.params;
    let (encrypted, kms_key_id) = sealed(params)?;
    let found = params.inside("DiskContainer", |disk| {
        Ok((disk.text("Description")?.unwrap_or_default(), source(disk)?))
    })?;
    let Some((described, source)) = found else {
        return Err(Error::missing("DiskContainer.Url").into());
    };
    let request = StartSnapshotImportRequest {
        source: Some(source),
        description: params.text("Description")?.unwrap_or(described),
        request_id,
        encrypted,
        kms_key_id,
    };
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    let begun = storage.start_snapshot_import(request).await?.into_inner();
    let mut xml = Xml::new();
    snapshot_task(&mut xml, &begun.task.unwrap_or_default());
    Ok(xml)
}

async fn describe_import_image_tasks(call: Call) -> Answer {
    describe::<ImportImageTaskKind>(call, "importImageTaskSet", image_task).await
}

async fn describe_import_snapshot_tasks(call: Call) -> Answer {
    describe::<ImportSnapshotTaskKind>(call, "importSnapshotTaskSet", snapshot_task).await
}

async fn describe<K: Kind>(
    mut call: Call,
    set: &str,
    mut shown: impl FnMut(&mut Xml, &ImportTask),
) -> Answer {
    let params = &mut call.params;
    let ids = params.ids::<K>("ImportTaskId")?;
    let page = params.page(1, 1000)?;
    let filters = params.filters()?;
    let mut storage = call.front.gateway.peers.imports(&call.caller);
    let (mut found, mut next) = (Vec::new(), String::new());
    for id in &ids {
        let request = GetImportTaskRequest { task_id: id.to_string() };
        found.extend(storage.get_import_task(request).await?.into_inner().task);
    }
    let mut request = ListImportTasksRequest {
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
    };
    while ids.is_empty() {
        let listed = storage.list_import_tasks(request.clone()).await?.into_inner();
        found.extend(listed.tasks);
        next = listed.next_page_token;
        if next.is_empty() || page.max_results.is_some() {
            break;
        }
        request.page_token.clone_from(&next);
    }
    // Those of the other kind are another operation's.
    found.retain(|task| task.task_id.parse::<vmint_ids::Id<K>>().is_ok());
    found.retain(|task| filter::all(&filters, |_| vec![state(task).to_owned()]));
    let mut xml = Xml::new();
    xml.items(set, &found, |xml, task| shown(xml, task)).filled("nextToken", next);
    Ok(xml)
}

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
        .text("previousState", state(&before))
        .text("state", state(&after));
    Ok(xml)
}

/// Where a disk's file is; formats are EC2's, in whatever case.
fn source(disk: &mut Params) -> Result<DiskSource, Error> {
    let url = disk.need("Url")?;
    let format = disk.text("Format")?.unwrap_or_default().to_ascii_lowercase();
    Ok(DiskSource { source: Some(Source::Url(url)), format, disk_index: None })
}

/// Whether and with which key something is to be encrypted.
fn sealed(params: &mut Params) -> Result<(bool, String), Error> {
    let encrypted = params.flag("Encrypted")?.unwrap_or(false);
    let key = params.text("KmsKeyId")?.unwrap_or_default();
    if !encrypted && !key.is_empty() {
        let text = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Error::combination(text));
    }
    Ok((encrypted, key))
}

fn state(task: &ImportTask) -> &'static str {
    match task.state() {
        TransferState::Unspecified | TransferState::Active => "active",
        TransferState::Completed => "completed",
        TransferState::Deleting => "deleting",
        TransferState::Deleted => "deleted",
    }
}

fn image_task(xml: &mut Xml, task: &ImportTask) {
    xml.text("importTaskId", &task.task_id)
        .filled("description", &task.description)
        .value("encrypted", task.encrypted)
        .filled("kmsKeyId", &task.kms_key_id);
    // What is being taken away is no image.
    if matches!(task.state(), TransferState::Active | TransferState::Completed) {
        xml.filled("imageId", &task.image_id);
    }
    xml.text("licenseType", "BYOL").text("platform", "Linux").items(
        "snapshotDetailSet",
        &task.disks,
        |xml, disk| {
            xml.filled("deviceName", &disk.device_name);
            shown(xml, disk);
        },
    );
    standing(xml, task);
}

fn snapshot_task(xml: &mut Xml, task: &ImportTask) {
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
}

/// How far it is; clients wait for `status`.
fn standing(xml: &mut Xml, task: &ImportTask) {
    if task.state() == TransferState::Active {
        xml.value("progress", task.progress_percent);
    }
    xml.text("status", state(task)).filled("statusMessage", &task.status_message);
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
    if let Some(Source::Url(url)) = source.and_then(|source| source.source.as_ref()) {
        xml.text("url", url);
    }
}
