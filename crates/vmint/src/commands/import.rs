//! A disk file becomes a snapshot, and the snapshot an image.

use std::{
    fs::File,
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom},
    os::fd::AsFd as _,
    path::Path,
};

use rustix::{fs, io::Errno};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use vmint_api::{
    catalog::v1::Image,
    storage::v1::{
        ImportData, ImportHeader, ImportSnapshotRequest, Snapshot, import_snapshot_request::Part,
    },
};

use super::image::register;
use crate::{
    cli::{ImportArgs, Output},
    client::{Client, Failure, Result, json, plain, request_id, size},
};

/// How much of the file goes into one message.
const PIECE: usize = 512 << 10;

pub(crate) async fn run(client: &Client, args: ImportArgs) -> Result<()> {
    let (snapshot, format) = upload(client, &args.source, &args.format, &args.description).await?;
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

/// Sends the data of a file, leaving its holes out.
pub(crate) async fn upload(
    client: &Client,
    path: &Path,
    format: &str,
    description: &str,
) -> Result<(Snapshot, String)> {
    let unreadable = |error: &std::io::Error| {
        Failure::new(format!("{} cannot be read: {}", path.display(), plain(error)))
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let kind = file.metadata().map_err(|error| unreadable(&error))?;
    if !kind.is_file() {
        return Err(Failure::usage(format!("{} is not a file", path.display())));
    }
    let header = ImportHeader {
        description: description.to_owned(),
        format: format.to_owned(),
        file_bytes: i64::try_from(kind.len()).unwrap_or(i64::MAX),
        request_id: request_id(),
    };
    let (send, receive) = mpsc::channel(8);
    let source = path.to_owned();
    let reader =
        tokio::task::spawn_blocking(move || pump(file, kind.len(), header, &send, &source));
    let answer = client.storage().import_snapshot(ReceiverStream::new(receive)).await;
    // A refusal by the other end says more than that it stopped listening.
    let read = reader.await.map_err(|error| Failure::new(error.to_string()))?;
    let answer = answer?.into_inner();
    read?;
    let snapshot = answer.snapshot.ok_or_else(|| Failure::new("the answer holds no snapshot"))?;
    Ok((snapshot, answer.format))
}

/// Reads the file's data and hands it on until the end or nobody listens.
fn pump(
    mut file: File,
    len: u64,
    header: ImportHeader,
    to: &mpsc::Sender<ImportSnapshotRequest>,
    path: &Path,
) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("{} cannot be read: {}", path.display(), plain(&error)))
    };
    let part = |part| ImportSnapshotRequest { part: Some(part) };
    if to.blocking_send(part(Part::Header(header))).is_err() {
        return Ok(());
    }
    let bar = std::io::stderr().is_terminal();
    let (mut at, mut told) = (0, 0);
    while let Some((start, end)) = data_after(&file, at, len).map_err(failed)? {
        at = start;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        while at < end {
            let want = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
            let mut content = vec![0; want];
            file.read_exact(&mut content).map_err(failed)?;
            let offset = i64::try_from(at).unwrap_or(i64::MAX);
            let data = ImportData { offset, content: content.into() };
            if to.blocking_send(part(Part::Data(data))).is_err() {
                return Ok(());
            }
            at += want as u64;
            let percent = at * 100 / len.max(1);
            if bar && percent != told {
                told = percent;
                eprint!("\rupload    {percent:3} %");
            }
        }
    }
    if bar {
        eprint!("\r                \r");
    }
    Ok(())
}

/// The next stretch of the file that holds data.
fn data_after(file: &File, at: u64, len: u64) -> std::io::Result<Option<(u64, u64)>> {
    if at >= len {
        return Ok(None);
    }
    match fs::seek(file.as_fd(), fs::SeekFrom::Data(at)) {
        Ok(start) => {
            let end = fs::seek(file.as_fd(), fs::SeekFrom::Hole(start))?;
            Ok(Some((start, end.min(len))))
        }
        Err(Errno::NXIO) => Ok(None),
        // The file system doesn't know its holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((at, len))),
        Err(error) => Err(error.into()),
    }
}
