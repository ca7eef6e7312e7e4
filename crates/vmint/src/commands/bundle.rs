//! Instance-store bundles.

use std::{io::IsTerminal as _, time::Duration};

use tokio_stream::StreamExt as _;
use tonic::Code;
use vmint_api::storage::v1::{
    CancelInstanceBundleTaskRequest, CreateBucketRequest, CreateInstanceBundleRequest,
    InstanceBundle, InstanceBundleMapping, InstanceBundleState, InstanceBundleTask,
    ListInstanceBundleTasksRequest, VerifyInstanceBundleRequest, WatchInstanceBundleTaskRequest,
    disk_source::Source,
};

use super::import;
use crate::{
    cli::{BundleCommand, Output},
    client::{Client, Failure, Result, json, request_id, size, table},
};

/// How often a watch is taken up again.
const CUTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn run(client: &Client, command: BundleCommand) -> Result<()> {
    match command {
        BundleCommand::Create { disk, location, arch, windows, devices, kms_key } => {
            let (bucket, prefix) = split(&location)?;
            let made = CreateBucketRequest { bucket: bucket.clone(), request_id: request_id() };
            match client.objects().create_bucket(made).await {
                // Whose it is shows in what is put into it.
                Err(status) if status.code() == Code::AlreadyExists => {}
                made => drop(made?),
            }
            let volume = disk.starts_with("vol-");
            let request = CreateInstanceBundleRequest {
                snapshot_id: if volume { String::new() } else { disk.clone() },
                volume_id: if volume { disk } else { String::new() },
                bucket,
                prefix,
                architecture: arch,
                platform: if windows { "windows".to_owned() } else { String::new() },
                mappings: devices.iter().map(|text| device(text)).collect::<Result<_>>()?,
                kms_key_id: kms_key,
                request_id: request_id(),
            };
            let begun = client.instance_bundles().create_instance_bundle(request).await?;
            let mut task = begun.into_inner().task.ok_or_else(no_task)?;
            if client.waits() {
                task = ended(client, task).await?;
            }
            show(client, &[task])
        }
        BundleCommand::List => {
            let mut tasks = Vec::new();
            let mut request = ListInstanceBundleTasksRequest::default();
            loop {
                let page = client.instance_bundles().list_instance_bundle_tasks(request).await?;
                let page = page.into_inner();
                tasks.extend(page.tasks);
                if page.next_page_token.is_empty() {
                    return show(client, &tasks);
                }
                let page_token = page.next_page_token;
                request = ListInstanceBundleTasksRequest { page_token, ..Default::default() };
            }
        }
        BundleCommand::Cancel { task } => {
            let request =
                CancelInstanceBundleTaskRequest { task_id: task, request_id: request_id() };
            let now = client.instance_bundles().cancel_instance_bundle_task(request).await?;
            show(client, now.into_inner().task.as_slice())
        }
        BundleCommand::Verify { manifest } => verify(client, &manifest).await,
        BundleCommand::Restore { manifest, description } => {
            let source = Source::BundleManifest(manifest);
            let (snapshot, _) = import::snapshot(client, source, "", &description).await?;
            match client.output() {
                Output::Json => json("vmint.storage.v1.Snapshot", &[snapshot]),
                Output::Id => {
                    println!("{}", snapshot.snapshot_id);
                    Ok(())
                }
                Output::Table => {
                    let (whole, new) = (bytes(snapshot.size_bytes), bytes(snapshot.new_bytes));
                    let id = snapshot.snapshot_id;
                    println!("snapshot  {id}  {whole}, {new} of data were new");
                    Ok(())
                }
            }
        }
    }
}

/// BUCKET/PREFIX.
fn split(location: &str) -> Result<(String, String)> {
    let parts = location
        .split_once('/')
        .filter(|(bucket, prefix)| !bucket.is_empty() && !prefix.is_empty());
    let (bucket, prefix) =
        parts.ok_or_else(|| Failure::usage(format!("`{location}` is not BUCKET/PREFIX")))?;
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn device(text: &str) -> Result<InstanceBundleMapping> {
    let (name, device) = text
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("`{text}` is not NAME=DEVICE, such as ami=sda1")))?;
    let (virtual_name, device_name) = (name.to_owned(), device.to_owned());
    Ok(InstanceBundleMapping { virtual_name, device_name })
}

fn bytes(n: i64) -> String {
    size(u64::try_from(n).unwrap_or_default())
}

fn word(task: &InstanceBundleTask) -> String {
    let name = task.state().as_str_name();
    name.trim_start_matches("INSTANCE_BUNDLE_STATE_").to_lowercase().replace('_', "-")
}

fn show(client: &Client, tasks: &[InstanceBundleTask]) -> Result<()> {
    match client.output() {
        Output::Json => json("vmint.storage.v1.InstanceBundleTask", tasks)?,
        Output::Id => tasks.iter().for_each(|task| println!("{}", task.task_id)),
        Output::Table => {
            let row = |task: &InstanceBundleTask| {
                let disk = [task.snapshot_id.as_str(), &task.volume_id].concat();
                let told = match task.state() {
                    InstanceBundleState::Complete => bytes(task.bundled_bytes),
                    InstanceBundleState::Failed => task.status_message.clone(),
                    _ => format!("{} %", task.progress_percent),
                };
                vec![task.task_id.clone(), word(task), disk, task.manifest_location.clone(), told]
            };
            let rows: Vec<_> = tasks.iter().map(row).collect();
            table(&["BUNDLE", "STATE", "DISK", "MANIFEST", ""], &rows);
        }
    }
    Ok(())
}

/// Follows a task to its end; over cuts, too.
async fn ended(client: &Client, mut task: InstanceBundleTask) -> Result<InstanceBundleTask> {
    use InstanceBundleState as State;
    let (bar, mut cuts) = (std::io::stderr().is_terminal(), 0);
    while !matches!(task.state(), State::Complete | State::Failed) {
        let request = WatchInstanceBundleTaskRequest { task_id: task.task_id.clone() };
        let broken = match client.instance_bundles().watch_instance_bundle_task(request).await {
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
                        eprint!("\r{:<9} {:3} %", word(&task), task.progress_percent);
                    }
                }
            }
            Err(cut) => Some(cut),
        };
        cuts += 1;
        match broken {
            Some(cut) if cut.code() == Code::NotFound || cuts > CUTS => return Err(cut.into()),
            Some(_) => tokio::time::sleep(PAUSE).await,
            None => {}
        }
    }
    if bar {
        eprint!("\r                              \r");
    }
    match task.state() {
        State::Complete => Ok(task),
        _ => Err(Failure::refused(task.status_message, &task.failure_reason)),
    }
}

async fn verify(client: &Client, manifest: &str) -> Result<()> {
    let request = VerifyInstanceBundleRequest { manifest_location: manifest.to_owned() };
    let checked = client.instance_bundles().verify_instance_bundle(request).await?;
    let (mut checked, mut last) = (checked.into_inner(), None);
    let bar = std::io::stderr().is_terminal();
    while let Some(message) = checked.next().await {
        let message = message?;
        if let (true, Some(bundle)) = (bar, &message.bundle) {
            eprint!("\r{} of {} parts", message.checked_parts, bundle.parts);
        }
        last = Some(message);
    }
    if bar {
        eprint!("\r                              \r");
    }
    let whole = |bundle: &InstanceBundle, parts| bundle.parts == parts;
    let bundle = last.and_then(|last| last.bundle.filter(|it| whole(it, last.checked_parts)));
    let bundle = bundle.ok_or_else(|| Failure::new("the answer ended before the last part"))?;
    match client.output() {
        Output::Json => json("vmint.storage.v1.InstanceBundle", &[bundle])?,
        Output::Id => println!("{}", bundle.bundle_id),
        Output::Table => {
            println!("bundle    {}  is whole and as it was signed", bundle.bundle_id);
            let (disk, parts) = (bytes(bundle.size_bytes), bytes(bundle.bundled_bytes));
            let platform = if bundle.platform.is_empty() { "linux" } else { &bundle.platform };
            println!("disk      {disk} in {} parts of {parts}", bundle.parts);
            println!("machine   {} {platform}", bundle.architecture);
            for device in &bundle.mappings {
                println!("device    {} is {}", device.virtual_name, device.device_name);
            }
            for code in &bundle.product_codes {
                println!("sold as   {code}");
            }
            if bundle.encrypted {
                println!("snapshots of it are encrypted");
            }
        }
    }
    Ok(())
}

fn no_task() -> Failure {
    Failure::new("the answer holds no task")
}
