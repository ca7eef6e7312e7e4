//! Everything a block store may refuse, and why.

use std::{io, ops::Range, path::PathBuf};

use crate::ChunkId;

pub type Result<T, E = BlocksError> = std::result::Result<T, E>;

/// Why the block store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    #[error("the block store at {dir} is open in another process; stop that one first")]
    InUse { dir: PathBuf },
    #[error("{what} failed in the block store")]
    Io { what: &'static str, source: io::Error },
    #[error("the disk of the block store is full; free some space or collect, then try again")]
    Full,
    #[error("chunk {chunk} is damaged on disk; write its content again or restore its pack")]
    Damaged { chunk: ChunkId },
    #[error("chunk {chunk} is not in this block store")]
    Missing { chunk: ChunkId },
    #[error("chunk {chunk} belongs to another dedup domain; open its tree with that domain")]
    Foreign { chunk: ChunkId },
    #[error("chunk {chunk} is encrypted; open its tree with its data key")]
    Locked { chunk: ChunkId },
    #[error("chunk {chunk} does not authenticate: it was moved, exchanged or altered on disk")]
    Forged { chunk: ChunkId },
    #[error("bytes {}..{} lie outside the content's {size} bytes", range.start, range.end)]
    OutOfRange { range: Range<u64>, size: u64 },
    #[error("offset {offset} was written after offset {at}; write in ascending order")]
    OutOfOrder { offset: u64, at: u64 },
    #[error("{size} bytes are more than the largest content, {max}")]
    TooLarge { size: u64, max: u64 },
    #[error("an earlier write of this session failed; begin a new one")]
    SessionFailed,
    #[error("an earlier sync to disk failed, so what is durable is unknown; reopen the store")]
    Poisoned,
    #[error("the base is a tree of another block store; ingest its content here")]
    OtherStore,
    #[error("reading what is to be stored failed")]
    Source(#[source] io::Error),
    #[error("a worker of the block store panicked; this is a defect, please report it")]
    Worker,
}

impl BlocksError {
    /// Names the operation an I/O error belongs to, and tells a full disk from the rest.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { what, source },
        }
    }
}

impl From<BlocksError> for io::Error {
    fn from(error: BlocksError) -> Self {
        let kind = match &error {
            BlocksError::Io { source, .. } => source.kind(),
            BlocksError::Full => io::ErrorKind::StorageFull,
            BlocksError::Damaged { .. } | BlocksError::Forged { .. } => io::ErrorKind::InvalidData,
            BlocksError::OutOfRange { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
