//! A disk file becomes a snapshot.

use std::{fs::File, os::unix::fs::FileExt as _};

use prost::Message as _;
use vmint_ids::{AccountId, SnapshotId};
use vmint_images::{Disk, Format, Limits};
use vmint_store::Asked;

use crate::{
    Content, Result, Snapshot, Storage, StorageError,
    snapshot::{Consistency, SnapshotState},
    store::{LEDGER, snapshots},
};

/// How much of a disk is read at once, and may come in one piece.
const PIECE: usize = 1 << 20;

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
        let limit = self.config.max_import_bytes;
        let file_bytes = u64::try_from(file_bytes).ok().filter(|n| *n > 0).ok_or_else(|| {
            StorageError::Invalid {
                field: "header.file_bytes",
                what: "size",
                value: file_bytes.to_string(),
                rule: "say how many bytes the file has, at least 1".to_owned(),
            }
        })?;
        if file_bytes > limit {
            return Err(StorageError::FileTooLarge { bytes: file_bytes, limit });
        }
        let declared = match format {
            "" => None,
            "raw" => Some(Format::Raw),
            "qcow2" => Some(Format::Qcow2),
            other => {
                return Err(StorageError::Invalid {
                    field: "header.format",
                    what: "format",
                    value: other.chars().take(32).collect(),
                    rule: "use raw, qcow2, or leave it out".to_owned(),
                });
            }
        };
        let dir = self.config.service.data.join("staging");
        let staged = Self::blocking(move || {
            std::fs::create_dir_all(&dir)?;
            let staged = tempfile::tempfile_in(&dir)?;
            staged.set_len(file_bytes)?;
            Ok(staged)
        })
        .await?;
        let format = format.to_owned();
        Ok(Import { account, description, declared, file_bytes, format, request_id, staged, at: 0 })
    }

    /// Reads the staged file and keeps what is in it.
    pub(crate) async fn finish_import(&self, import: Import) -> Result<Imported> {
        let storage = self.clone();
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let Import { account, description, declared, staged, .. } = import;
        let (content, sealed, format) = Self::blocking(move || {
            let limits = Limits { max_virtual: storage.config.max_disk_bytes, ..Limits::default() };
            let disk = vmint_images::open(staged, declared, &limits)?;
            storage.take_in(account, &disk)
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
        snapshot.state = SnapshotState::Completed(content);
        snapshot.new_bytes = sealed.new_bytes;
        snapshot.stored_bytes = sealed.stored_bytes;
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    snapshot.created_ms = tx.now_ms();
                    snapshots::put(tx, &snapshot)?;
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
    fn take_in(
        &self,
        account: AccountId,
        disk: &Disk,
    ) -> Result<(Content, vmint_blocks::Sealed, Format)> {
        let size_bytes = disk.size_bytes();
        let mut ingest = self.blocks.ingest(self.domain(account, None)?, size_bytes)?;
        let mut piece = vec![0; PIECE];
        for extent in disk.extents() {
            let extent = extent?;
            let mut at = extent.start;
            while at < extent.end {
                let left = usize::try_from(extent.end - at).unwrap_or(PIECE);
                let piece = &mut piece[..left.min(PIECE)];
                disk.read_at(at, piece)?;
                ingest.write(at, piece)?;
                at += piece.len() as u64;
            }
        }
        let sealed = ingest.finish()?;
        let content = Content { domain: account, lineage: None, root: sealed.root, size_bytes };
        Ok((content, sealed, disk.format()))
    }
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
