use std::{io, path::Path};

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{doing} `{path}` failed: {why}; check the disk and the directory's permissions")]
    Io { doing: &'static str, path: String, why: String },
    #[error("the view failed: {0}; restart the service, it is rebuilt from the journal")]
    View(String),
    #[error("a record of `{place}` is damaged; restart the service to rebuild its view")]
    Corrupt { place: String },
    #[error(
        "`{file}` is damaged at byte {at} ({why}) and what follows cannot be trusted; restore \
         the directory from a backup, or import the last export"
    )]
    Rotten { file: String, at: u64, why: String },
    #[error("`{dir}` is in use by another process; stop that one first")]
    Locked { dir: String },
    #[error("the disk is full ({free} bytes left); free some space, reads go on meanwhile")]
    Full { free: u64 },
    #[error("an earlier write failed ({reason}); restart the service, its data is safe")]
    Poisoned { reason: String },
    #[error("the store is closed")]
    Closed,
    #[error("a transaction's body panicked; nothing of it was written")]
    Panicked,
    #[error("{what} is {size} bytes, more than the {limit} that fit; store it elsewhere")]
    TooBig { what: &'static str, size: usize, limit: usize },
    #[error("a transaction makes more than {limit} writes; split it")]
    TooManyWrites { limit: usize },
    #[error("`{index}` of `{table}` already holds this value")]
    NotUnique { table: &'static str, index: &'static str, key: Vec<u8> },
    #[error("`{table}` has no index `{index}`")]
    NoSuchIndex { table: &'static str, index: String },
    #[error("`{table}` is used with two kinds of record; give one of them another name")]
    TableReused { table: &'static str },
    #[error("this is not an export that can be read: {0}")]
    BadExport(String),
    #[error("`{dir}` already holds a store; import into an empty directory")]
    NotEmpty { dir: String },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::Full { free: 0 };
        }
        Self::Io { doing, path: path.display().to_string(), why: error.to_string() }
    }

    pub(crate) fn rotten(path: &Path, at: u64, why: impl Into<String>) -> Self {
        Self::Rotten { file: path.display().to_string(), at, why: why.into() }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a transaction did not commit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TxError<E> {
    /// The body refused, for a reason of its own; nothing was written.
    #[error("refused")]
    Refused(E),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E> TxError<E> {
    /// What a body returns to refuse.
    pub fn refuse(error: impl Into<E>) -> Self {
        Self::Refused(error.into())
    }

    /// The service's own error, for one that has room for the store's.
    pub fn flatten(self) -> E
    where
        E: From<StoreError>,
    {
        match self {
            Self::Refused(error) => error,
            Self::Store(error) => error.into(),
        }
    }
}

/// Turns a service's own failure into a refusal, for `?` inside a body.
pub trait OrRefuse<T, E> {
    fn or_refuse(self) -> Result<T, TxError<E>>;
}

impl<T, E> OrRefuse<T, E> for Result<T, E> {
    fn or_refuse(self) -> Result<T, TxError<E>> {
        self.map_err(TxError::Refused)
    }
}
