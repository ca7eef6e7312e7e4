//! What cutting alone finds: the distinct chunks of images, each compressed, and nothing else.
//!
//! The same images cut in several ways say what each rule costs: by the byte, on the grid, and
//! on the grid with a cut at each region's end, as the block store does.

use std::{collections::HashSet, fs, ops::Range, thread};

use vmint_blocks::{BLOCK_BYTES, REGION_BYTES};

use super::images::{Images, NAMES};
use crate::Result;

const AVERAGE: u32 = 64 << 10;
/// Blocks of a chunk, and zero blocks that end one.
const LEAST: usize = 4;
const MOST: usize = 64;
const ZERO_RUN: usize = 4;
/// As long as the longest chunk.
static ZEROS: [u8; MOST * BLOCK_BYTES] = [0; MOST * BLOCK_BYTES];

/// Bytes of all distinct chunks.
pub(super) struct Found {
    pub(super) by_the_byte: u64,
    pub(super) on_the_grid: u64,
    pub(super) in_regions: u64,
}

pub(super) fn find(images: &Images) -> Result<Found> {
    let mut sums = [(HashSet::new(), 0), (HashSet::new(), 0), (HashSet::new(), 0)];
    for name in NAMES {
        let bytes = fs::read(images.path(name))?;
        let bytes = &bytes[..bytes.len() / BLOCK_BYTES * BLOCK_BYTES];
        let ways = [by_the_byte, on_the_grid, in_regions];
        thread::scope(|scope| {
            let found = ways.into_iter().zip(&mut sums).map(|(cut, (seen, sum))| {
                scope.spawn(move || distinct(bytes, cut(bytes), seen).map(|more| *sum += more))
            });
            for cutting in found.collect::<Vec<_>>() {
                cutting.join().map_err(|_| "a cutter panicked")??;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        })?;
    }
    let [by_the_byte, on_the_grid, in_regions] = sums.map(|(_, sum)| sum);
    Ok(Found { by_the_byte, on_the_grid, in_regions })
}

/// Bytes of those chunks that were not seen before.
fn distinct(
    bytes: &[u8],
    chunks: Vec<Range<usize>>,
    seen: &mut HashSet<blake3::Hash>,
) -> std::io::Result<u64> {
    let mut sum = 0;
    for chunk in chunks {
        let chunk = &bytes[chunk];
        if !is_zero(chunk) && seen.insert(blake3::hash(chunk)) {
            sum += zstd::bulk::compress(chunk, 1)?.len().min(chunk.len()) as u64;
        }
    }
    Ok(sum)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

fn by_the_byte(bytes: &[u8]) -> Vec<Range<usize>> {
    let cutter = fastcdc::v2020::FastCDC::new(bytes, AVERAGE / 4, AVERAGE, AVERAGE * 4);
    cutter.map(|chunk| chunk.offset..chunk.offset + chunk.length).collect()
}

fn on_the_grid(bytes: &[u8]) -> Vec<Range<usize>> {
    cut(bytes, usize::MAX)
}

fn in_regions(bytes: &[u8]) -> Vec<Range<usize>> {
    cut(bytes, usize::try_from(REGION_BYTES).unwrap_or(usize::MAX) / BLOCK_BYTES)
}

/// Cuts on the grid where a block's sum says so, and at each multiple of `region` blocks.
fn cut(bytes: &[u8], region: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    // The open chunk, in blocks; zeros behind it may still become a part of it.
    let mut open: Option<Range<usize>> = None;
    for (n, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
        let zero = is_zero(block);
        let over = |open: &Range<usize>| {
            n.is_multiple_of(region)
                || (zero && n + 1 - open.end == ZERO_RUN)
                || (!zero && n - open.start >= MOST)
        };
        chunks.extend(open.take_if(|open| over(open)));
        if zero {
            continue;
        }
        let start = open.as_ref().map_or(n, |open| open.start);
        let length = n + 1 - start;
        open = Some(start..n + 1);
        let ends = (crc_fast::crc32_iscsi(block) >> 8).trailing_zeros() >= 4;
        if length == MOST || (length >= LEAST && ends) {
            chunks.extend(open.take());
        }
    }
    chunks.extend(open);
    let bytes = |blocks: Range<usize>| blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES;
    chunks.into_iter().map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use vmint_blocks::{BlockStore, Domain, Options};

    use super::*;
    use crate::bench::storage::images::xorshift;

    #[test]
    fn regions_are_cut_as_the_store_cuts_them() {
        let mut bytes = xorshift(3, 20 << 20);
        for at in [1 << 20, 5 << 20, (16 << 20) - 8192] {
            bytes[at..at + 3 * BLOCK_BYTES].fill(0);
            bytes[at + (1 << 19)..][..9 * BLOCK_BYTES].fill(0);
        }
        let dir = tempfile::tempdir().unwrap();
        let store = BlockStore::open(dir.path(), Options::default()).unwrap();
        let size = bytes.len() as u64;
        let mut ingest = store.ingest(Domain::derive(b"bench", "bench"), size).unwrap();
        ingest.write(0, &bytes).unwrap();
        let sealed = ingest.finish().unwrap();
        let chunks = in_regions(&bytes);
        let all: usize = chunks.iter().map(ExactSizeIterator::len).sum();
        assert_eq!(all as u64, sealed.new_bytes);
        // Two leaves and the node above them are chunks too.
        assert_eq!(chunks.len() as u64 + 3, store.stats().chunks);
    }
}
