//! A raw disk.

use std::io;

use super::blocks::Blocks;
use super::{Export, Sink, WriteError, is_zero};

const PIECE: u64 = 256 << 10;
const PAGE: usize = 4096;

/// Writes the disk as it is. Into a [`super::Sparse`] file, zeros are left out.
pub fn raw(export: &Export<'_>, out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let size = export.size();
    let mut buf = vec![0; usize::try_from(PIECE).unwrap_or(0)];
    let mut at = 0;
    for piece in Blocks::new(export.source, PIECE) {
        let start = piece? * PIECE;
        export.tick(start)?;
        out.hole(start - at)?;
        let len = (size - start).min(PIECE);
        let buf = &mut buf[..usize::try_from(len).unwrap_or(0)];
        export.read(start, buf)?;
        put(buf, out)?;
        at = start + len;
    }
    out.hole(size - at)?;
    export.tick(size)
}

/// Puts the pages that hold something, each run of them at once, and leaves out the others.
fn put(mut bytes: &[u8], out: &mut (impl Sink + ?Sized)) -> io::Result<()> {
    while let Some(page) = bytes.chunks(PAGE).next() {
        let zero = is_zero(page);
        let alike = bytes.chunks(PAGE).take_while(|page| is_zero(page) == zero);
        let (run, rest) = bytes.split_at(alike.map(<[u8]>::len).sum());
        if zero {
            out.hole(run.len() as u64)?;
        } else {
            out.put(run)?;
        }
        bytes = rest;
    }
    Ok(())
}
