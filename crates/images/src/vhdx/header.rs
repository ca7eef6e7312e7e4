//! The two headers, of which the newer valid one counts.

use std::ops::Range;

use super::{KIB, MIB, bad, refuse, sum_holds};
use crate::field::Le;
use crate::{Feature, ImageError, Source};

const PLACES: [u64; 2] = [64 * KIB, 128 * KIB];
const LEN: usize = 4096;

/// The log, if there is one.
pub(super) struct Log {
    pub(super) at: Range<u64>,
    /// Of the run of writes in it that may not be in place yet.
    pub(super) run: Option<[u8; 16]>,
}

/// Reads the header that counts.
pub(super) fn current(source: &dyn Source) -> Result<Option<Log>, ImageError> {
    let mut newest: Option<([u8; LEN], u64)> = None;
    for at in PLACES {
        let mut bytes = [0; LEN];
        source.read_at(at, &mut bytes)?;
        if !bytes.starts_with(b"head") || !sum_holds(&mut bytes) {
            continue;
        }
        let sequence = |bytes: &[u8]| Le(bytes).u64(8);
        match &newest {
            Some((other, _)) if sequence(other) == sequence(&bytes) && other[8..] != bytes[8..] => {
                return Err(bad("two headers claim to be the newest", at));
            }
            Some((other, _)) if sequence(other) >= sequence(&bytes) => {}
            _ => newest = Some((bytes, at)),
        }
    }
    let Some((header, at)) = newest else {
        return Err(bad("neither header is valid", PLACES[0]));
    };
    let fields = Le(&header);
    if fields.u16(66) != 1 {
        return refuse(Feature::Version(u32::from(fields.u16(66))));
    }
    let run = header[48..64].first_chunk().copied().filter(|id| *id != [0; 16]);
    let (len, offset) = (u64::from(fields.u32(68)), fields.u64(72));
    if len == 0 {
        return match run {
            Some(_) => Err(bad("the log is not empty and nowhere", at + 48)),
            None => Ok(None),
        };
    }
    let end = offset.checked_add(len).filter(|end| *end <= source.len());
    match end {
        Some(end) if offset >= MIB && offset.is_multiple_of(MIB) && len.is_multiple_of(MIB) => {
            Ok(Some(Log { at: offset..end, run }))
        }
        _ => Err(bad("the log is unaligned or outside the file", at + 68)),
    }
}
