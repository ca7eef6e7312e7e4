//! The file of an export, as it is fetched.

use std::{fs::File, os::unix::fs::FileExt as _};

use tokio::sync::mpsc;
use vmint_ids::AccountId;
use vmint_images::Source as _;

use crate::{Result, Storage, StorageError, export_task::ExportName, import_task::TaskState};

/// How much of a file goes into one message.
const PIECE: usize = 512 << 10;

/// A stretch of a file on its way out.
#[derive(Debug)]
pub(crate) enum Piece {
    Content(u64, Vec<u8>),
    /// From where, and how many.
    Zeros(u64, u64),
}

impl Storage {
    /// The file of a complete export from `offset` on, piece by piece.
    pub(crate) async fn download(
        &self,
        name: ExportName,
        account: AccountId,
        offset: i64,
    ) -> Result<mpsc::Receiver<Result<Piece>>> {
        let task = self.export(name, account)?;
        if task.state != TaskState::Completed || task.to.is_some() {
            return Err(StorageError::NoFile { name, message: task.message });
        }
        let offset = u64::try_from(offset).ok().filter(|at| *at <= task.file_bytes);
        let offset = offset.ok_or_else(|| StorageError::Invalid {
            field: "offset_bytes",
            what: "offset",
            value: String::new(),
            rule: format!("the file has {} bytes", task.file_bytes),
        })?;
        let path = self.transfers.export(task.id);
        let file = Self::blocking(move || Ok(File::open(path)?)).await?;
        let (send, receive) = mpsc::channel(4);
        let stop = self.transfers.stop.clone();
        self.tasks.spawn_blocking(move || {
            let mut at = offset;
            while at < task.file_bytes && !stop.is_cancelled() {
                let piece = piece(&file, at, task.file_bytes);
                let over = piece.is_err();
                at = match &piece {
                    Ok(Piece::Content(_, bytes)) => at + bytes.len() as u64,
                    Ok(Piece::Zeros(_, count)) => at + count,
                    Err(_) => at,
                };
                // Nobody listens when the caller has gone.
                if send.blocking_send(piece).is_err() || over {
                    return;
                }
            }
        });
        Ok(receive)
    }
}

/// What lies at `at`.
fn piece(file: &File, at: u64, end: u64) -> Result<Piece> {
    match file.next_data(at)? {
        Some(data) if data.start <= at => {
            let left = usize::try_from(data.end.min(end) - at).unwrap_or(PIECE).min(PIECE);
            let mut bytes = vec![0; left];
            file.read_exact_at(&mut bytes, at)?;
            Ok(Piece::Content(at, bytes))
        }
        Some(data) => Ok(Piece::Zeros(at, data.start.min(end) - at)),
        None => Ok(Piece::Zeros(at, end - at)),
    }
}
