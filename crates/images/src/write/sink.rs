//! Where an image goes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Takes an image's bytes in order. Every writer of bytes is one; [`Sparse`] also keeps holes.
pub trait Sink {
    /// Takes all of `bytes`.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes `len` zeros.
    fn hole(&mut self, len: u64) -> io::Result<()>;
}

impl<W: Write + ?Sized> Sink for W {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn hole(&mut self, mut len: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while len > 0 {
            let piece = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write_all(&ZEROS[..piece])?;
            len -= piece as u64;
        }
        Ok(())
    }
}

/// A file that is written from its start and in which zeros take no space.
#[derive(Debug)]
pub struct Sparse {
    file: File,
    at: u64,
}

impl Sparse {
    /// Over a file that is empty.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, at: 0 }
    }

    /// The file, as long as all that was put into it.
    ///
    /// Errors: the length could not be set. The file is not synchronised.
    pub fn finish(self) -> io::Result<File> {
        self.file.set_len(self.at)?;
        Ok(self.file)
    }
}

impl Sink for Sparse {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn hole(&mut self, len: u64) -> io::Result<()> {
        self.at += len;
        Ok(())
    }
}
