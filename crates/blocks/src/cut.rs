//! Where chunks begin and end: content-defined cut points on the 4 KiB grid.
//!
//! Cutting restarts at each region of 16 MiB, so how a region is cut depends on its own bytes
//! only. After each cut the state is empty, so it also restarts at each chunk: an edit re-cuts
//! from the chunk it hits until a cut falls on an old one.

/// The grid everything is cut on, bytes.
pub(crate) const BLOCK: usize = 4096;
/// Blocks of one region, the span of a leaf.
pub(crate) const REGION_BLOCKS: u16 = 4096;
/// Bytes of one region.
pub(crate) const REGION: u64 = REGION_BLOCKS as u64 * BLOCK as u64;
/// Blocks of the largest chunk.
pub(crate) const MAX_BLOCKS: u8 = 64;
/// Blocks a chunk has before its content may end it.
const MIN_BLOCKS: u8 = 4;
/// So many zero blocks in a row end a chunk and become a hole; fewer stay inside it.
pub(crate) const ZERO_RUN: u8 = 4;

/// What to do with a block, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// End the chunk before this block (and before the zeros held back).
    pub(crate) cut_before: bool,
    /// Zero blocks held back that turned out to be inside the chunk.
    pub(crate) zeros: u8,
    /// End the chunk after this block.
    pub(crate) cut_after: bool,
}

/// The state of cutting: never more than a chunk's length and a few zeros held back.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    blocks: u8,
    zeros: u8,
}

impl Cutter {
    /// Whether no chunk is open, so that cutting could as well begin here.
    pub(crate) fn at_rest(&self) -> bool {
        self.blocks == 0
    }

    /// Takes a block of zeros; true if the open chunk ends before it.
    pub(crate) fn zero(&mut self) -> bool {
        if self.blocks == 0 {
            return false;
        }
        self.zeros += 1;
        self.zeros == ZERO_RUN && self.end()
    }

    /// Takes a block that has bytes other than zero.
    pub(crate) fn data(&mut self, block: &[u8]) -> Step {
        let mut step = Step::default();
        if self.blocks > 0 && self.blocks + self.zeros >= MAX_BLOCKS {
            step.cut_before = self.end();
        }
        step.zeros = self.zeros;
        self.blocks += self.zeros + 1;
        self.zeros = 0;
        if self.blocks == MAX_BLOCKS || (self.blocks >= MIN_BLOCKS && ends(block)) {
            step.cut_after = self.end();
        }
        step
    }

    /// Ends the open chunk; false if there is none.
    pub(crate) fn end(&mut self) -> bool {
        let open = self.blocks > 0;
        *self = Self::default();
        open
    }
}

/// Whether a chunk may end after this block: one in 16. A CRC-32C is good enough to find cut points
/// and the cheapest hash there is. Another sum would give every content another root.
fn ends(block: &[u8]) -> bool {
    (crc_fast::crc32_iscsi(block) >> 8).trailing_zeros() >= 4
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Most blocks of data differ from zero at once; the rest is compared in wide steps.
    let (head, tail) = bytes.split_at(bytes.len().min(16));
    head.iter().all(|&byte| byte == 0)
        && tail.chunks(128).all(|part| part.iter().fold(0, |all, &byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never_ends() -> [u8; BLOCK] {
        let mut block = [1; BLOCK];
        while ends(&block) {
            block[0] += 1;
        }
        block
    }

    #[test]
    fn a_chunk_ends_at_its_greatest_length() {
        let (mut cutter, block) = (Cutter::default(), never_ends());
        for _ in 1..MAX_BLOCKS {
            assert_eq!(cutter.data(&block), Step::default());
        }
        assert!(cutter.data(&block).cut_after);
        assert!(cutter.at_rest());
    }

    #[test]
    fn short_zero_runs_stay_inside_and_long_ones_cut() {
        let (mut cutter, block) = (Cutter::default(), never_ends());
        cutter.data(&block);
        assert!(!cutter.zero() && !cutter.zero() && !cutter.zero());
        assert_eq!(cutter.data(&block), Step { zeros: 3, ..Step::default() });
        assert!(!cutter.zero() && !cutter.zero() && !cutter.zero());
        assert!(cutter.zero());
        assert!(cutter.at_rest());
    }

    #[test]
    fn zeros_that_would_make_a_chunk_too_long_end_it() {
        let (mut cutter, block) = (Cutter::default(), never_ends());
        for _ in 0..62 {
            cutter.data(&block);
        }
        assert!(!cutter.zero() && !cutter.zero());
        let step = cutter.data(&block);
        assert_eq!(step, Step { cut_before: true, zeros: 0, cut_after: false });
    }

    #[test]
    fn cut_points_are_those_of_every_store_before() {
        assert_eq!(crc_fast::crc32_iscsi(b"123456789"), 0xe306_9283);
        let block = |n: u32| -> Vec<u8> {
            (0..1024_u32).flat_map(|word| (word ^ n << 16).to_le_bytes()).collect()
        };
        let ending: Vec<u32> = (1..100).filter(|n| ends(&block(*n))).collect();
        assert_eq!(ending, [8, 15, 57, 62, 65, 70]);
    }

    #[test]
    fn the_zero_test_sees_every_byte() {
        let mut bytes = vec![0; BLOCK];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in 0..BLOCK {
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            bytes[at] = 0;
        }
    }
}
