//! Pieces of a gzip stream become the disk again.

use std::fs::File;
use std::io::{self, Write};

use flate2::write::GzDecoder;
use sha2::{Digest as _, Sha256};

use super::{BundleError, Manifest};
use crate::write::{Sink as _, Sparse, is_zero};

/// Unfolds parts, in their order, into a file; what is zero takes no room in it.
pub struct Unpacker {
    decoder: GzDecoder<Disk>,
    digest: [u8; 32],
}

struct Disk {
    out: Sparse,
    left: u64,
    hash: Sha256,
    /// More came than the disk has.
    beyond: bool,
}

impl Unpacker {
    /// Over an empty file, for the disk that a manifest describes.
    #[must_use]
    pub fn new(file: File, manifest: &Manifest) -> Self {
        let (left, hash, beyond) = (manifest.size_bytes, Sha256::new(), false);
        let disk = Disk { out: Sparse::new(file), left, hash, beyond };
        Self { decoder: GzDecoder::new(disk), digest: manifest.digest }
    }

    /// Takes the next part, decrypted. Never writes more than the disk has.
    ///
    /// Errors: [`BundleError::Stream`], [`BundleError::Io`].
    pub fn take(&mut self, part: &[u8]) -> Result<(), BundleError> {
        let taken = self.decoder.write_all(part);
        taken.map_err(|error| told(error, self.decoder.get_ref()))
    }

    /// The disk, once all parts were taken; the file is not synchronised.
    ///
    /// Errors: as of [`Unpacker::take`].
    pub fn finish(mut self) -> Result<File, BundleError> {
        let ended = self.decoder.try_finish();
        ended.map_err(|error| told(error, self.decoder.get_ref()))?;
        let Disk { out, left, hash, .. } = self.decoder.finish()?;
        if left > 0 {
            return Err(BundleError::Stream("they end before it does"));
        }
        if <[u8; 32]>::from(hash.finalize()) != self.digest {
            return Err(BundleError::Stream("its SHA-256 is another"));
        }
        Ok(out.finish()?)
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker")
            .field("left", &self.decoder.get_ref().left)
            .finish_non_exhaustive()
    }
}

fn told(error: io::Error, disk: &Disk) -> BundleError {
    match error.kind() {
        _ if disk.beyond => BundleError::Stream("they go on beyond its end"),
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::WriteZero => BundleError::Stream("they are not one gzip stream"),
        _ => BundleError::Io(error),
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        if len > self.left {
            self.beyond = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.left -= len;
        self.hash.update(bytes);
        if is_zero(bytes) {
            self.out.hole(len)?;
        } else {
            self.out.put(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
