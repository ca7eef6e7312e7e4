//! A content under another data key.

use vmint_blocks::{ExtentKind, Pin};
use vmint_ids::AccountId;

use crate::{
    Content, Result, Seal, Snapshot, Storage, StorageError,
    boot_set::BootSet,
    key::{Cover, Wish},
};

/// How much of a content is read at once.
const PIECE: usize = 1 << 20;

/// What a copy is to hold.
#[derive(Debug)]
pub(crate) struct Covered {
    pub(crate) content: Content,
    pub(crate) seal: Option<Seal>,
    /// What a new content begins with.
    pub(crate) boot: Option<BootSet>,
    /// Keeps a new content until it is recorded.
    pub(crate) _pin: Option<Pin>,
}

impl Storage {
    /// What a copy of `source` for `account` is to hold: the same content, or
    /// one encrypted anew, which costs as much as an import.
    pub(crate) async fn cover(
        &self,
        source: &Snapshot,
        account: AccountId,
        wish: Wish,
    ) -> Result<Covered> {
        let id = source.id;
        let content = source.content().ok_or(StorageError::NotCompleted { id })?;
        let (under, own) = (source.seal.map(|seal| seal.key), source.account == account);
        let cover = wish.cover(under, own).map_err(|_| StorageError::DecryptionRefused { id })?;
        Self::may_use(self.records.store(), Some(content))?;
        let key = match cover {
            Cover::Same => {
                return Ok(Covered { content, seal: source.seal, boot: None, _pin: None });
            }
            Cover::Under(key) => self.key_for(account, key).await?,
        };
        let seal = self.begin_lineage(account, key).await?;
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let storage = self.clone();
        Self::blocking(move || storage.seal_anew(content, account, seal)).await
    }

    fn seal_anew(&self, content: Content, account: AccountId, seal: Seal) -> Result<Covered> {
        let tree = self.tree(&content)?;
        let domain = self.domain(account, Some(seal.lineage))?;
        let mut ingest = self.blocks.ingest(domain, content.size_bytes)?;
        let mut piece = vec![0; PIECE];
        for extent in tree.extents(0..content.size_bytes) {
            let (range, kind) = extent?;
            let mut at = range.start;
            while kind == ExtentKind::Data && at < range.end {
                let left = usize::try_from(range.end - at).unwrap_or(PIECE);
                let piece = &mut piece[..left.min(PIECE)];
                tree.read_at(at, piece)?;
                ingest.write(at, piece)?;
                at += piece.len() as u64;
            }
        }
        let sealed = ingest.finish()?;
        let boot = self.boot_set(&content);
        let content = Content {
            domain: account,
            lineage: Some(seal.lineage),
            root: sealed.root,
            size_bytes: content.size_bytes,
        };
        Ok(Covered { content, seal: Some(seal), boot, _pin: Some(sealed.pin) })
    }
}
