//! The last 512 bytes of a VHD, and their copy at the start of a dynamic one.

use super::{FORMAT, bad};
use crate::field::Be;
use crate::{Feature, ImageError, Source};

const LEN: usize = 512;
const COOKIE: &[u8] = b"conectix";
const VERSION: u32 = 0x0001_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    /// Of the disk, in bytes.
    pub(super) size: u64,
    /// Where the dynamic header lies.
    pub(super) data_offset: u64,
}

/// The footer and where it starts: 512 bytes before the end, or 511 in very old files.
pub(super) fn find(source: &dyn Source) -> Result<(Footer, u64), ImageError> {
    let len = source.len();
    let mut bytes = [0; LEN];
    for size in [LEN, LEN - 1] {
        let Some(at) = len.checked_sub(size as u64) else { continue };
        bytes.fill(0);
        source.read_at(at, &mut bytes[..size])?;
        if bytes.starts_with(COOKIE) {
            return Ok((parse(&bytes, at)?, at));
        }
    }
    Err(bad("the footer is missing: the file is cut short", len))
}

/// A dynamic disk begins with the same footer; where they differ one of them lies.
pub(super) fn check_copy(source: &dyn Source, footer: &Footer) -> Result<(), ImageError> {
    let mut bytes = [0; LEN];
    source.read_at(0, &mut bytes)?;
    if !bytes.starts_with(COOKIE) || parse(&bytes, 0)? != *footer {
        return Err(bad("the footer and its copy at the start differ", 0));
    }
    Ok(())
}

fn parse(bytes: &[u8; LEN], at: u64) -> Result<Footer, ImageError> {
    let fields = Be(bytes);
    if checksum(bytes, 64) != fields.u32(64) {
        return Err(bad("the footer's checksum is wrong", at + 64));
    }
    let refuse = |feature| Err(ImageError::Feature { format: FORMAT, feature });
    if fields.u32(12) != VERSION {
        return refuse(Feature::Version(fields.u32(12) >> 16));
    }
    let kind = match fields.u32(60) {
        2 => Kind::Fixed,
        3 => Kind::Dynamic,
        4 => return refuse(Feature::Differencing),
        _ => return Err(bad("the disk's type is none that exists", at + 60)),
    };
    if bytes[84] != 0 {
        return refuse(Feature::SavedState);
    }
    Ok(Footer { kind, size: fields.u64(48), data_offset: fields.u64(16) })
}

/// The ones' complement of the sum of all bytes but the four of the sum itself.
pub(crate) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(&bytes[..at]) + sum(&bytes[at + 4..]))
}
