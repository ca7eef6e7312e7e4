//! A disk file becomes a snapshot.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use prost::Message as _;
use vmint_blocks::{BlocksError, Root, Sealed, Tree};
use vmint_ids::{AccountId, LineageId, SnapshotId};
use vmint_images::{Disk, Format, ImageError, Limits, Opener, Source};
use vmint_store::Asked;

use crate::{
    Content, Result, Snapshot, Storage, StorageError,
    key::Wish,
    quota::Room,
    snapshot::{Consistency, SnapshotState},
    store::{LEDGER, held, snapshots},
};

/// How much of a disk is read at once, and may come in one piece.
const PIECE: usize = 1 << 20;

/// What became of a disk: the content, how it was stored, what the file was,
/// and what the file calls the content, if it is a bundle.
pub(super) type TakenIn = (Content, Sealed, Format, Option<Root>);
/// Hears how many bytes of how many are done; may refuse to go on.
pub(super) type Progress<'a> = dyn FnMut(u64, u64) -> Result<()> + 'a;

/// A file as it comes in.
#[derive(Debug)]
pub(crate) struct Import {
    account: AccountId,
    description: String,
    declared: Option<Format>,
    file_bytes: u64,
    /// As the caller named it.
    format: String,
    request_id: String,
    /// Nameless: gone when closed, whatever happens.
    staged: File,
    at: u64,
    /// Of the account's quota, while it is here.
    _room: Room,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) snapshot: Snapshot,
    pub(crate) format: String,
}

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    snapshot: String,
    #[prost(string, tag = "2")]
    format: String,
}

/// What is digested for the ledger; the bytes by what their tree is called.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(uint64, tag = "3")]
    file_bytes: u64,
    #[prost(bytes = "vec", tag = "4")]
    root: Vec<u8>,
}

impl Storage {
    /// Makes room for a file of `file_bytes`.
    pub(crate) async fn begin_import(
        &self,
        account: AccountId,
        description: String,
        format: &str,
        file_bytes: i64,
        request_id: String,
    ) -> Result<Import> {
        let file_bytes = file_size("header.file_bytes", file_bytes, self.config.max_import_bytes)?;
        let declared = declared_format("header.format", format)?;
        let room = self.room_for(account, file_bytes).await?;
        let storage = self.clone();
        let staged = Self::blocking(move || {
            let staged = tempfile::tempfile_in(storage.staging()?)?;
            staged.set_len(file_bytes)?;
            Ok(staged)
        })
        .await?;
        let format = format.to_owned();
        Ok(Import {
            account,
            description,
            declared,
            file_bytes,
            format,
            request_id,
            staged,
            at: 0,
            _room: room,
        })
    }

    /// Where files without a name are made.
    pub(super) fn staging(&self) -> Result<PathBuf> {
        let dir = self.config.service.data.join("staging");
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Reads the staged file and keeps what is in it.
    pub(crate) async fn finish_import(&self, import: Import) -> Result<Imported> {
        let storage = self.clone();
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let Import { account, description, declared, staged, .. } = import;
        let seal = self.seal_of_new(account, Wish::default()).await?;
        let (content, sealed, format, _) = Self::blocking(move || {
            let limits = Limits { max_virtual: storage.config.max_disk_bytes, ..Limits::default() };
            let unfolding = storage.staging()?;
            let opener = Opener::new(&limits).declared(declared).staging(&unfolding);
            let disk = opener.open(staged)?;
            let lineage = seal.map(|seal| seal.lineage);
            storage.take_in(account, lineage, disk, &mut |_, _| Ok(()))
        })
        .await?;
        let question = Question {
            description: description.clone(),
            format: import.format,
            file_bytes: import.file_bytes,
            root: sealed.root.to_bytes().to_vec(),
        };
        let asked = Asked {
            account: account.to_string(),
            method: "ImportSnapshot".to_owned(),
            request_id: import.request_id,
            digest: *blake3::hash(&question.encode_to_vec()).as_bytes(),
        };
        let mut snapshot = Snapshot::pending(
            SnapshotId::random(),
            account,
            content.size_bytes,
            Consistency::Imported,
        );
        snapshot.description = description;
        snapshot.seal = seal;
        snapshot.state = SnapshotState::Completed(content);
        snapshot.new_bytes = sealed.new_bytes;
        snapshot.stored_bytes = sealed.stored_bytes;
        let quota = self.config.quota;
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    snapshot.created_ms = tx.now_ms();
                    snapshots::put(tx, &snapshot)?;
                    held::within(tx, account, &quota)?;
                    Ok(Answer { snapshot: snapshot.id.to_string(), format: format.to_string() })
                })
            })
            .await?;
        let id = answer.snapshot.parse().map_err(|_| StorageError::Damaged)?;
        let snapshot = snapshots::owned(self.records.store(), id, account)?;
        tracing::info!(snapshot = %id, %account, format = answer.format, "imported");
        Ok(Imported { snapshot, format: answer.format })
    }

    /// Puts a disk's data into blocks.
    pub(super) fn take_in(
        &self,
        account: AccountId,
        lineage: Option<LineageId>,
        disk: Disk,
        progress: &mut Progress<'_>,
    ) -> Result<TakenIn> {
        let (size_bytes, format) = (disk.size_bytes(), disk.format());
        let domain = self.domain(account, lineage)?;
        let disk = Arc::new(disk);
        let reader = disk.clone();
        let read = move |at: u64, buffer: &mut [u8]| Source::read_at(&*reader, at, buffer);
        let extents = disk.extents().map(|extent| extent.map_err(io::Error::other));
        let mut stopped = None;
        let sealed =
            self.blocks.ingest_from(domain, size_bytes, extents, Arc::new(read), &mut |at| {
                match progress(at, size_bytes) {
                    Ok(()) => true,
                    Err(error) => {
                        stopped = Some(error);
                        false
                    }
                }
            });
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        let sealed = sealed.map_err(|error| match error {
            BlocksError::Source(source) => source_fault(source),
            other => other.into(),
        })?;
        let content = Content { domain: account, lineage, root: sealed.root, size_bytes };
        let promised = disk.promised().map(Root::from_bytes);
        if let Some(promised) = promised {
            let mut going_on = || progress(size_bytes, size_bytes);
            let found = self.open_root(&content, &mut going_on)?;
            if found != promised {
                return Err(StorageError::OtherContent { promised, found });
            }
        }
        Ok((content, sealed, format, promised))
    }

    /// Puts a raw disk into blocks that differs from a snapshot only where it
    /// is `dirty`.
    pub(super) fn take_over(
        &self,
        base: &Snapshot,
        tree: &Tree,
        disk: &Disk,
        dirty: &[Range<u64>],
        progress: &mut Progress<'_>,
    ) -> Result<TakenIn> {
        let size_bytes = disk.size_bytes();
        let of = dirty.iter().map(|part| part.end - part.start).sum();
        let mut done = 0;
        let mut stopped = None;
        let sealed = self.blocks.edit(tree, size_bytes, dirty, &mut |range, buffer| {
            done += buffer.len() as u64;
            if let Err(error) = progress(done, of) {
                stopped = Some(error);
                return Err(io::ErrorKind::Interrupted.into());
            }
            disk.read_at(range.start, buffer).map_err(io::Error::other)
        });
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        let sealed = sealed?;
        let base = base.content().ok_or(StorageError::Damaged)?;
        let content = Content { root: sealed.root, size_bytes, ..base };
        Ok((content, sealed, disk.format(), None))
    }
}

/// What kept a disk from being read: mostly its own bytes.
fn source_fault(error: io::Error) -> StorageError {
    match error.downcast::<ImageError>() {
        Ok(image) => image.into(),
        Err(error) => error.into(),
    }
}

/// How large a file is that is going to be sent.
pub(super) fn file_size(field: &'static str, bytes: i64, limit: u64) -> Result<u64> {
    let size =
        u64::try_from(bytes).ok().filter(|n| *n > 0).ok_or_else(|| StorageError::Invalid {
            field,
            what: "size",
            value: bytes.to_string(),
            rule: "say how many bytes the file has, at least 1".to_owned(),
        })?;
    if size > limit {
        return Err(StorageError::FileTooLarge { bytes: size, limit });
    }
    Ok(size)
}

/// What the sender says a file is.
pub(crate) fn declared_format(field: &'static str, format: &str) -> Result<Option<Format>> {
    if format.is_empty() {
        return Ok(None);
    }
    let known = format.parse::<Format>().ok().filter(|format| format.is_readable());
    known.map(Some).ok_or_else(|| {
        let readable = Format::ALL.into_iter().filter(|format| format.is_readable());
        let names = readable.map(Format::name).collect::<Vec<_>>();
        StorageError::Invalid {
            field,
            what: "format",
            value: format.chars().take(32).collect(),
            rule: format!("use one of {}, or leave it out", names.join(", ")),
        }
    })
}

impl Import {
    /// Takes the next piece. Pieces ascend; what is skipped is zero.
    pub(crate) async fn write(&mut self, offset: i64, content: bytes::Bytes) -> Result<()> {
        if content.len() > PIECE {
            return Err(StorageError::Sequence("a piece holds more than 1 MiB"));
        }
        let offset = u64::try_from(offset).ok().filter(|offset| *offset >= self.at);
        let offset =
            offset.ok_or(StorageError::Sequence("a piece begins before the end of the last"))?;
        let end = offset.checked_add(content.len() as u64).filter(|end| *end <= self.file_bytes);
        let end = end.ok_or(StorageError::Sequence("a piece reaches beyond file_bytes"))?;
        let file = self.staged.try_clone()?;
        Storage::blocking(move || Ok(file.write_all_at(&content, offset)?)).await?;
        self.at = end;
        Ok(())
    }
}
