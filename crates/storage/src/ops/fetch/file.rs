//! The file that what is fetched goes into.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use bytes::BytesMut;

use crate::{Result, Storage, import_task::Fetched};

/// Written in pieces of this size.
const PIECE: usize = 1 << 20;
/// Made durable after so many bytes.
const DURABLE: u64 = 64 << 20;

/// A file on its way in, and how much of it is there for good.
#[derive(Debug)]
pub(super) struct Landing {
    file: Arc<File>,
    fetched: Fetched,
    waiting: BytesMut,
    /// Written, and perhaps not durable.
    written: u64,
}

impl Landing {
    pub(super) async fn open(path: PathBuf, fetched: Fetched) -> Result<Self> {
        let len = fetched.bytes;
        let file = Storage::blocking(move || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let file = File::options().write(true).create(true).truncate(false).open(&path)?;
            file.set_len(len)?;
            // The name must be there as long as the record says that the bytes are.
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
            Ok(file)
        });
        let file = Arc::new(file.await?);
        Ok(Self { file, written: fetched.bytes, fetched, waiting: BytesMut::new() })
    }

    pub(super) fn fetched(&self) -> &Fetched {
        &self.fetched
    }

    pub(super) fn is_complete(&self) -> bool {
        self.fetched.of.is_some_and(|of| of == self.fetched.bytes)
    }

    /// Where the next byte goes.
    pub(super) fn at(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// The file comes from byte `from` on; it is 0 or what is there for good.
    pub(super) async fn begin(
        &mut self,
        from: u64,
        of: Option<u64>,
        version: String,
    ) -> Result<()> {
        self.waiting.clear();
        (self.written, self.fetched.bytes) = (from, from);
        // Not complete before it has ended, should it be empty.
        self.fetched.of = of.filter(|of| *of > from);
        self.fetched.version = version;
        let file = self.file.clone();
        Storage::blocking(move || Ok(file.set_len(from)?)).await
    }

    /// Takes what follows; whether more is there for good now.
    pub(super) async fn take(&mut self, data: &[u8]) -> Result<bool> {
        self.waiting.extend_from_slice(data);
        if self.waiting.len() >= PIECE {
            self.write().await?;
        }
        if self.written - self.fetched.bytes < DURABLE {
            return Ok(false);
        }
        self.sync().await?;
        Ok(true)
    }

    /// Makes what has come durable.
    pub(super) async fn rest(&mut self) -> Result<()> {
        self.write().await?;
        self.sync().await
    }

    /// All of it has come.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.rest().await?;
        self.fetched.of = Some(self.written);
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let (file, piece, at) = (self.file.clone(), self.waiting.split().freeze(), self.written);
        self.written += piece.len() as u64;
        Storage::blocking(move || Ok(file.write_all_at(&piece, at)?)).await
    }

    async fn sync(&mut self) -> Result<()> {
        let file = self.file.clone();
        Storage::blocking(move || Ok(file.sync_data()?)).await?;
        self.fetched.bytes = self.written;
        Ok(())
    }
}
