//! A disk file becomes a snapshot, and the snapshot an image.

use std::{io::IsTerminal as _, path::Path, time::Duration};

use tokio_stream::StreamExt as _;
use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{ImportImageDisk, ImportImageRequest},
    storage::v1::{
        DiskSource, GetImportTaskRequest, GetSnapshotRequest, ImportTask, Snapshot,
        StartSnapshotImportRequest, TransferState, WatchImportTaskRequest, disk_source::Source,
    },
};
use vmint_images::Limits;

use super::{
    image::{architecture, made, register},
    upload,
};
use crate::{
    cli::{ImportArgs, Output},
    client::{Client, Failure, Result, json, request_id, size},
};

/// How often a watch is taken up again without any news.
const CUTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn run(client: &Client, args: ImportArgs) -> Result<()> {
    let url = args.source.to_str().filter(|source| source.contains("://"));
    let source = if let Some(url) = url {
        Source::Url(url.to_owned())
    } else {
        let base = base(client, &args.base).await?;
        let resume = args.resume.as_deref();
        Source::UploadId(upload::send(client, &args.source, &base, resume).await?)
    };
    if let Source::UploadId(upload) = &source
        && !args.snapshot_only
        && disks_in(&args.source) > 1
    {
        return package(client, upload.clone(), args).await;
    }
    let (snapshot, format) = snapshot(client, source, &args.format, &args.description).await?;
    if client.output() == Output::Table {
        let logical = u64::try_from(snapshot.size_bytes).unwrap_or_default();
        let fresh = u64::try_from(snapshot.new_bytes).unwrap_or_default();
        println!(
            "snapshot  {}  {format} {}, {} of data were new",
            snapshot.snapshot_id,
            size(logical),
            size(fresh),
        );
    }
    if args.snapshot_only {
        match client.output() {
            Output::Json => json("vmint.storage.v1.Snapshot", &[snapshot])?,
            Output::Id => println!("{}", snapshot.snapshot_id),
            Output::Table => {}
        }
        return Ok(());
    }
    let image =
        register(client, &args.name, &snapshot.snapshot_id, &args.description, &args.arch).await?;
    show(client, image)
}

/// How many disks a file holds; one that can't be told is the server's business.
fn disks_in(file: &Path) -> usize {
    let file = std::fs::File::open(file).ok();
    file.and_then(|file| vmint_images::disks(&file, &Limits::default()).ok()).unwrap_or(1)
}

/// Makes an image of all disks of an uploaded package.
async fn package(client: &Client, upload_id: String, args: ImportArgs) -> Result<()> {
    let source = Some(Source::UploadId(upload_id));
    let source = Some(DiskSource { source, format: args.format, disk_index: None });
    let request = ImportImageRequest {
        image: Some(Image {
            name: args.name,
            description: args.description,
            architecture: architecture(&args.arch)?.into(),
            ..Image::default()
        }),
        disks: vec![ImportImageDisk { source, device_name: String::new() }],
        request_id: request_id(),
        ..Default::default()
    };
    let answer = client.gateway().import_image(request).await?.into_inner();
    let image = made(client, answer.image).await?;
    let id = answer.task.map(|task| task.task_id).unwrap_or_default();
    if client.waits() && client.output() == Output::Table {
        for disk in task(client, &id).await?.disks {
            let (of, format) = (u64::try_from(disk.size_bytes), disk.detected_format);
            println!("snapshot  {}  {format} {}", disk.snapshot_id, size(of.unwrap_or_default()));
        }
    }
    show(client, image)
}

/// The root disk's snapshot of an image that the file is much like.
async fn base(client: &Client, image: &str) -> Result<String> {
    if image.is_empty() || image.starts_with("snap-") {
        return Ok(image.to_owned());
    }
    let image = super::image::get(client, image).await?;
    root_snapshot(&image)
}

/// The root disk's snapshot.
pub(crate) fn root_snapshot(image: &Image) -> Result<String> {
    let root = &image.root_device_name;
    let disk = image.block_device_mappings.iter().find(|disk| disk.device_name == *root);
    let snapshot = disk.and_then(|disk| disk.ebs.as_ref()).map(|ebs| ebs.snapshot_id.clone());
    snapshot.ok_or_else(|| Failure::new(format!("{} has no root disk", image.image_id)))
}

/// Prints a registered image.
pub(crate) fn show(client: &Client, image: Image) -> Result<()> {
    match client.output() {
        Output::Table => {
            println!("image     {}  {} as {}", image.image_id, state(&image), image.name);
        }
        Output::Id => println!("{}", image.image_id),
        Output::Json => json("vmint.catalog.v1.Image", &[image])?,
    }
    Ok(())
}

/// An image's state in one word.
pub(crate) fn state(image: &Image) -> String {
    image.state().as_str_name().trim_start_matches("IMAGE_STATE_").to_lowercase()
}

/// Looks an import up.
pub(crate) async fn task(client: &Client, task_id: &str) -> Result<ImportTask> {
    let request = GetImportTaskRequest { task_id: task_id.to_owned() };
    let found = client.transfer().get_import_task(request).await?.into_inner().task;
    found.ok_or_else(no_task)
}

/// Takes a file in and makes a snapshot of it; what the file was found to be.
pub(crate) async fn upload(
    client: &Client,
    path: &Path,
    format: &str,
    description: &str,
) -> Result<(Snapshot, String)> {
    let upload_id = upload::send(client, path, "", None).await?;
    snapshot(client, Source::UploadId(upload_id), format, description).await
}

/// Makes a snapshot of what was uploaded, is fetched or lies in a bucket; what
/// the file was found to be.
pub(crate) async fn snapshot(
    client: &Client,
    source: Source,
    format: &str,
    description: &str,
) -> Result<(Snapshot, String)> {
    let source = DiskSource { source: Some(source), format: format.to_owned(), disk_index: None };
    let request = StartSnapshotImportRequest {
        source: Some(source),
        description: description.to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    let task = client.transfer().start_snapshot_import(request).await?.into_inner().task;
    let task = ended(client, task.ok_or_else(no_task)?).await?;
    let disk = task.disks.into_iter().next().ok_or_else(no_task)?;
    let request = GetSnapshotRequest { snapshot_id: disk.snapshot_id };
    let found = client.storage().get_snapshot(request).await?.into_inner().snapshot;
    let found = found.ok_or_else(|| Failure::new("the answer holds no snapshot"))?;
    Ok((found, disk.detected_format))
}

/// Follows a task to its end; over cuts, too.
async fn ended(client: &Client, mut task: ImportTask) -> Result<ImportTask> {
    let bar = std::io::stderr().is_terminal();
    let mut cuts = 0;
    while task.state() == TransferState::Active || task.state() == TransferState::Deleting {
        let request = WatchImportTaskRequest { task_id: task.task_id.clone() };
        let changes = client.transfer().watch_import_task(request).await;
        let broken = match changes {
            Ok(changes) => {
                let mut changes = changes.into_inner();
                loop {
                    match changes.next().await {
                        Some(Ok(change)) => task = change.task.ok_or_else(no_task)?,
                        Some(Err(cut)) => break Some(cut),
                        None => break None,
                    }
                    cuts = 0;
                    if bar {
                        eprint!("\r{:<9} {:3} %", task.status_message, task.progress_percent);
                    }
                }
            }
            Err(cut) => Some(cut),
        };
        cuts += 1;
        match broken {
            Some(cut) if cut.code() == tonic::Code::NotFound || cuts > CUTS => {
                return Err(cut.into());
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    if bar {
        eprint!("\r                              \r");
    }
    if task.state() == TransferState::Completed {
        return Ok(task);
    }
    Err(Failure::refused(task.status_message, &task.failure_reason))
}

fn no_task() -> Failure {
    Failure::new("the answer holds no task")
}
