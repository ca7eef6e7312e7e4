//! The manifest: which runs there are, and how far they reach.

use super::{damaged, run::Head};
use crate::StoreError;

const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    /// The last transaction in the runs; `None`: not even the first.
    pub(super) seq: Option<u64>,
    /// Runs from this number on are of no account.
    pub(super) next: u64,
    /// Runs of which something may lie about: half made, or half removed.
    pub(super) dead: Vec<u64>,
    /// Newest first.
    pub(super) runs: Vec<Head>,
}

impl Manifest {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut put = |number: u64| out.extend_from_slice(&number.to_le_bytes());
        // One more, so that there is a number for none.
        put(self.seq.map_or(0, |seq| seq + 1));
        put(self.next);
        put(self.dead.len() as u64);
        self.dead.iter().for_each(|id| put(*id));
        for run in &self.runs {
            put(run.id);
            put(run.bytes);
            put(u64::from(run.index_blobs) << 32 | u64::from(run.index_sum));
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(bytes).ok_or_else(damaged)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        let (version, body) = body.split_first()?;
        if *version != VERSION || crc32c::crc32c(&bytes[..bytes.len() - 4]).to_le_bytes() != *sum {
            return None;
        }
        let (numbers, rest) = body.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let seq = numbers.next()?.checked_sub(1);
        let next = numbers.next()?;
        let dead = usize::try_from(numbers.next()?).ok()?;
        let dead: Vec<_> = numbers.by_ref().take(dead).collect();
        let mut runs = Vec::new();
        while let Some(id) = numbers.next() {
            let (bytes, index) = (numbers.next()?, numbers.next()?);
            let index_blobs = u32::try_from(index >> 32).ok()?;
            let index_sum = u32::try_from(index & u64::from(u32::MAX)).ok()?;
            runs.push(Head { id, bytes, index_blobs, index_sum });
        }
        rest.is_empty().then_some(Self { seq, next, dead, runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_no_flipped_bit_goes_unseen() {
        let run = Head { id: 3, bytes: 400, index_blobs: 2, index_sum: 0xdead_beef };
        let manifest = Manifest { seq: Some(7), next: 5, dead: vec![1, 2], runs: vec![run] };
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).ok(), Some(manifest));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::from_bytes(&bad).is_err(), "bit {bit}");
        }
    }
}
