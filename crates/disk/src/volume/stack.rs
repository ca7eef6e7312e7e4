//! A base and the layers over it, at one moment.

use std::io;
use std::sync::Arc;

use crate::crypt::Crypt;
use crate::layer::Layer;
use crate::map::State;
use crate::{BLOCK, Base, DiskError};

/// What a stretch of a volume is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// It may hold anything.
    Data,
    /// It reads zero; somebody wrote that.
    Zero,
    /// It reads zero; nobody ever wrote there.
    Hole,
}

#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) size: u64,
    pub(crate) base: Option<Arc<dyn Base>>,
    pub(crate) label: Option<String>,
    /// Oldest first.
    pub(crate) layers: Vec<Arc<Layer>>,
    /// None: the layers are not encrypted.
    pub(crate) crypt: Option<Arc<Crypt>>,
}

/// Where a stretch comes from.
pub(crate) enum From<'a> {
    Layer(&'a Layer),
    Zero,
    Base(&'a dyn Base),
    Nothing,
}

impl Stack {
    pub(crate) fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the range is outside the volume"))
            }
        }
    }

    /// Where the byte at `offset` comes from, and the end of the stretch from there that does,
    /// no later than `end` (inside the volume).
    pub(crate) fn source(&self, offset: u64, end: u64) -> (From<'_>, u64) {
        let block = offset / BLOCK;
        let mut last = end.div_ceil(BLOCK);
        for layer in self.layers.iter().rev() {
            let (state, run) = layer.run(block, last);
            let until = (run * BLOCK).min(end);
            match state {
                State::Data => return (From::Layer(layer), until),
                State::Zero => return (From::Zero, until),
                State::Absent => last = run,
            }
        }
        let end = (last * BLOCK).min(end);
        match &self.base {
            Some(base) if offset < base.size() => (From::Base(&**base), end.min(base.size())),
            _ => (From::Nothing, end),
        }
    }

    /// Fills `buf`; the range lies inside the volume.
    pub(crate) fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let (from, end) = self.source(offset, offset + buf.len() as u64);
            let len = usize::try_from(end - offset).unwrap_or(buf.len()).min(buf.len());
            let (part, rest) = buf.split_at_mut(len);
            match from {
                From::Layer(layer) => layer.read_at(offset, part)?,
                From::Base(base) => base.read_at(offset, part)?,
                From::Zero | From::Nothing => part.fill(0),
            }
            offset = end;
            buf = rest;
        }
        Ok(())
    }

    /// What stands at `offset` and up to where, no later than `end`.
    pub(crate) fn extent(&self, offset: u64, end: u64) -> io::Result<(Extent, u64)> {
        let (from, end) = self.source(offset, end);
        Ok(match from {
            From::Layer(_) => (Extent::Data, end),
            From::Zero => (Extent::Zero, end),
            From::Nothing => (Extent::Hole, end),
            From::Base(base) => {
                let span = base.span(offset)?;
                let end = span.end.clamp(offset + 1, end);
                (if span.data { Extent::Data } else { Extent::Hole }, end)
            }
        })
    }

    /// The newest layer, the one that is written to.
    pub(crate) fn top(&self) -> io::Result<&Arc<Layer>> {
        // A stack is never made without a layer.
        self.layers.last().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn check_base(&self) -> Result<(), DiskError> {
        let too_small = self.base.as_ref().is_some_and(|base| base.size() > self.size);
        if too_small { Err(DiskError::BadSize(self.size)) } else { Ok(()) }
    }
}
