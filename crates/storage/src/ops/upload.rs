//! Files that come in pieces.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use vmint_ids::{AccountId, SnapshotId, UploadId};
use vmint_store::{Asked, Read, Tx, TxError};

use super::{import::file_size, list::Page};
use crate::{
    OverQuota, Result, Storage, StorageError,
    quota::{Coming, Room},
    ranges::Ranges,
    store::{LEDGER, import_tasks, snapshots, uploads},
    upload::{Base, DIGEST_BLOCK, MAX_STRETCHES, MAX_UPLOADS, Upload, digest},
};

/// How much of a file may come in one piece.
const PIECE: usize = 1 << 20;
/// After so many bytes what came is made durable.
const DURABLE: u64 = 64 << 20;
/// Zeros are made by moving on, in steps of this size where bytes lie already.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What a stretch of an upload holds.
#[derive(Debug)]
pub(crate) enum Holds {
    Content(bytes::Bytes),
    Zeros(u64),
    Base(u64),
}

/// One who sends pieces of an upload.
#[derive(Debug)]
pub(crate) struct Sending {
    upload: Upload,
    file: Arc<File>,
    /// Written, not yet durable.
    came: Ranges,
    /// Of these, what is the base's.
    taken: Ranges,
    waiting: u64,
}

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    upload: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

/// Keyed digests of a stretch of an upload's base.
#[derive(Debug)]
pub(crate) struct Digests {
    pub(crate) key: [u8; 32],
    pub(crate) first: u64,
    /// One after the other.
    pub(crate) listed: Vec<u8>,
    pub(crate) more: bool,
}

impl Storage {
    /// Makes room for a file.
    pub(crate) async fn start_upload(
        &self,
        account: AccountId,
        file_bytes: i64,
        base: Option<SnapshotId>,
        asked: Asked,
    ) -> Result<Upload> {
        let file_bytes = file_size("file_bytes", file_bytes, self.config.max_import_bytes)?;
        let expires = self.config.upload_seconds.saturating_mul(1000);
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let new = UploadId::random();
        // Made first: a file without a record is swept, a record without a file serves nobody.
        let path = self.transfers.upload(new);
        Self::blocking(move || {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = File::create_new(&path)?;
            file.set_len(file_bytes)?;
            file.sync_all()?;
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
            Ok(())
        })
        .await?;
        let _listed = self.listing.read().await;
        let (coming, limit) = (self.coming.clone(), self.config.quota.upload_bytes);
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let there = uploads::of_account(tx, account, None, MAX_UPLOADS);
                    if there.map_err(TxError::Refused)?.len() >= MAX_UPLOADS {
                        let (what, limit) = ("uploads", MAX_UPLOADS);
                        return Err(TxError::Refused(StorageError::TooMany { what, limit }));
                    }
                    let base = base.map(|id| {
                        let snapshot = snapshots::owned(tx, id, account)?;
                        let content =
                            snapshot.content().ok_or(StorageError::NotCompleted { id })?;
                        Ok(Base { snapshot: id, content, key, taken: Ranges::default() })
                    });
                    let base = base.transpose().map_err(TxError::Refused)?;
                    let created_ms = tx.now_ms();
                    let expires_ms = created_ms.saturating_add(expires);
                    let durable = Ranges::default();
                    let id = new;
                    uploads::put(
                        tx,
                        &Upload { id, account, file_bytes, durable, base, created_ms, expires_ms },
                    )?;
                    within(tx, account, &coming, limit)?;
                    Ok(Answer { upload: id.to_string() })
                })
            })
            .await;
        let made = answer.as_ref().is_ok_and(|answer| answer.upload == new.to_string());
        if !made {
            self.drop_file(self.transfers.upload(new)).await;
        }
        let id = answer?.upload.parse().map_err(|_| StorageError::Damaged)?;
        self.upload(id, account)
    }

    /// Room in an account's quota for a file that comes in one go.
    pub(super) async fn room_for(&self, account: AccountId, file_bytes: u64) -> Result<Room> {
        let (coming, limit) = (self.coming.clone(), self.config.quota.upload_bytes);
        // Taken first: of two that come at once, each sees the other.
        let room = coming.take(account, file_bytes);
        self.records.commit(move |tx| within(tx, account, &coming, limit)).await?;
        Ok(room)
    }

    /// Bytes of an account's files on their way in.
    pub(super) fn upload_bytes(&self, account: AccountId) -> Result<u64> {
        bytes_of(self.records.store(), account, &self.coming)
    }

    pub(crate) fn upload(&self, id: UploadId, account: AccountId) -> Result<Upload> {
        uploads::owned(self.records.store(), id, account)
    }

    pub(crate) fn list_uploads(
        &self,
        account: AccountId,
        after: Option<UploadId>,
        size: usize,
    ) -> Result<Page<Upload>> {
        let found = uploads::of_account(self.records.store(), account, after, size + 1)?;
        Ok(Page::cut(found, size))
    }

    /// Opens an upload for pieces.
    pub(crate) async fn send(&self, id: UploadId, account: AccountId) -> Result<Sending> {
        let upload = self.upload(id, account)?;
        if let Some(task) = import_tasks::reading(self.records.store(), id)? {
            return Err(StorageError::UploadInUse { id, task });
        }
        let path = self.transfers.upload(id);
        let file = Self::blocking(move || Ok(File::options().write(true).open(path)?)).await?;
        let (came, taken) = (Ranges::default(), Ranges::default());
        Ok(Sending { upload, file: Arc::new(file), came, taken, waiting: 0 })
    }

    /// Takes the next piece.
    pub(crate) async fn take_piece(
        &self,
        to: &mut Sending,
        offset: i64,
        holds: Holds,
    ) -> Result<()> {
        let len = match &holds {
            Holds::Content(content) if content.len() > PIECE => {
                return Err(StorageError::Sequence("a piece holds more than 1 MiB"));
            }
            Holds::Content(content) => content.len() as u64,
            Holds::Zeros(len) | Holds::Base(len) => *len,
        };
        let start = u64::try_from(offset).unwrap_or(u64::MAX);
        let end = start.checked_add(len).filter(|end| *end <= to.upload.file_bytes);
        let end = end.ok_or(StorageError::Sequence("a piece reaches beyond file_bytes"))?;
        let part = start..end;
        let file = to.file.clone();
        match holds {
            Holds::Content(content) => {
                Self::blocking(move || Ok(file.write_all_at(&content, start)?)).await?;
                to.waiting += len;
                to.taken.cut(&Ranges::of(std::iter::once(part.clone())));
            }
            Holds::Zeros(_) => {
                // What was never written is zero; what was must become so.
                let mut there = to.came.clone();
                there.join(&to.upload.durable);
                let mut keep = Ranges::of(std::iter::once(part.clone()));
                let whole = keep.clone();
                keep.cut(&there);
                let mut over = whole.clone();
                over.cut(&keep);
                Self::blocking(move || Ok(clear(&file, &over)?)).await?;
                to.taken.cut(&whole);
            }
            Holds::Base(_) => {
                let base = to.upload.base.as_ref().map(|base| base.content.size_bytes);
                if base.is_none_or(|size| end > size) {
                    return Err(StorageError::Sequence("a piece reaches beyond the base"));
                }
                to.taken.add(part.clone());
            }
        }
        to.came.add(part);
        if to.came.len() > MAX_STRETCHES {
            return Err(StorageError::Sequence("the pieces lie too far apart: send them in order"));
        }
        if to.waiting >= DURABLE { self.keep(to).await } else { Ok(()) }
    }

    /// Makes what came durable.
    pub(crate) async fn keep(&self, to: &mut Sending) -> Result<()> {
        let (came, taken) = (std::mem::take(&mut to.came), std::mem::take(&mut to.taken));
        to.waiting = 0;
        let file = to.file.clone();
        Self::blocking(move || Ok(file.sync_data()?)).await?;
        let (id, account) = (to.upload.id, to.upload.account);
        let life = self.config.upload_seconds.saturating_mul(1000);
        let kept = self.records.commit(move |tx| {
            let mut upload = uploads::owned(tx, id, account).map_err(TxError::Refused)?;
            if let Some(task) = import_tasks::reading(tx, id).map_err(TxError::Refused)? {
                return Err(TxError::Refused(StorageError::UploadInUse { id, task }));
            }
            upload.durable.join(&came);
            if let Some(base) = &mut upload.base {
                base.taken.cut(&came);
                base.taken.join(&taken);
            }
            let stretches =
                upload.durable.len() + upload.base.as_ref().map_or(0, |base| base.taken.len());
            if stretches > MAX_STRETCHES {
                let why = "the pieces lie too far apart: send them in order";
                return Err(TxError::Refused(StorageError::Sequence(why)));
            }
            upload.expires_ms = tx.now_ms().saturating_add(life);
            uploads::put(tx, &upload)?;
            Ok(upload)
        });
        to.upload = kept.await?;
        Ok(())
    }

    /// Gives an upload up.
    pub(crate) async fn delete_upload(
        &self,
        id: UploadId,
        account: AccountId,
        asked: Asked,
    ) -> Result<()> {
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    uploads::owned(tx, id, account).map_err(TxError::Refused)?;
                    if let Some(task) = import_tasks::reading(tx, id).map_err(TxError::Refused)? {
                        return Err(TxError::Refused(StorageError::UploadInUse { id, task }));
                    }
                    uploads::remove(tx, id)?;
                    Ok(Done {})
                })
            })
            .await?;
        self.drop_file(self.transfers.upload(id)).await;
        Ok(())
    }

    /// Digests of up to `limit` blocks of an upload's base from block `first`.
    pub(crate) async fn base_digests(
        &self,
        id: UploadId,
        account: AccountId,
        first: u64,
        limit: usize,
    ) -> Result<Digests> {
        let upload = self.upload(id, account)?;
        let base = upload.base.ok_or_else(|| StorageError::Invalid {
            field: "upload_id",
            what: "upload",
            value: id.to_string(),
            rule: "name an upload that has a base".to_owned(),
        })?;
        // Who lost the base since must not go on reading it.
        snapshots::owned(self.records.store(), base.snapshot, account)?;
        let storage = self.clone();
        Self::blocking(move || {
            let tree = storage.tree(&base.content)?;
            let (block, size) = (DIGEST_BLOCK as u64, base.content.size_bytes);
            let count = size.div_ceil(block);
            let last = count.min(first.saturating_add(limit as u64));
            let mut listed = Vec::new();
            let mut bytes = vec![0; DIGEST_BLOCK];
            for at in first..last {
                let (start, end) = (at * block, size.min((at + 1) * block));
                let bytes = &mut bytes[..usize::try_from(end - start).unwrap_or(DIGEST_BLOCK)];
                tree.read_at(start, bytes)?;
                listed.extend(digest(&base.key, bytes));
            }
            Ok(Digests { key: base.key, first, listed, more: last < count })
        })
        .await
    }

    /// Removes a file that no record names any more; the next start does it
    /// otherwise.
    pub(super) async fn drop_file(&self, path: std::path::PathBuf) {
        let removed = Self::blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        });
        if let Err(error) = removed.await {
            tracing::warn!(error = %vmint_rpc::chain(&error), "a file stays until the next start");
        }
    }
}

impl Sending {
    pub(crate) fn upload(&self) -> &Upload {
        &self.upload
    }
}

fn bytes_of(read: &impl Read, account: AccountId, coming: &Coming) -> Result<u64> {
    let there = uploads::of_account(read, account, None, MAX_UPLOADS)?;
    let sum = there.iter().fold(0, |sum: u64, one| sum.saturating_add(one.file_bytes));
    Ok(sum.saturating_add(coming.of(account)))
}

/// Refuses what would give an account more files on their way in than it may have. Asked in a
/// transaction, where what is begun has its record or its room already.
fn within(
    tx: &Tx<'_>,
    account: AccountId,
    coming: &Coming,
    limit: u64,
) -> Result<(), TxError<StorageError>> {
    let bytes = bytes_of(tx, account, coming).map_err(TxError::Refused)?;
    let checked = OverQuota::check("bytes of uploads", bytes, limit);
    checked.map_err(|over| TxError::Refused(over.into()))
}

/// Writes zeros over what lies there.
fn clear(file: &File, ranges: &Ranges) -> io::Result<()> {
    for part in ranges.iter() {
        let mut at = part.start;
        while at < part.end {
            let step = usize::try_from(part.end - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
            file.write_all_at(&ZEROS[..step], at)?;
            at += step as u64;
        }
    }
    Ok(())
}
