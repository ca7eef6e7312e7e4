//! The two region tables, which must agree.

use std::ops::Range;

use super::{KIB, MIB, bad, refuse, sum_holds};
use crate::field::Le;
use crate::{Feature, ImageError, Source};

const PLACES: [u64; 2] = [192 * KIB, 256 * KIB];
const LEN: usize = 64 << 10;
const MOST: u32 = 2047;
const BAT: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
const METADATA: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";

pub(super) struct Regions {
    pub(super) bat: Range<u64>,
    pub(super) metadata: Range<u64>,
    /// Regions we need not understand.
    pub(super) other: Vec<Range<u64>>,
}

pub(super) fn regions(source: &dyn Source) -> Result<Regions, ImageError> {
    let mut table = None;
    for at in PLACES {
        let mut bytes = vec![0; LEN];
        source.read_at(at, &mut bytes)?;
        if !bytes.starts_with(b"regi") || !sum_holds(&mut bytes) {
            continue;
        }
        match &table {
            None => table = Some((bytes, at)),
            Some((first, _)) if *first != bytes => {
                return Err(bad("the two region tables differ", at));
            }
            Some(_) => {}
        }
    }
    let Some((table, at)) = table else {
        return Err(bad("neither region table is valid", PLACES[0]));
    };
    parse(&table, at, source.len())
}

fn parse(table: &[u8], at: u64, file_len: u64) -> Result<Regions, ImageError> {
    let count = Le(table).u32(8);
    if count > MOST {
        return Err(bad("the region table has too many entries", at + 8));
    }
    let (mut bat, mut metadata, mut other) = (None, None, Vec::new());
    let entries = table[16..].as_chunks::<32>().0.iter();
    for (index, entry) in entries.take(count as usize).enumerate() {
        let at = at + 16 + index as u64 * 32;
        let fields = Le(entry);
        let (start, len) = (fields.u64(16), u64::from(fields.u32(24)));
        let end = start.checked_add(len).filter(|end| *end <= file_len);
        let aligned = start >= MIB && start.is_multiple_of(MIB) && len.is_multiple_of(MIB);
        let Some(end) = end.filter(|_| aligned && len > 0) else {
            return Err(bad("a region is unaligned or outside the file", at));
        };
        let again = match &entry[..16] {
            id if *id == BAT => bat.replace(start..end).is_some(),
            id if *id == METADATA => metadata.replace(start..end).is_some(),
            _ if fields.u32(28) & 1 != 0 => {
                return refuse(Feature::Unknown(fields.u64(0)));
            }
            _ => {
                other.push(start..end);
                false
            }
        };
        if again {
            return Err(bad("a region is named twice", at));
        }
    }
    match (bat, metadata) {
        (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata, other }),
        _ => Err(bad("the block table or the metadata is missing", at)),
    }
}
