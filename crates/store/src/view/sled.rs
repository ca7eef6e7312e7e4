use std::{fs, io, panic, path::Path};

use super::{Mark, View};
use crate::{
    StoreError, envelope,
    layer::{Row, Writes, lower},
    space::MARK,
};

/// The view on disk. Its `flush` does not survive a power cut, which is why it
/// is only ever a view.
#[derive(Debug)]
pub(crate) struct SledView {
    db: sled::Db,
}

impl SledView {
    /// Opens or makes the database in `dir`. sled panics on some damage; that
    /// comes back as an error too.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        drop_half_snapshots(dir).map_err(|e| StoreError::io("cleaning", dir, &e))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let db = panic::catch_unwind(panic::AssertUnwindSafe(|| config.open()))
            .map_err(|_| StoreError::View("opening it panicked".into()))?;
        Ok(Self { db: db.map_err(failed)? })
    }
}

/// sled takes a snapshot it had only begun to write when it was killed for a
/// whole one, and then cannot be opened.
fn drop_half_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"snap.")
            && name.as_encoded_bytes().ends_with(b".generating")
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn failed(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::io("writing", Path::new("the view"), &error),
        error => StoreError::View(error.to_string()),
    }
}

impl View for SledView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let lower = lower(prefix, after);
        let rows = self.db.range::<&[u8], _>((lower, std::ops::Bound::Unbounded));
        let mut out = Vec::new();
        for row in rows.take(limit) {
            let (key, value) = row.map_err(failed)?;
            if !key.starts_with(prefix) {
                break;
            }
            out.push((key.to_vec(), value.to_vec()));
        }
        Ok(out)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let last = self.db.scan_prefix(prefix).next_back().transpose().map_err(failed)?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn apply(&self, writes: &Writes, mark: Mark) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(MARK, envelope::seal(MARK, &mark.to_bytes()));
        self.db.apply_batch(batch).map_err(failed)
    }

    fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let Some(sealed) = self.get(MARK)? else { return Ok(None) };
        let mark = Mark::from_bytes(envelope::open(MARK, &sealed)?);
        mark.map(Some).ok_or_else(|| StoreError::Corrupt { place: "mark".into() })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(|_| ()).map_err(failed)
    }
}
