//! A scrub: reading everything that is stored, to find damage before it is
//! needed.

use vmint_blocks::ScrubReport;

/// Bytes a second, unless another pace is asked for.
pub(crate) const DEFAULT_PACE: u64 = 10 << 20;
/// The slowest that one that begins by itself reads, in bytes a second.
const SLOWEST: u64 = 1 << 20;
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
    /// Why it does not go on just now.
    pub(crate) message: String,
    /// Nobody asked for it.
    pub(crate) periodic: bool,
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
            periodic: false,
        }
    }

    /// One that begins by itself, at a pace that reads what is stored in three quarters of the
    /// time until the next one.
    pub(crate) fn periodic(stored_bytes: u64, every_seconds: u64, started_ms: u64) -> Self {
        let pace = stored_bytes / (every_seconds / 4 * 3).max(1);
        Self { periodic: true, ..Self::new(pace.max(SLOWEST), started_ms) }
    }

    /// When the next one begins by itself, in milliseconds since 1970; none while one is under
    /// way or if none ever does.
    pub(crate) fn next_ms(last: Option<&Self>, every_seconds: u64) -> Option<u64> {
        match last {
            _ if every_seconds == 0 => None,
            None => Some(0),
            Some(last) if last.state == ScrubState::Running => None,
            Some(last) => Some(last.started_ms.saturating_add(every_seconds.saturating_mul(1000))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_due_a_period_after_the_last_began() {
        assert_eq!(Scrub::next_ms(None, 0), None);
        assert_eq!(Scrub::next_ms(None, 60), Some(0));
        let mut last = Scrub::new(1, 5000);
        assert_eq!(Scrub::next_ms(Some(&last), 60), None, "it is under way");
        for state in [ScrubState::Completed, ScrubState::Cancelled] {
            last.end(state, 9000);
            assert_eq!(Scrub::next_ms(Some(&last), 60), Some(65_000));
            assert_eq!(Scrub::next_ms(Some(&last), 0), None);
        }
        assert_eq!(Scrub::next_ms(Some(&last), u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn the_pace_fits_what_is_stored() {
        let day = 24 * 3600;
        assert_eq!(Scrub::periodic(0, day, 0).bytes_per_second, SLOWEST);
        let pace = Scrub::periodic(90 << 40, 30 * day, 0).bytes_per_second;
        let days = (90 << 40) / pace / day;
        assert!((22..=23).contains(&days), "{days} days");
        assert!(Scrub::periodic(1 << 40, 1, 0).bytes_per_second >= 1 << 40);
    }
}
