//! An uploaded disk of which a part is to be read from a snapshot.

use std::{fs::File, io, ops::Range};

use vmint_blocks::Tree;
use vmint_images::Source;

use crate::ranges::Ranges;

/// A file over the content it was compared with.
#[derive(Debug)]
pub(crate) struct Staged {
    file: File,
    base: Tree,
    /// What is the base's.
    taken: Ranges,
}

impl Staged {
    pub(crate) fn new(file: File, base: Tree, taken: Ranges) -> Self {
        Self { file, base, taken }
    }

    /// What is not the base's.
    pub(crate) fn dirty(&self) -> Vec<Range<u64>> {
        let mut rest = Ranges::of(std::iter::once(0..Source::len(&self.file)));
        rest.cut(&self.taken);
        rest.iter().collect()
    }
}

impl Source for Staged {
    fn len(&self) -> u64 {
        Source::len(&self.file)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            let taken = self.taken.from(at).filter(|taken| taken.start < end);
            let (stop, from_base) = match taken {
                Some(taken) if taken.start <= at => (taken.end.min(end), true),
                Some(taken) => (taken.start, false),
                None => (end, false),
            };
            let place = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let part = &mut buf[place(at)..place(stop)];
            if from_base {
                self.base.read_at(at, part).map_err(io::Error::other)?;
            } else {
                Source::read_at(&self.file, at, part)?;
            }
            at = stop;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let own = self.file.next_data(from)?;
        let taken = self.taken.from(from).map(|taken| taken.start.max(from)..taken.end);
        Ok(match (own, taken) {
            (Some(own), Some(taken)) if taken.start < own.start => Some(taken),
            (Some(own), Some(taken)) => {
                Some(own.start..own.end.min(taken.start.max(own.start + 1)))
            }
            (own, taken) => own.or(taken),
        })
    }
}
