//! Which blocks a layer holds.

use std::collections::BTreeMap;
use std::ops::Range;

/// Blocks of one region: 128 MiB of disk.
pub(crate) const REGION_BLOCKS: u64 = 32_768;
/// Bytes of one region's states, two bits a block.
pub(crate) const REGION_BYTES: usize = 8192;

/// What a layer says of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: ask the layer below.
    Absent = 0,
    /// The block is in this layer's segments.
    Data = 1,
    /// The block reads zero.
    Zero = 2,
}

impl State {
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Absent),
            1 => Some(Self::Data),
            2 => Some(Self::Zero),
            _ => None,
        }
    }

    /// Four blocks of this state.
    fn byte(self) -> u8 {
        (self as u8) * 0b0101_0101
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Region {
    Uniform(State),
    Mixed(Box<[u8; REGION_BYTES]>),
}

impl Region {
    fn get(&self, block: u64) -> State {
        match self {
            Self::Uniform(state) => *state,
            Self::Mixed(bytes) => {
                let bits = bytes[place(block)] >> (block % 4 * 2) & 3;
                State::from_bits(bits).unwrap_or(State::Absent)
            }
        }
    }

    /// The first block of `from..end` (within the region) that is not in `state`.
    fn run_end(&self, from: u64, end: u64, state: State) -> u64 {
        let Self::Mixed(bytes) = self else { return end };
        let mut block = from;
        while block < end {
            if block.is_multiple_of(4) && bytes[place(block)] == state.byte() {
                block += 4;
            } else if self.get(block) == state {
                block += 1;
            } else {
                return block;
            }
        }
        end
    }

    fn set(&mut self, range: Range<u64>, state: State) {
        if let Self::Uniform(now) = self {
            if *now == state {
                return;
            }
            *self = Self::Mixed(Box::new([now.byte(); REGION_BYTES]));
        }
        let Self::Mixed(bytes) = self else { return };
        let mut block = range.start;
        while block < range.end {
            if block.is_multiple_of(4) && block + 4 <= range.end {
                bytes[place(block)] = state.byte();
                block += 4;
            } else {
                let (byte, shift) = (&mut bytes[place(block)], block % 4 * 2);
                *byte = *byte & !(3 << shift) | (state as u8) << shift;
                block += 1;
            }
        }
        // A region filled in order ends here; give its table back.
        if range.end == REGION_BLOCKS && bytes.iter().all(|byte| *byte == state.byte()) {
            *self = Self::Uniform(state);
        }
    }
}

fn place(block: u64) -> usize {
    usize::try_from(block / 4).unwrap_or(usize::MAX)
}

/// The states of all blocks of a layer. Costs memory only where something was written: at most
/// 64 KiB for each GiB.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct BlockMap {
    regions: BTreeMap<u64, Region>,
}

impl BlockMap {
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The state of block `from`, and where the run of that state ends, no later than `end`.
    pub(crate) fn run(&self, from: u64, end: u64) -> (State, u64) {
        let mut index = from / REGION_BLOCKS;
        let state =
            self.regions.get(&index).map_or(State::Absent, |at| at.get(from % REGION_BLOCKS));
        let mut block = from;
        while block < end {
            let Some(region) = self.regions.get(&index) else {
                if state != State::Absent {
                    return (state, block);
                }
                // Skip to the next region that has anything.
                match self.regions.range(index..).next() {
                    Some((next, _)) if next * REGION_BLOCKS < end => {
                        (index, block) = (*next, next * REGION_BLOCKS);
                    }
                    _ => return (state, end),
                }
                continue;
            };
            if region.get(block % REGION_BLOCKS) != state {
                return (state, block);
            }
            let first = index * REGION_BLOCKS;
            let stop = (end - first).min(REGION_BLOCKS);
            let run = region.run_end(block - first, stop, state);
            if run < stop {
                return (state, first + run);
            }
            index += 1;
            block = first + run;
        }
        (state, end)
    }

    pub(crate) fn set(&mut self, range: Range<u64>, state: State) {
        let mut block = range.start;
        while block < range.end {
            let index = block / REGION_BLOCKS;
            let first = index * REGION_BLOCKS;
            let end = (range.end - first).min(REGION_BLOCKS);
            if block == first && end == REGION_BLOCKS {
                self.regions.insert(index, Region::Uniform(state));
            } else {
                let region = self.regions.entry(index).or_insert(Region::Uniform(State::Absent));
                region.set(block - first..end, state);
            }
            block = first + end;
        }
    }

    /// The regions that hold anything, ascending.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (u64, &Region)> {
        self.regions.iter().map(|(index, region)| (*index, region))
    }

    pub(crate) fn insert(&mut self, index: u64, region: Region) {
        self.regions.insert(index, region);
    }

    pub(crate) fn region_count(&self) -> usize {
        self.regions.len()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // sizes of tests are small
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_like_an_array(
            edits in prop::collection::vec((0..100_000_u64, 1..70_000_u64, 1..3_u8), 1..12),
            probes in prop::collection::vec(0..150_000_u64, 20),
        ) {
            let mut map = BlockMap::default();
            let mut model = vec![State::Absent; 200_000];
            for (start, len, bits) in edits {
                let state = State::from_bits(bits).unwrap();
                map.set(start..start + len, state);
                model[start as usize..(start + len) as usize].fill(state);
            }
            for from in probes {
                let state = model[from as usize];
                let run = model[from as usize..].iter().take_while(|at| **at == state).count();
                prop_assert_eq!(map.run(from, 200_000), (state, from + run as u64));
                prop_assert_eq!(map.run(from, from + 1), (state, from + 1));
            }
        }
    }
}
