//! Between messages and what is on its way in.

use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::disk_source::Source;

use super::{
    convert::{id, number, tags, time},
    instance_bundles::location_of,
    object_convert::object_name,
};
use crate::{
    Result, Storage, StorageError,
    import_task::{Disk, FileSource, Task, TaskState},
    object::ObjectName,
    ops::{NewDisk, declared_format},
    ranges::Ranges,
    upload::Upload,
};

/// The longest description of a task, in characters.
const LONGEST: usize = 255;

pub(super) fn description(text: String) -> Result<String> {
    if text.chars().count() <= LONGEST {
        return Ok(text);
    }
    Err(StorageError::Invalid {
        field: "description",
        what: "text",
        value: text.chars().take(32).collect(),
        rule: format!("use at most {LONGEST} characters"),
    })
}

pub(super) fn new_disk(source: Option<&pb::DiskSource>) -> Result<NewDisk> {
    let asked = source.cloned().unwrap_or_default();
    let declared = declared_format("source.format", &asked.format)?;
    let source = match asked.source {
        Some(Source::UploadId(upload)) => FileSource::Upload(id("source.upload_id", &upload)?),
        Some(Source::Url(url)) => FileSource::Url(url.parse()?),
        Some(Source::Object(at)) => FileSource::Object(object_name(&at)?),
        Some(Source::SnapshotId(from)) => FileSource::Snapshot(id("source.snapshot_id", &from)?),
        Some(Source::BundleManifest(location)) => {
            if declared.is_some() || asked.disk_index.is_some() {
                return Err(StorageError::Invalid {
                    field: "source",
                    what: "source",
                    value: String::new(),
                    rule: "a bundle's disk has no format and no index: leave them out".to_owned(),
                });
            }
            FileSource::Bundle(location_of("source.bundle_manifest", &location)?)
        }
        None => {
            return Err(StorageError::Invalid {
                field: "source",
                what: "source",
                value: String::new(),
                rule: "name an upload, a URL, an object, a snapshot or a bundle's manifest"
                    .to_owned(),
            });
        }
    };
    let index = asked.disk_index.map(|index| {
        usize::try_from(index).map_err(|_| StorageError::Invalid {
            field: "source.disk_index",
            what: "index",
            value: index.to_string(),
            rule: "count a package's disks from 0".to_owned(),
        })
    });
    let index = index.transpose()?;
    Ok(NewDisk { source, declared, index, device: String::new(), snapshot: None })
}

fn ranges(ranges: &Ranges) -> Vec<pb::ByteRange> {
    let part = |part: std::ops::Range<u64>| pb::ByteRange {
        start_bytes: number(part.start),
        end_bytes: number(part.end),
    };
    ranges.iter().map(part).collect()
}

pub(super) fn upload(upload: &Upload) -> pb::Upload {
    let base = upload.base.as_ref();
    pb::Upload {
        upload_id: upload.id.to_string(),
        account_id: upload.account.to_string(),
        file_bytes: number(upload.file_bytes),
        durable: ranges(&upload.durable),
        base_snapshot_id: base.map(|base| base.snapshot.to_string()).unwrap_or_default(),
        create_time: Some(time(upload.created_ms)),
        expire_time: Some(time(upload.expires_ms)),
    }
}

fn disk(disk: &Disk) -> pb::ImportDisk {
    let source = match &disk.source {
        FileSource::Upload(id) => Source::UploadId(id.to_string()),
        FileSource::Url(url) => Source::Url(url.to_string()),
        FileSource::Snapshot(id) => Source::SnapshotId(id.to_string()),
        FileSource::Object(ObjectName { bucket, key }) => {
            Source::Object(pb::ObjectName { bucket: bucket.to_string(), key: key.to_string() })
        }
        FileSource::Bundle(location) => Source::BundleManifest(location.to_string()),
    };
    let format = disk.declared.map(|format| format.to_string()).unwrap_or_default();
    let made = disk.made.as_ref();
    pb::ImportDisk {
        source: Some(pb::DiskSource {
            source: Some(source),
            format,
            disk_index: disk.index.and_then(|index| i32::try_from(index).ok()),
        }),
        device_name: disk.device.clone(),
        detected_format: made.map(|made| made.format.to_string()).unwrap_or_default(),
        file_bytes: number(made.map_or(0, |made| made.file_bytes)),
        size_bytes: number(made.map_or(0, |made| made.content.size_bytes)),
        snapshot_id: made.map(|_| disk.snapshot.to_string()).unwrap_or_default(),
        content_root: made
            .and_then(|made| made.root)
            .map(|root| root.to_string())
            .unwrap_or_default(),
    }
}

pub(super) fn task(storage: &Storage, task: &Task) -> pb::ImportTask {
    let state = match task.state {
        TaskState::Active => pb::TransferState::Active,
        TaskState::Completed => pb::TransferState::Completed,
        TaskState::Deleting => pb::TransferState::Deleting,
        TaskState::Deleted => pb::TransferState::Deleted,
    };
    pb::ImportTask {
        task_id: task.id.to_string(),
        account_id: task.account.to_string(),
        state: state.into(),
        status_message: task.message.clone(),
        progress_percent: i32::try_from(storage.import_percent(task)).unwrap_or_default(),
        disks: task.disks.iter().map(disk).collect(),
        image_id: task.image.map(|id| id.to_string()).unwrap_or_default(),
        description: task.description.clone(),
        create_time: Some(time(task.created_ms)),
        failure_reason: task.reason.clone(),
        end_time: (task.ended_ms > 0).then(|| time(task.ended_ms)),
        encrypted: task.seal.is_some(),
        kms_key_id: task.seal.map(|seal| seal.key.to_string()).unwrap_or_default(),
        tags: tags(&task.tags),
    }
}
