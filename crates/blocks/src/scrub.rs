//! Reading what is stored before anybody needs it, to find damage early.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use crate::{
    BlockStore, BlocksError, Result,
    index::{Loc, Prefix},
    pack::{self, PACK_HEADER, Pack, Record},
    store::Inner,
};

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

impl BlockStore {
    /// Checks about `limit` bytes of packs and goes on where the last scrub ended. Damaged chunks
    /// go to quarantine: reads of them fail, and storing their content again heals them.
    pub fn scrub(&self, limit: u64) -> Result<ScrubReport> {
        let store = &*self.0;
        let mut next = store.scrubbed.lock();
        let mut report = ScrubReport::default();
        let current = store.writer.current();
        for pack in store.packs_from(next.0) {
            if pack.number != next.0 {
                *next = (pack.number, 0);
            }
            store.scrub_pack(
                &pack,
                current == Some(pack.number),
                &mut next.1,
                limit,
                &mut report,
            )?;
            if report.bytes >= limit {
                return Ok(report);
            }
            *next = (pack.number + 1, 0);
        }
        *next = (0, 0);
        report.complete = true;
        Ok(report)
    }
}

impl Inner {
    /// Checks the records of a pack from offset `from` on, which it moves.
    fn scrub_pack(
        &self,
        pack: &Arc<Pack>,
        growing: bool,
        from: &mut u64,
        limit: u64,
        report: &mut ScrubReport,
    ) -> Result<()> {
        let path = pack.path.read().clone();
        let failed = BlocksError::io("scrubbing a pack");
        let file = match File::open(&path) {
            Ok(file) => file,
            // Collected a moment ago.
            Err(_) if !self.packs.read().contains_key(&pack.number) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let size = file.metadata().map_err(BlocksError::io("scrubbing a pack"))?.len();
        let mut head = [0; PACK_HEADER];
        let footer = pack::read_footer(&file, size).ok().flatten();
        let whole = file.read_exact_at(&mut head, 0).is_ok() && head == Pack::header(pack.number);
        if *from == 0 && (!whole || footer.is_none() && !growing) {
            tracing::error!(path = %path.display(), "the header or footer of a pack is damaged");
            report.damaged_packs += 1;
        }
        // What the index says is in this pack, whatever its footer says.
        let mut places: Vec<(Prefix, Loc)> = Vec::new();
        self.index.for_each(|prefix, loc, _| {
            if loc.pack == pack.number && u64::from(loc.offset) >= *from {
                places.push((prefix, loc));
            }
        });
        places.sort_unstable_by_key(|(_, loc)| loc.offset);
        let mut bytes = Vec::new();
        for (prefix, loc) in places {
            bytes.clear();
            bytes.resize(usize::try_from(Record::size(loc.stored())).unwrap_or(0), 0);
            let read = file.read_exact_at(&mut bytes, u64::from(loc.offset)).is_ok();
            let sound = read
                && Record::intact(&bytes)
                && Record::parse(&bytes).is_some_and(|record| Prefix::from(&record.id) == prefix);
            if !sound && self.condemn(prefix, loc) {
                report.damaged.push(Damage { pack: loc.pack, offset: loc.offset });
            }
            report.chunks += 1;
            report.bytes += bytes.len() as u64;
            *from = u64::from(loc.offset) + 1;
            if report.bytes >= limit {
                break;
            }
        }
        Ok(())
    }
}
