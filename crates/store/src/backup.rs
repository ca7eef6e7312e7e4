//! Export and import: the whole state as one checked stream.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{Store, StoreError, checkpoint, keeper};

impl Store {
    /// Writes the state as it is now to `to`; commits go on meanwhile. Blocks.
    ///
    /// Taken from checkpoint and journal, not from the view. Returns the
    /// transaction that it holds everything up to.
    pub fn export(&self, to: &mut dyn Write) -> Result<u64, StoreError> {
        let upto = self.sequence();
        let base = self.base(upto)?;
        checkpoint::write(base.as_deref(), self.inner().journal(), upto, to)?;
        Ok(upto)
    }

    /// The checkpoint to begin with for the state after transaction `upto`.
    pub(crate) fn base(&self, upto: u64) -> Result<Option<PathBuf>, StoreError> {
        let Some(disk) = &self.inner().disk else { return Ok(None) };
        let newest = checkpoint::list(&disk.checkpoints())?.pop();
        Ok(newest.filter(|(seq, _)| *seq <= upto).map(|(_, path)| path))
    }

    /// Makes a store in the empty directory `dir` from an export, which `from`
    /// ends with. Blocks.
    ///
    /// Fails, and leaves nothing, if the export is damaged. Returns the
    /// transaction that the store then continues from.
    pub fn import(dir: &Path, from: &mut dyn Read) -> Result<u64, StoreError> {
        let failed = |e: io::Error| StoreError::io("importing into", dir, &e);
        fs::create_dir_all(dir).map_err(failed)?;
        if fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(StoreError::NotEmpty { dir: dir.display().to_string() });
        }
        let checkpoints = dir.join("checkpoint");
        fs::create_dir(&checkpoints).map_err(failed)?;
        let taken = take(&checkpoints, from);
        if taken.is_err() {
            let _ = fs::remove_dir_all(&checkpoints);
        }
        taken
    }
}

fn take(checkpoints: &Path, from: &mut dyn Read) -> Result<u64, StoreError> {
    let failed = |e: io::Error| StoreError::io("importing into", checkpoints, &e);
    let part = checkpoints.join("import.tmp");
    let mut seq = 0;
    {
        let mut file = fs::File::create(&part).map_err(failed)?;
        let mut reader = checkpoint::Reader::new(Tee { from, to: &mut file })?;
        seq = seq.max(reader.seq);
        while reader.next()?.is_some() {}
    }
    let path = keeper::install(checkpoints, seq, |to| {
        io::copy(&mut fs::File::open(&part).map_err(failed)?, to).map(|_| ()).map_err(failed)
    })?;
    fs::remove_file(&part).map_err(failed)?;
    tracing::info!(path = %path.display(), seq, "imported");
    Ok(seq)
}

struct Tee<'a, W> {
    from: &'a mut dyn Read,
    to: W,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.to.write_all(&buffer[..n])?;
        Ok(n)
    }
}
