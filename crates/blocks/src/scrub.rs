//! Reading what is stored before anybody needs it, to find damage early.

use std::{collections::HashMap, fs, io, path::Path};

use crate::{
    BlockStore, BlocksError, Result,
    index::{Loc, Prefix},
    pack::{self, PACK_HEADER, Record},
    store::Inner,
};

/// Bytes of a pack read at once.
const WINDOW: usize = 1 << 20;
/// Packs whose records are listed at a time: some megabytes of places.
const PACKS_AT_ONCE: usize = 64;

/// What a scrub read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrubReport {
    pub chunks: u64,
    pub bytes: u64,
    /// Chunks found damaged and put in quarantine.
    pub damaged: Vec<Damage>,
    /// Packs whose header or footer is damaged; their chunks are still read and checked.
    pub damaged_packs: u64,
    /// Whether the last pack was reached; the next scrub begins with the first.
    pub complete: bool,
}

/// Where a damaged chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    pub pack: u32,
    /// Bytes from the pack's start.
    pub offset: u32,
}

/// Where the next scrub goes on: a pack and an offset in it.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    pack: u32,
    offset: u64,
}

impl Cursor {
    fn read(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("scrub")).unwrap_or_default();
        let parsed = text.trim().split_once(' ');
        let parsed = parsed.and_then(|(pack, offset)| {
            Some(Self { pack: pack.parse().ok()?, offset: offset.parse().ok()? })
        });
        parsed.unwrap_or_default()
    }

    fn write(self, dir: &Path) -> io::Result<()> {
        let new = dir.join("scrub.new");
        fs::write(&new, format!("{} {}\n", self.pack, self.offset))?;
        fs::rename(new, dir.join("scrub"))
    }
}

/// What a scrub goes on with: where, and what the index says is there.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    next: Cursor,
    /// Of packs that do not grow, in the order of their offsets. The index is gone through once
    /// for many packs, and not again for each step.
    ahead: HashMap<u32, Vec<(Prefix, Loc)>>,
}

impl Scrubbing {
    /// As an earlier process left it; from the start if that can't be read.
    pub(crate) fn read(dir: &Path) -> Self {
        Self { next: Cursor::read(dir), ahead: HashMap::new() }
    }
}

impl BlockStore {
    /// Checks about `limit` bytes of packs and goes on where the last scrub ended, if need be in
    /// an earlier process. Damaged chunks go to quarantine: reads of them fail, and storing their
    /// content again, or [`BlockStore::repair`], heals them.
    pub fn scrub(&self, limit: u64) -> Result<ScrubReport> {
        let store = &*self.0;
        let mut at = store.scrubbed.lock();
        let report = store.scrub_from(&mut at, limit)?;
        if let Err(error) = at.next.write(&store.dir) {
            // Only work is done twice.
            tracing::warn!(%error, "where a scrub ended could not be written down");
        }
        Ok(report)
    }

    /// Lets the next scrub begin with the first pack.
    pub fn rewind_scrub(&self) -> Result<()> {
        let mut at = self.0.scrubbed.lock();
        *at = Scrubbing { next: Cursor::default(), ahead: HashMap::new() };
        at.next.write(&self.0.dir).map_err(BlocksError::io("rewinding a scrub"))
    }
}

impl Inner {
    fn scrub_from(&self, at: &mut Scrubbing, limit: u64) -> Result<ScrubReport> {
        let mut report = ScrubReport::default();
        for pack in self.packs_from(at.next.pack) {
            if pack != at.next.pack {
                at.next = Cursor { pack, offset: 0 };
            }
            let growing = self.writer.current() == Some(pack);
            // Listed before the pack is measured: what is indexed later may lie behind that end.
            let places = self.places(at, growing);
            let done = self.scrub_pack(growing, &places, &mut at.next, limit, &mut report);
            if !growing {
                at.ahead.insert(pack, places);
            }
            done?;
            if report.bytes >= limit {
                return Ok(report);
            }
            at.ahead.remove(&pack);
            at.next = Cursor { pack: pack + 1, offset: 0 };
        }
        *at = Scrubbing { next: Cursor::default(), ahead: HashMap::new() };
        report.complete = true;
        Ok(report)
    }

    /// What the index says is in the pack at the cursor, whatever its footer says. If that is not
    /// known yet, it and those behind it are listed; one that grows is listed each time.
    fn places(&self, at: &mut Scrubbing, growing: bool) -> Vec<(Prefix, Loc)> {
        let pack = at.next.pack;
        if let Some(places) = at.ahead.remove(&pack) {
            return places;
        }
        at.ahead.clear();
        if growing {
            at.ahead.insert(pack, Vec::new());
        } else {
            // In this order: one made in between is not among them.
            let behind = self.packs_from(pack);
            let current = self.writer.current();
            let whole = behind.into_iter().filter(|pack| Some(*pack) != current);
            at.ahead.extend(whole.take(PACKS_AT_ONCE).map(|pack| (pack, Vec::new())));
        }
        self.index.for_each(|prefix, loc, _| {
            if let Some(places) = at.ahead.get_mut(&loc.pack) {
                places.push((prefix, loc));
            }
        });
        for places in at.ahead.values_mut() {
            places.sort_unstable_by_key(|(_, loc)| loc.offset);
        }
        at.ahead.remove(&pack).unwrap_or_default()
    }

    /// Checks the records of a pack from the cursor on, which it moves.
    fn scrub_pack(
        &self,
        growing: bool,
        places: &[(Prefix, Loc)],
        next: &mut Cursor,
        limit: u64,
        report: &mut ScrubReport,
    ) -> Result<()> {
        let number = next.pack;
        let read = places.partition_point(|(_, loc)| u64::from(loc.offset) < next.offset);
        let size = match self.packs.bytes(number) {
            Ok(size) => size,
            // Collected a moment ago.
            Err(_) if !self.live.read().contains(&number) => return Ok(()),
            Err(error) => return Err(BlocksError::io("scrubbing a pack")(error)),
        };
        if next.offset == 0 {
            let mut head = [0; PACK_HEADER];
            let read = self.packs.read_kept(number, &mut head, 0);
            let whole = read.is_ok() && head == pack::header(number);
            let footer =
                pack::read_footer(size, |bytes, at| self.packs.read_kept(number, bytes, at));
            if !whole || footer.ok().flatten().is_none() && !growing {
                tracing::error!(pack = number, "the header or footer of a pack is damaged");
                report.damaged_packs += 1;
            }
        }
        let (mut window, mut begins) = (Vec::new(), 0);
        for &(prefix, loc) in &places[read..] {
            let length = usize::try_from(Record::size(loc.stored())).unwrap_or(0);
            let from = u64::from(loc.offset);
            if from < begins || from + length as u64 > begins + window.len() as u64 {
                let left = usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX);
                window.resize(left.min(WINDOW.max(length)), 0);
                begins = from;
                if let Err(error) = self.packs.read_kept(number, &mut window, from) {
                    // A place that can't be read must not hide the ones behind it.
                    if !pack::unreadable(&error) {
                        return Err(BlocksError::io("scrubbing a pack")(error));
                    }
                    window.resize(length.min(left), 0);
                    if self.packs.read_kept(number, &mut window, from).is_err() {
                        window.clear();
                    }
                }
            }
            let at = usize::try_from(from - begins).unwrap_or(usize::MAX);
            let bytes = window.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default();
            if !is_sound(bytes, prefix) && self.condemn(prefix, loc) {
                report.damaged.push(Damage { pack: loc.pack, offset: loc.offset });
            }
            report.chunks += 1;
            report.bytes += length as u64;
            next.offset = from + 1;
            if report.bytes >= limit {
                break;
            }
        }
        Ok(())
    }
}

fn is_sound(bytes: &[u8], prefix: Prefix) -> bool {
    Record::intact(bytes)
        && Record::parse(bytes).is_some_and(|record| Prefix::from(&record.id) == prefix)
}
