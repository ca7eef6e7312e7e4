//! Upkeep of what is stored, for the operator.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use vmint_api::storage::v1::{
    CancelScrubRequest, CheckReport, CheckStorageRequest, Damage, DescribeScrubRequest,
    ListDamageRequest, RepairChunksRequest, RepairData, RepairFromRegionRequest, RepairHeader,
    Scrub, StartScrubRequest, check_storage_response::Holds, repair_chunks_request::Part,
};
use vmint_images::{Limits, Opener};

use crate::{
    cli::{Global, Output, StorageCommand},
    client::{Client, Failure, Result, default_data_dir, json, request_id, size, table},
};

/// The largest piece of a repair.
const PIECE: u64 = 1 << 20;

pub(crate) async fn run(client: &Client, command: StorageCommand) -> Result<u8> {
    match command {
        StorageCommand::Scrub { rate_mib, status, cancel } => {
            let scrub = if status {
                client.upkeep().describe_scrub(DescribeScrubRequest {}).await?.into_inner().scrub
            } else if cancel {
                let request = CancelScrubRequest { request_id: request_id() };
                client.upkeep().cancel_scrub(request).await?.into_inner().scrub
            } else {
                let bytes_per_second = i64::from(rate_mib.unwrap_or_default()) << 20;
                let request = StartScrubRequest { bytes_per_second, request_id: request_id() };
                client.upkeep().start_scrub(request).await?.into_inner().scrub
            };
            show_scrub(client, scrub)?;
        }
        StorageCommand::Check { .. } => return check(client).await,
        StorageCommand::Damage => show_damage(client, &damage(client).await?)?,
        StorageCommand::Repair { disk, file: Some(file), .. } => {
            repair(client, &disk, &file).await?;
        }
        StorageCommand::Repair { disk, region, image, source, .. } => {
            let request = RepairFromRegionRequest {
                snapshot_id: disk,
                region: region.unwrap_or_default(),
                source_image_id: image.unwrap_or_default(),
                source_snapshot_id: source.unwrap_or_default(),
                request_id: request_id(),
            };
            let done = client.upkeep().repair_from_region(request).await?.into_inner();
            println!("fetched   {}", bytes(done.fetched_bytes));
            say_repaired(done.repaired_chunks, done.lost_chunks);
        }
    }
    Ok(0)
}

fn bytes(n: i64) -> String {
    size(u64::try_from(n).unwrap_or_default())
}

fn show_scrub(client: &Client, scrub: Option<Scrub>) -> Result<()> {
    if client.output() == Output::Json {
        return json("vmint.storage.v1.Scrub", scrub.as_slice());
    }
    let Some(scrub) = scrub else {
        println!("scrub     none so far");
        return Ok(());
    };
    let state = scrub.state().as_str_name().trim_start_matches("SCRUB_STATE_").to_lowercase();
    let whose = if scrub.periodic { ", begun by itself" } else { "" };
    println!("scrub     {state}, at {} a second{whose}", bytes(scrub.bytes_per_second));
    println!("checked   {} of {}", bytes(scrub.checked_bytes), bytes(scrub.stored_bytes));
    println!("damaged   {} chunks, {} packs", scrub.damaged_chunks, scrub.damaged_packs);
    if scrub.damaged_chunks > 0 {
        println!("          vmint storage damage   says what they hit");
    }
    if !scrub.message.is_empty() {
        println!("why       {}", scrub.message);
    }
    if let Some(next) = scrub.next_time {
        println!("next      by itself {}", from_now(next.seconds));
    }
    Ok(())
}

/// How long it is until then, in seconds since 1970.
fn from_now(then: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match u64::try_from(then).unwrap_or_default().saturating_sub(now) {
        0..60 => "within a minute".to_owned(),
        left @ 60..3600 => format!("in {} minutes", left / 60),
        left @ 3600..172_800 => format!("in {} hours", left / 3600),
        left => format!("in {} days", left / 86_400),
    }
}

async fn check(client: &Client) -> Result<u8> {
    let mut answers = client.upkeep().check_storage(CheckStorageRequest {}).await?.into_inner();
    while let Some(answer) = answers.next().await {
        if let Some(Holds::Report(report)) = answer?.holds {
            let sound = report.sound;
            if client.output() == Output::Json {
                json("vmint.storage.v1.CheckReport", &[report])?;
            } else {
                show_report(&report);
            }
            return Ok(u8::from(!sound));
        }
    }
    Err(Failure::new("the check ended without a report"))
}

fn show_report(report: &CheckReport) {
    println!("disks     {} followed", report.disks);
    println!("packs     {}, {} damaged", report.packs, report.damaged_packs.len());
    println!("live      {} in {} chunks", bytes(report.live_bytes), report.live_chunks);
    println!("orphans   {} in {} chunks", bytes(report.orphan_bytes), report.orphan_chunks);
    for id in &report.orphan_volume_ids {
        println!("          {id} has no record; it goes at the next start");
    }
    println!("lost      {} chunks", report.lost_chunks);
    if report.unlisted_chunks > 0 {
        println!("unlisted  {} chunks", report.unlisted_chunks);
    }
    println!("{}", if report.sound { "sound" } else { "not sound" });
}

/// Checks a storage that is not running; the exit code says whether it is
/// sound.
pub(crate) async fn check_offline(
    global: &Global,
    config: Option<PathBuf>,
    contents: bool,
) -> Result<u8> {
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    let file = config.unwrap_or_else(|| data.join("settings").join("storage.toml"));
    let config = vmint_daemon::load(vmint_storage::Config::default(), Some(&file))
        .map_err(|error| Failure::usage(vmint_rpc::chain(&error)))?;
    let records = config.service.data.join("records");
    if !records.is_dir() {
        let text = format!("there is no storage in {}", config.service.data.display());
        return Err(Failure::usage(text).hint("name its settings with --config"));
    }
    let found = vmint_storage::check_offline(config, contents).await;
    let found = found.map_err(|error| Failure::new(vmint_rpc::chain(&error)))?;
    let report = &found.checked.report;
    println!("disks     {} followed", report.roots);
    println!("packs     {}, {} damaged", report.packs, report.damaged_packs.len());
    println!("live      {} in {} chunks", size(report.live_bytes), report.live_chunks);
    println!("orphans   {} in {} chunks", size(report.orphan_bytes), report.orphan_chunks);
    for id in &found.checked.orphan_volumes {
        println!("          {id} has no record; it goes at the next start");
    }
    if let Some(read) = &found.scrubbed {
        println!("read      {}, {} chunks damaged", size(read.bytes), read.damaged.len());
    }
    println!("lost      {} chunks", report.lost_chunks);
    for damage in &found.damage {
        for disk in &damage.disks {
            let whose = match &disk.disk {
                vmint_storage::Disk::Snapshot { id, .. } => id.to_string(),
                vmint_storage::Disk::Volume { id, .. } => id.to_string(),
            };
            println!("          {whose}  {} bytes at {}", disk.length, disk.offset);
        }
    }
    let sound = found.checked.is_sound();
    println!("{}", if sound { "sound" } else { "not sound" });
    Ok(u8::from(!sound))
}

async fn damage(client: &Client) -> Result<Vec<Damage>> {
    let mut request = ListDamageRequest { page_size: 999, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = client.upkeep().list_damage(request.clone()).await?.into_inner();
        all.extend(page.damage);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

fn show_damage(client: &Client, all: &[Damage]) -> Result<()> {
    match client.output() {
        Output::Json => return json("vmint.storage.v1.Damage", all),
        Output::Id => {
            for damage in all {
                println!("{}", damage.damage_id);
            }
        }
        Output::Table => {
            let mut rows = Vec::new();
            for damage in all {
                for disk in &damage.disks {
                    let mut used = disk.image_ids.clone();
                    used.extend(Some(disk.instance_id.clone()).filter(|id| !id.is_empty()));
                    rows.push(vec![
                        damage.damage_id.clone(),
                        format!("{}{}", disk.snapshot_id, disk.volume_id),
                        disk.offset_bytes.to_string(),
                        disk.length_bytes.to_string(),
                        used.join(" "),
                    ]);
                }
            }
            table(&["DAMAGE", "DISK", "OFFSET", "BYTES", "USED BY"], &rows);
        }
    }
    Ok(())
}

/// Sends what a disk has lost from a file of the same disk.
async fn repair(client: &Client, disk: &str, path: &Path) -> Result<()> {
    let mut wanted: Vec<(u64, u64)> = Vec::new();
    for damage in damage(client).await? {
        let here = damage.disks.iter().filter(|at| at.snapshot_id == disk || at.volume_id == disk);
        wanted.extend(here.map(|at| {
            let from = u64::try_from(at.offset_bytes).unwrap_or_default();
            (from, from.saturating_add(u64::try_from(at.length_bytes).unwrap_or_default()))
        }));
    }
    wanted.sort_unstable();
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(format!("{} cannot be read: {error}", path.display()))
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let limits = Limits::default();
    let source = Opener::new(&limits).open(file).map_err(|error| unreadable(&error))?;
    let (snapshot_id, volume_id) = if disk.starts_with("vol-") {
        (String::new(), disk.to_owned())
    } else {
        (disk.to_owned(), String::new())
    };
    let header = RepairHeader { snapshot_id, volume_id, request_id: request_id() };
    let (send, receive) = mpsc::channel(4);
    let reader = tokio::task::spawn_blocking(move || {
        let mut part = Part::Header(header);
        let mut at = 0;
        for (from, to) in wanted {
            at = at.max(from);
            while at < to.min(source.size_bytes()) {
                let end = to.min(source.size_bytes()).min(at + PIECE);
                let mut content = vec![0; usize::try_from(end - at).unwrap_or_default()];
                source.read_at(at, &mut content)?;
                if content.iter().any(|byte| *byte != 0) {
                    let offset_bytes = i64::try_from(at).unwrap_or(i64::MAX);
                    let data = RepairData { offset_bytes, content: content.into() };
                    let before = std::mem::replace(&mut part, Part::Data(data));
                    if send.blocking_send(RepairChunksRequest { part: Some(before) }).is_err() {
                        return Ok(());
                    }
                }
                at = end;
            }
        }
        let _ = send.blocking_send(RepairChunksRequest { part: Some(part) });
        Ok::<_, vmint_images::ImageError>(())
    });
    let answer = client.upkeep().repair_chunks(ReceiverStream::new(receive)).await;
    let read = reader.await.map_err(|error| Failure::new(error.to_string()))?;
    let done = answer?.into_inner();
    read.map_err(|error| unreadable(&error))?;
    say_repaired(done.repaired_chunks, done.lost_chunks);
    Ok(())
}

fn say_repaired(repaired: i64, lost: i64) {
    println!("repaired  {repaired} chunks");
    if lost > 0 {
        println!("lost      {lost} chunks still: the bytes were not those of this disk");
    }
}
