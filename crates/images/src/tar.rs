//! The headers of a tar, walked without taking anything out of it.

use std::collections::HashSet;
use std::ops::Range;

use crate::work::Work;
use crate::{Format, ImageError, Source};

const BLOCK: u64 = 512;
const BLOCK_LEN: usize = 512;
/// The most bytes of a long name or of a member's extended header.
const MAX_EXTENDED: u64 = 64 << 10;
/// What eleven octal digits hold; larger sizes are in the extended header alone.
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// What an archive of a format may look like.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) format: Format,
    /// The most files it may have.
    pub(crate) most: usize,
    /// What to say when there are more.
    pub(crate) hint: &'static str,
    /// Whether files may lie in folders.
    pub(crate) folders: bool,
}

impl Rules {
    fn bad(&self, what: &'static str, at: u64) -> ImageError {
        ImageError::Malformed { format: self.format, what, at }
    }

    /// Whether this is the name of a file inside the archive, whoever reads it.
    fn allow(&self, name: &[u8]) -> bool {
        let plain = |part: &[u8]| {
            let odd = part.iter().any(|byte| *byte == b'\\' || byte.is_ascii_control());
            !part.is_empty() && part != b".." && part != b"." && !odd
        };
        let mut parts = name.split(|byte| *byte == b'/');
        parts.all(plain) && (self.folders || !name.contains(&b'/'))
    }
}

/// A plain file in the archive.
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) data: Range<u64>,
}

/// All members, if they are plain files where the rules allow them and none comes twice.
pub(crate) fn members(
    source: &dyn Source,
    rules: Rules,
    work: &Work<'_>,
) -> Result<Vec<Member>, ImageError> {
    let mut walk = Walk { source, rules, at: 0, headers: 0 };
    let mut members: Vec<Member> = Vec::new();
    let mut names = HashSet::new();
    while let Some(member) = walk.next()? {
        work.tick(walk.at)?;
        if members.len() >= rules.most {
            let (limit, hint) = (work.limits.max_memory, rules.hint);
            return Err(ImageError::TooComplex { limit, hint });
        }
        if !names.insert(member.name.clone()) {
            return Err(rules.bad("two files of the archive have one name", member.data.start));
        }
        members.push(member);
    }
    Ok(members)
}

/// The first member.
pub(crate) fn first<S: Source + ?Sized>(
    source: &S,
    rules: Rules,
) -> Result<Option<Member>, ImageError> {
    Walk { source, rules, at: 0, headers: 0 }.next()
}

struct Walk<'a, S: ?Sized> {
    source: &'a S,
    rules: Rules,
    at: u64,
    headers: usize,
}

/// What headers in front of a member say of it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<S: Source + ?Sized> Walk<'_, S> {
    fn bad(&self, what: &'static str, at: u64) -> ImageError {
        self.rules.bad(what, at)
    }

    fn next(&mut self) -> Result<Option<Member>, ImageError> {
        let mut extended = Extended::default();
        loop {
            let at = self.at;
            let Some(header) = self.header()? else { return Ok(None) };
            self.headers += 1;
            if self.headers > 3 * self.rules.most {
                return Err(self.bad("the archive has too many headers", at));
            }
            let size = number(&header[124..136]);
            let size = size.ok_or_else(|| self.bad("a size is not a number", at + 124))?;
            match header[156] {
                b'0' | 0 => return self.member(&header, at, size, extended).map(Some),
                b'x' => self.pax(size, &mut extended)?,
                // Says things of all members: none that we need, and none that we would believe.
                b'g' => self.pax(size, &mut Extended { name: Some(Vec::new()), size: Some(0) })?,
                // A folder has no bytes and is never made.
                b'5' if self.rules.folders && size == 0 => {}
                b'L' if extended.name.is_none() => {
                    let mut name = self.take(size)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extended.name = Some(name);
                }
                _ => {
                    let what = "the archive holds a link, a device, a folder or a sparse file";
                    return Err(self.bad(what, at + 156));
                }
            }
        }
    }

    /// The next header, unless the archive ends here.
    fn header(&mut self) -> Result<Option<[u8; BLOCK_LEN]>, ImageError> {
        if self.at == self.source.len() {
            return Ok(None);
        }
        let mut header = [0; BLOCK_LEN];
        if self.at + BLOCK > self.source.len() {
            return Err(self.bad("the archive is cut short", self.at));
        }
        self.source.read_at(self.at, &mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = header[148..156].iter().map(|byte| u64::from(*byte)).sum();
        if number(&header[148..156]) != Some(sum - own + 8 * u64::from(b' ')) {
            return Err(self.bad("a header's checksum is wrong", self.at + 148));
        }
        self.at += BLOCK;
        Ok(Some(header))
    }

    fn member(
        &mut self,
        header: &[u8; BLOCK_LEN],
        at: u64,
        size: u64,
        extended: Extended,
    ) -> Result<Member, ImageError> {
        let size = match extended.size {
            None => size,
            Some(real) if real == size => real,
            // The header cannot hold it: then it must not pretend to.
            Some(real) if real > MAX_OCTAL && matches!(size, 0 | MAX_OCTAL) => real,
            Some(_) => return Err(self.bad("a file has two sizes", at + 124)),
        };
        let name = extended.name.unwrap_or_else(|| name(header));
        let name = name.strip_prefix(b"./").map_or(name.clone(), <[u8]>::to_vec);
        if !self.rules.allow(&name) {
            return Err(self.bad("a file's name is a path", at));
        }
        Ok(Member { name, data: self.skip(size)? })
    }

    /// Passes over `size` bytes and what fills up their last block.
    fn skip(&mut self, size: u64) -> Result<Range<u64>, ImageError> {
        let start = self.at;
        let end = start.checked_add(size).filter(|end| *end <= self.source.len());
        let end =
            end.ok_or_else(|| self.bad("a file runs past the archive's end", start - BLOCK))?;
        // Some tools leave out what would fill the very last block.
        self.at = end.next_multiple_of(BLOCK).min(self.source.len());
        Ok(start..end)
    }

    fn take(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        if size > MAX_EXTENDED {
            return Err(self.bad("an extended header is larger than 64 KiB", self.at));
        }
        let range = self.skip(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.source.read_at(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Records such as `27 path=disk-of-mine.vmdk\n`; the number is the record's length.
    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<(), ImageError> {
        let at = self.at;
        let bytes = self.take(size)?;
        let rules = self.rules;
        let wrong = || rules.bad("an extended header is not understood", at);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let len = decimal(&rest[..space]).and_then(|len| usize::try_from(len).ok());
            let len = len.filter(|len| *len > space + 1 && *len <= rest.len()).ok_or_else(wrong)?;
            let (record, after) = rest.split_at(len);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let again = match key {
                b"path" => extended.name.replace(value.to_vec()).is_some(),
                b"size" => extended.size.replace(decimal(value).ok_or_else(wrong)?).is_some(),
                _ => key.starts_with(b"GNU.sparse") || key == b"linkpath",
            };
            if again {
                return Err(self.bad("an extended header says too much", at));
            }
            rest = after;
        }
        Ok(())
    }
}

/// The name in a header; POSIX puts what is long in two fields.
fn name(header: &[u8; BLOCK_LEN]) -> Vec<u8> {
    let text = |field: &[u8]| field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, name].join(&b'/');
    }
    name
}

/// Octal digits, or a binary number marked by its highest bit.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field.iter().enumerate().map(|(i, b)| if i == 0 { b & 0x7f } else { *b });
        return bytes.into_iter().try_fold(0u64, |value, byte| {
            value.checked_mul(256).map(|value| value | u64::from(byte))
        });
    }
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + u64::from(byte - b'0')),
        _ => None,
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}
