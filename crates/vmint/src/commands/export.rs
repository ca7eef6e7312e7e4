//! A snapshot becomes a file here, and on from where it was after a cut.

use std::{
    fs::File,
    io::IsTerminal as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use vmint_api::storage::v1::{
    CancelExportTaskRequest, DownloadExportRequest, ExportTask, StartExportRequest, TransferState,
    WatchExportTaskRequest, download_export_response::Holds,
};

use crate::{
    cli::Output,
    client::{Client, Failure, Result, json, plain, request_id, size},
};

/// How often a cut is got over without a byte more.
const CUTS: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// Writes a snapshot of the account's as a disk file.
pub(crate) async fn run(client: &Client, snapshot: &str, file: &Path, format: &str) -> Result<()> {
    let format = format_of(file, format)?;
    let request =
        StartExportRequest { snapshot_id: snapshot.to_owned(), format, request_id: request_id() };
    let begun =
        async { Ok::<_, Failure>(client.exports().start_export(request).await?.into_inner().task) };
    write(client, file, begun).await
}

/// The format that is named, or else the one that the file's name asks for.
pub(crate) fn format_of(file: &Path, format: &str) -> Result<String> {
    if format.is_empty() { of_name(file) } else { Ok(format.to_owned()) }
}

/// Follows the export that `begun` begins, and fetches its file.
pub(crate) async fn write(
    client: &Client,
    file: &Path,
    begun: impl Future<Output = Result<Option<ExportTask>>>,
) -> Result<()> {
    // A file that is there is not overwritten.
    let part = part(file);
    if file.exists() {
        return Err(Failure::usage(format!("{} is there already", file.display())));
    }
    let unwritable = |error: &std::io::Error| {
        Failure::new(format!("{} cannot be written: {}", part.display(), plain(error)))
    };
    let out = File::create(&part).map_err(|error| unwritable(&error))?;
    let task = ended(client, begun.await?.ok_or_else(no_task)?).await?;
    fetch(client, &task, &out, &part).await?;
    out.sync_all().map_err(|error| unwritable(&error))?;
    std::fs::rename(&part, file).map_err(|error| unwritable(&error))?;
    let request =
        CancelExportTaskRequest { task_id: task.task_id.clone(), request_id: request_id() };
    // It would expire by itself.
    let _ = client.exports().cancel_export_task(request).await;
    match client.output() {
        Output::Json => json("vmint.storage.v1.ExportTask", &[task]),
        Output::Id => {
            println!("{}", file.display());
            Ok(())
        }
        Output::Table => {
            let bytes = u64::try_from(task.file_bytes).unwrap_or_default();
            println!("exported  {}  {} {}", file.display(), task.format, size(bytes));
            for (n, root) in task.content_roots.iter().enumerate() {
                println!("disk      {n}  is {root}");
            }
            Ok(())
        }
    }
}

fn no_task() -> Failure {
    Failure::new("the answer holds no task")
}

/// The name until all of it is there.
fn part(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The format that a file's name asks for.
fn of_name(file: &Path) -> Result<String> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "raw" | "img" => Ok("raw".to_owned()),
        "vpc" => Ok("vhd".to_owned()),
        known @ ("qcow2" | "vmdk" | "vhd" | "ova") => Ok(known.to_owned()),
        _ => Err(Failure::usage(format!("{} has no ending that says how", file.display()))
            .hint("use .raw, .qcow2, .vmdk, .vhd or .ova, or say it with --format")),
    }
}

/// Follows an export to its end.
async fn ended(client: &Client, mut task: ExportTask) -> Result<ExportTask> {
    let mut cuts = 0;
    while task.state() == TransferState::Active {
        let request = WatchExportTaskRequest { task_id: task.task_id.clone() };
        let broken = match client.exports().watch_export_task(request).await {
            Ok(changes) => follow(&mut changes.into_inner(), &mut task).await?,
            Err(cut) => Some(cut),
        };
        cuts += 1;
        match broken {
            Some(cut) if cut.code() == Code::NotFound || cuts > CUTS => return Err(cut.into()),
            Some(_) => tokio::time::sleep(PAUSE).await,
            None => {}
        }
    }
    if task.state() == TransferState::Completed {
        return Ok(task);
    }
    Err(Failure::new(task.status_message))
}

async fn follow(
    changes: &mut tonic::Streaming<vmint_api::storage::v1::WatchExportTaskResponse>,
    task: &mut ExportTask,
) -> Result<Option<Status>> {
    let bar = std::io::stderr().is_terminal();
    let broken = loop {
        match changes.next().await {
            Some(Ok(change)) => *task = change.task.ok_or_else(no_task)?,
            Some(Err(cut)) => break Some(cut),
            None => break None,
        }
        if bar {
            eprint!("\r{:<9} {:3} %", task.status_message, task.progress_percent);
        }
    };
    if bar {
        eprint!("\r                    \r");
    }
    Ok(broken)
}

/// Downloads the file, over cuts; zeros take no room.
async fn fetch(client: &Client, task: &ExportTask, out: &File, path: &Path) -> Result<()> {
    let place = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    let (mut at, mut cuts) = (0, 0);
    out.set_len(place(task.file_bytes))?;
    while at < task.file_bytes {
        let request = DownloadExportRequest { task_id: task.task_id.clone(), offset_bytes: at };
        let before = at;
        let broken = match client.exports().download_export(request).await {
            Err(cut) => cut,
            Ok(pieces) => {
                let mut pieces = pieces.into_inner();
                loop {
                    let piece = match pieces.next().await {
                        Some(Ok(piece)) => piece,
                        Some(Err(cut)) => break cut,
                        None => break Status::unavailable("the download ended early"),
                    };
                    at = match piece.holds {
                        Some(Holds::Content(content)) => {
                            out.write_all_at(&content, place(piece.offset_bytes)).map_err(|e| {
                                let why = plain(&e);
                                Failure::new(format!("{} cannot be written: {why}", path.display()))
                            })?;
                            piece.offset_bytes + i64::try_from(content.len()).unwrap_or_default()
                        }
                        Some(Holds::ZeroBytes(count)) => piece.offset_bytes + count,
                        None => at,
                    };
                    if at >= task.file_bytes {
                        return Ok(());
                    }
                }
            }
        };
        cuts = if at > before { 0 } else { cuts + 1 };
        let lasting = matches!(
            broken.code(),
            Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument
        );
        if lasting || cuts > CUTS {
            return Err(broken.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
