//! A file goes up in pieces, and on from where it was when it is cut off.

use std::{
    collections::HashMap,
    fs::File,
    io::IsTerminal as _,
    ops::Range,
    os::{fd::AsFd as _, unix::fs::FileExt as _},
    path::Path,
    time::Duration,
};

use rustix::{fs, io::Errno};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use vmint_api::storage::v1::{
    GetUploadRequest, ListBaseDigestsRequest, StartUploadRequest, Upload, UploadPiece,
    WriteUploadRequest, upload_piece::Holds, write_upload_request::Part,
};

use crate::client::{Client, Failure, Result, plain, request_id};

/// How much of the file goes into one message; also a base's block.
const PIECE: u64 = 512 << 10;
/// How often a cut is got over without a byte more being there.
const TRIES: u32 = 8;

/// What a base holds, block by block.
#[derive(Debug, Default)]
struct Base {
    key: [u8; 32],
    digests: HashMap<u64, [u8; 16]>,
}

/// Sends a file, or what is missing of it; the upload's id.
pub(crate) async fn send(
    client: &Client,
    path: &Path,
    base: &str,
    resume: Option<&str>,
) -> Result<String> {
    let file = open(path)?;
    let len = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    let file_bytes = i64::try_from(len).unwrap_or(i64::MAX);
    let mut upload = if let Some(id) = resume {
        look(client, id).await?
    } else {
        let base_snapshot_id = base.to_owned();
        let request = StartUploadRequest { file_bytes, base_snapshot_id, request_id: request_id() };
        let made = client.transfer().start_upload(request).await?.into_inner();
        made.upload.ok_or_else(no_upload)?
    };
    if upload.file_bytes != file_bytes {
        let why = format!("{} began with a file of another size", upload.upload_id);
        return Err(Failure::usage(why));
    }
    let known = base_of(client, &upload).await?;
    let mut tries = 0;
    loop {
        let missing = missing(&upload);
        if missing.is_empty() {
            return Ok(upload.upload_id);
        }
        let sent = write(client, &file, path, &upload, missing, &known).await;
        let cut = match sent {
            Ok(now) => {
                upload = now;
                continue;
            }
            Err(Cut::Call(status)) if passes(&status) => status,
            Err(Cut::Call(status)) => return Err(status.into()),
            Err(Cut::Here(failure)) => return Err(failure),
        };
        tokio::time::sleep(Duration::from_millis(500) * (tries + 1)).await;
        let before = upload.durable.clone();
        if let Ok(now) = look(client, &upload.upload_id).await {
            upload = now;
        }
        tries = if upload.durable == before { tries + 1 } else { 0 };
        if tries >= TRIES {
            let id = upload.upload_id;
            return Err(Failure::from(cut)
                .hint(format!("vmint import {} … --resume {id}   go on later", path.display())));
        }
    }
}

fn no_upload() -> Failure {
    Failure::new("the answer holds no upload")
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {}", path.display(), plain(error)))
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let kind = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !kind.is_file() {
        return Err(Failure::usage(format!("{} is not a file", path.display())));
    }
    Ok(file)
}

async fn look(client: &Client, id: &str) -> Result<Upload> {
    let request = GetUploadRequest { upload_id: id.to_owned() };
    client.transfer().get_upload(request).await?.into_inner().upload.ok_or_else(no_upload)
}

/// Whether a call that ended so may go better again.
fn passes(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
    ) || (status.code() == Code::Internal && std::error::Error::source(status).is_some())
}

/// What of the file is not there yet.
fn missing(upload: &Upload) -> Vec<Range<u64>> {
    let place = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    let (mut at, mut missing) = (0, Vec::new());
    for there in &upload.durable {
        if at < place(there.start_bytes) {
            missing.push(at..place(there.start_bytes));
        }
        at = place(there.end_bytes);
    }
    if at < place(upload.file_bytes) {
        missing.push(at..place(upload.file_bytes));
    }
    missing
}

/// What the upload's base holds, if it has one.
async fn base_of(client: &Client, upload: &Upload) -> Result<Base> {
    let mut base = Base::default();
    if upload.base_snapshot_id.is_empty() {
        return Ok(base);
    }
    let upload_id = upload.upload_id.clone();
    let mut request = ListBaseDigestsRequest { upload_id, ..Default::default() };
    loop {
        let page = client.transfer().list_base_digests(request.clone()).await?.into_inner();
        let block = u64::try_from(page.block_bytes).unwrap_or_default();
        let key = page.key[..].try_into();
        let (Ok(key), PIECE) = (key, block) else {
            return Err(Failure::new("the base is listed in a way this tool does not know"));
        };
        base.key = key;
        let first = u64::try_from(page.first_block).unwrap_or_default();
        for (n, digest) in page.digests.chunks_exact(16).enumerate() {
            let digest = digest.try_into().unwrap_or_default();
            base.digests.insert(first + n as u64, digest);
        }
        if page.next_page_token.is_empty() {
            return Ok(base);
        }
        request.page_token = page.next_page_token;
    }
}

/// Where it went wrong.
enum Cut {
    Call(Status),
    Here(Failure),
}

async fn write(
    client: &Client,
    file: &File,
    path: &Path,
    upload: &Upload,
    missing: Vec<Range<u64>>,
    base: &Base,
) -> Result<Upload, Cut> {
    let file = file.try_clone().map_err(|error| Cut::Here(unreadable(path, &error)))?;
    let (send, receive) = mpsc::channel(8);
    let first = WriteUploadRequest { part: Some(Part::UploadId(upload.upload_id.clone())) };
    let base = Base { key: base.key, digests: base.digests.clone() };
    let reader = tokio::task::spawn_blocking(move || pump(&file, first, missing, &base, &send));
    let answer = client.transfer().write_upload(ReceiverStream::new(receive)).await;
    // A refusal by the other end says more than that it stopped listening.
    let read = reader.await.map_err(|error| Cut::Here(Failure::new(error.to_string())))?;
    let answer = answer.map_err(Cut::Call)?.into_inner();
    read.map_err(|error| Cut::Here(unreadable(path, &error)))?;
    answer.upload.ok_or_else(|| Cut::Here(no_upload()))
}

/// Reads what is missing and hands it on until the end or nobody listens.
fn pump(
    file: &File,
    first: WriteUploadRequest,
    missing: Vec<Range<u64>>,
    base: &Base,
    to: &mpsc::Sender<WriteUploadRequest>,
) -> std::io::Result<()> {
    let bar = std::io::stderr().is_terminal();
    let whole = missing.last().map_or(0, |part| part.end).max(1);
    let mut told = 0;
    if to.blocking_send(first).is_err() {
        return Ok(());
    }
    for part in missing {
        let mut at = part.start;
        while at < part.end {
            let (end, holds) = next(file, at, part.end, base)?;
            let offset_bytes = i64::try_from(at).unwrap_or(i64::MAX);
            let piece = UploadPiece { offset_bytes, holds: Some(holds) };
            if to.blocking_send(WriteUploadRequest { part: Some(Part::Piece(piece)) }).is_err() {
                return Ok(());
            }
            at = end;
            let percent = at * 100 / whole;
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

/// What lies at `at`, and where the next piece begins.
fn next(file: &File, at: u64, end: u64, base: &Base) -> std::io::Result<(u64, Holds)> {
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let data = data_after(file, at, end)?.unwrap_or(end);
    if data > at {
        return Ok((data, Holds::ZeroBytes(size(data - at))));
    }
    // Pieces end where a base's blocks do.
    let to = end.min((at / PIECE + 1) * PIECE);
    let mut content = vec![0; usize::try_from(to - at).unwrap_or_default()];
    file.read_exact_at(&mut content, at)?;
    let digest = base.digests.get(&(at / PIECE)).filter(|_| at.is_multiple_of(PIECE));
    let same = digest.is_some_and(|digest| {
        blake3::keyed_hash(&base.key, &content).as_bytes()[..16] == digest[..]
    });
    if same {
        return Ok((to, Holds::BaseBytes(size(to - at))));
    }
    Ok((to, Holds::Content(content.into())))
}

/// Where the next data of the file begin.
fn data_after(file: &File, at: u64, len: u64) -> std::io::Result<Option<u64>> {
    match fs::seek(file.as_fd(), fs::SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start.min(len))),
        Err(Errno::NXIO) => Ok(None),
        // The file system doesn't know its holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}
