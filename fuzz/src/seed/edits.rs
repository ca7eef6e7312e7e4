//! Inputs as changes to a valid file, so that a few bytes reach deep into megabytes.

use std::collections::BTreeMap;
use std::io;

use vmint_images::Source;

use super::{vhd, vhdx};

/// Bytes of one change: three of its place and one of its value.
const EDIT: usize = 4;
/// A first byte of this or more: the rest of the input is the file.
const WHOLE: u8 = 0x80;
/// Of the second byte: put checksums right; cut the file at the first change's place.
const SUMS: u8 = 1;
const CUT: u8 = 2;

/// A valid file with changes. The input's first byte picks the file, the second is flags, then
/// come the changes.
#[derive(Clone)]
pub struct Edited {
    base: &'static [u8],
    whole: Vec<u8>,
    len: usize,
    edits: BTreeMap<usize, u8>,
}

impl Edited {
    pub fn new(data: &[u8], bases: &'static [Vec<u8>]) -> Self {
        let none = BTreeMap::new();
        match data {
            [pick, flags, edits @ ..] if *pick < WHOLE => {
                let base = bases[usize::from(*pick) % bases.len()].as_slice();
                let mut file = Self { base, whole: Vec::new(), len: base.len(), edits: none };
                for (index, edit) in edits.as_chunks::<EDIT>().0.iter().enumerate() {
                    let at = usize::from(edit[0])
                        | usize::from(edit[1]) << 8
                        | usize::from(edit[2]) << 16;
                    if index == 0 && flags & CUT != 0 {
                        file.len = at.min(file.len);
                    }
                    if at < file.len {
                        file.edits.insert(at, edit[3]);
                    }
                }
                if flags & SUMS != 0 {
                    vhd::sums(&mut file);
                    vhdx::sums(&mut file);
                }
                file
            }
            _ => {
                let whole = data.get(1..).unwrap_or_default().to_vec();
                Self { base: &[], len: whole.len(), whole, edits: none }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// `len` bytes at `at`, if the file has them.
    pub fn get(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_at(at as u64, &mut bytes).ok()?;
        Some(bytes)
    }

    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        self.edits.extend(bytes.iter().enumerate().map(|(index, byte)| (at + index, *byte)));
    }
}

impl Source for Edited {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = at.checked_add(buf.len()).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let from = if self.base.is_empty() { &self.whole } else { self.base };
        buf.copy_from_slice(&from[at..end]);
        for (place, byte) in self.edits.range(at..end) {
            buf[place - at] = *byte;
        }
        Ok(())
    }
}

/// Each file whole (when it is small), untouched, and with a change at each of `places`.
pub fn seeds(bases: &[Vec<u8>], places: &[usize]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (index, base) in bases.iter().enumerate() {
        let pick = u8::try_from(index).unwrap_or(0);
        if base.len() <= 48 << 10 {
            seeds.push([&[WHOLE], base.as_slice()].concat());
        }
        seeds.push(vec![pick, SUMS]);
        let mut all = vec![pick, SUMS];
        for place in places {
            let at = place.to_le_bytes();
            let value = base.get(*place).copied().unwrap_or(0);
            all.extend([at[0], at[1], at[2], value]);
        }
        seeds.push(all);
    }
    seeds
}
