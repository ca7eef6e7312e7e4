//! What the machine allows: its processors and its disk, without anything of ours.

use std::{
    fs::File,
    hint::black_box,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use vmint_blocks::BLOCK_BYTES;

use crate::{
    Result,
    bench::clock::{Took, clock},
};

/// The size of chunks we aim at.
const PIECE: usize = 64 << 10;

pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// Runs `work` for each piece of a length on all cores, with tools of each core's own.
fn each<T>(
    length: usize,
    tools: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, usize) + Sync,
) -> Result<Took> {
    let next = AtomicUsize::new(0);
    let all = || {
        thread::scope(|scope| {
            for _ in 0..cores() {
                scope.spawn(|| {
                    let mut tools = tools();
                    loop {
                        let at = next.fetch_add(PIECE, Ordering::Relaxed);
                        if at >= length {
                            break;
                        }
                        work(&mut tools, at);
                    }
                });
            }
        });
        Ok(())
    };
    Ok(clock(all)?.1)
}

fn piece(data: &[u8], at: usize) -> &[u8] {
    &data[at..(at + PIECE).min(data.len())]
}

/// BLAKE3 of pieces in memory.
pub(super) fn hash(data: &[u8]) -> Result<Took> {
    let work = |(): &mut (), at| {
        black_box(blake3::keyed_hash(&[7; 32], piece(data, at)));
    };
    each(data.len(), || (), work)
}

/// CRC-32C of each block in memory: what finding cuts costs at least.
pub(super) fn sums(data: &[u8]) -> Result<Took> {
    let work = |(): &mut (), at| {
        for block in piece(data, at).chunks(BLOCK_BYTES) {
            black_box(crc_fast::crc32_iscsi(block));
        }
    };
    each(data.len(), || (), work)
}

/// BLAKE3 and zstd 1 of pieces in memory.
pub(super) fn hash_and_compress(data: &[u8]) -> Result<Took> {
    let tools = || (zstd::bulk::Compressor::new(1).ok(), Vec::with_capacity(2 * PIECE));
    let work = |(zstd, out): &mut (Option<zstd::bulk::Compressor<'_>>, Vec<u8>), at| {
        black_box(blake3::keyed_hash(&[7; 32], piece(data, at)));
        out.clear();
        if let Some(zstd) = zstd {
            black_box(zstd.compress_to_buffer(piece(data, at), out).ok());
        }
    };
    each(data.len(), tools, work)
}

/// Pieces as zstd 1 makes them, for [`decompress`].
pub(super) fn compressed(data: &[u8]) -> Result<Vec<Vec<u8>>> {
    Ok(data
        .chunks(PIECE)
        .map(|piece| zstd::bulk::compress(piece, 1))
        .collect::<std::io::Result<_>>()?)
}

/// Unpacks them again.
pub(super) fn decompress(pieces: &[Vec<u8>]) -> Result<Took> {
    let tools = || (zstd::bulk::Decompressor::new().ok(), Vec::with_capacity(PIECE));
    let work = |(zstd, out): &mut (Option<zstd::bulk::Decompressor<'_>>, Vec<u8>), at: usize| {
        out.clear();
        if let Some(zstd) = zstd {
            black_box(zstd.decompress_to_buffer(&pieces[at / PIECE], out).ok());
        }
    };
    each(pieces.len() * PIECE, tools, work)
}

/// Reads a file that is in the page cache, holes aside.
pub(super) fn read(image: &Path) -> Result<Took> {
    let file = File::open(image)?;
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(range) = vmint_images::Source::next_data(&file, at)? {
        let starts = (range.start..range.end).step_by(16 * PIECE);
        pieces.extend(starts.map(|start| (start, range.end.min(start + 16 * PIECE as u64))));
        at = range.end;
    }
    let work = |buffer: &mut Vec<u8>, at: usize| {
        let (start, end) = pieces[at / PIECE];
        let buffer = &mut buffer[..usize::try_from(end - start).unwrap_or(0)];
        black_box(file.read_exact_at(buffer, start).ok());
    };
    each(pieces.len() * PIECE, || vec![0; 16 * PIECE], work)
}

/// Writes bytes to a new file, durably.
pub(super) fn write(path: &Path, data: &[u8]) -> Result<Took> {
    let ((), took) = clock(|| {
        let mut file = File::create(path)?;
        for piece in data.chunks(16 * PIECE) {
            file.write_all(piece)?;
        }
        Ok(file.sync_all()?)
    })?;
    std::fs::remove_file(path)?;
    Ok(took)
}

/// One journal commit: an append to what is preallocated, and its fdatasync.
pub(super) fn commits(dir: &Path, count: u64) -> Result<Vec<Took>> {
    let path = dir.join("commits");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let one = |n: u64| {
        let ((), took) = clock(|| {
            file.write_all_at(&[7; 600], n * 600)?;
            Ok(file.sync_data()?)
        })?;
        Ok(took)
    };
    (0..count).map(one).collect()
}
