//! A scrub: reading everything that is stored, to find damage before it is
//! needed.

use vmint_blocks::ScrubReport;

/// Bytes a second, unless another pace is asked for.
pub(crate) const DEFAULT_PACE: u64 = 10 << 20;
/// The slowest and the largest step of work; its end is written down.
const STEP: std::ops::RangeInclusive<u64> = 256 << 10..=64 << 20;

/// Where a scrub stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScrubState {
    Running,
    Completed,
    Cancelled,
}

/// A scrub and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scrub {
    pub(crate) state: ScrubState,
    pub(crate) bytes_per_second: u64,
    pub(crate) checked_bytes: u64,
    pub(crate) checked_chunks: u64,
    pub(crate) damaged_chunks: u64,
    pub(crate) damaged_packs: u64,
    pub(crate) started_ms: u64,
    /// 0 until it has ended.
    pub(crate) ended_ms: u64,
    /// It has not read anything yet: the block store is to begin anew.
    pub(crate) fresh: bool,
    /// Why it does not go on until the next start.
    pub(crate) message: String,
}

impl Scrub {
    /// One that begins.
    pub(crate) fn new(bytes_per_second: u64, started_ms: u64) -> Self {
        Self {
            state: ScrubState::Running,
            bytes_per_second,
            checked_bytes: 0,
            checked_chunks: 0,
            damaged_chunks: 0,
            damaged_packs: 0,
            started_ms,
            ended_ms: 0,
            fresh: true,
            message: String::new(),
        }
    }

    /// How much to read before the pace is looked at again.
    pub(crate) fn step_bytes(&self) -> u64 {
        self.bytes_per_second.clamp(*STEP.start(), *STEP.end())
    }

    /// Takes in what a step read and found.
    pub(crate) fn take(&mut self, step: &ScrubReport, now_ms: u64) {
        self.fresh = false;
        self.message.clear();
        self.checked_bytes += step.bytes;
        self.checked_chunks += step.chunks;
        self.damaged_chunks += step.damaged.len() as u64;
        self.damaged_packs += step.damaged_packs;
        if step.complete {
            self.end(ScrubState::Completed, now_ms);
        }
    }

    pub(crate) fn end(&mut self, state: ScrubState, now_ms: u64) {
        self.state = state;
        self.ended_ms = now_ms;
    }
}
