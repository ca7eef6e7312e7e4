//! The text inside a VMDK: understood line by line, or the file is refused.

use super::header::Header;
use super::{SECTOR, bad, refuse};
use crate::{Feature, ImageError, Source};

/// How the grains lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subformat {
    Sparse,
    Stream,
}

/// Reads the descriptor and holds it against the header. The name of the extent is looked at but
/// never used: the extent is this file.
pub(super) fn check(source: &dyn Source, header: &Header) -> Result<Subformat, ImageError> {
    let range = &header.descriptor;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    source.read_at(range.start, &mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if bytes[end..].iter().any(|byte| *byte != 0) {
        return Err(bad("the descriptor goes on behind its end", range.start + end as u64));
    }
    let mut found = Found::default();
    let mut at = range.start;
    for line in bytes[..end].split(|byte| *byte == b'\n') {
        found.line(line, at)?;
        at += line.len() as u64 + 1;
    }
    found.finish(header)
}

#[derive(Default)]
struct Found {
    title: bool,
    kind: Option<Subformat>,
    parent: bool,
    /// Its length in sectors.
    extent: Option<u64>,
}

impl Found {
    fn line(&mut self, line: &[u8], at: u64) -> Result<(), ImageError> {
        // Some tools write other alphabets' bytes into a name; a name is not used.
        if line.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r')) {
            return Err(bad("the descriptor holds control characters", at));
        }
        let line = line.trim_ascii();
        if !self.title {
            self.title = line.eq_ignore_ascii_case(b"# Disk DescriptorFile");
            return if self.title { Ok(()) } else { Err(bad("the descriptor has no title", at)) };
        }
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        if [&b"RW "[..], b"RDONLY ", b"NOACCESS "].iter().any(|word| line.starts_with(word)) {
            return self.extent(line, at);
        }
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            return Err(bad("a line of the descriptor is not understood", at));
        };
        let (key, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
        if !key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
            return Err(bad("a line of the descriptor is not understood", at));
        }
        let value = unquote(value);
        match key.to_ascii_lowercase().as_slice() {
            b"createtype" => {
                if self.kind.is_some() {
                    return Err(bad("the descriptor has two types", at));
                }
                self.kind = Some(match value {
                    b"monolithicSparse" => Subformat::Sparse,
                    b"streamOptimized" => Subformat::Stream,
                    _ => return refuse(Feature::ExternalExtents),
                });
            }
            b"parentcid" if value.eq_ignore_ascii_case(b"ffffffff") && !self.parent => {
                self.parent = true;
            }
            b"parentcid" | b"parentfilenamehint" => return refuse(Feature::Differencing),
            b"encryption.keysafe" | b"encryption.data" => return refuse(Feature::Encrypted),
            b"changetrackpath" => return refuse(Feature::ExternalExtents),
            _ => {}
        }
        Ok(())
    }

    /// `RW <sectors> SPARSE "<name>"`, once.
    fn extent(&mut self, line: &[u8], at: u64) -> Result<(), ImageError> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let (access, sectors) = (words.next(), words.next());
        let (kind, name) = (words.next(), words.next().unwrap_or_default().trim_ascii());
        if kind != Some(b"SPARSE") {
            return refuse(Feature::ExternalExtents);
        }
        let sectors = sectors.and_then(|text| str::from_utf8(text).ok()?.parse().ok());
        let plain = name.len() >= 2
            && name.starts_with(b"\"")
            && name.ends_with(b"\"")
            && !name[1..name.len() - 1].iter().any(|byte| b"/\\\"".contains(byte));
        if access != Some(b"RW") || sectors.is_none() || !plain {
            return Err(bad("the extent's line is not understood", at));
        }
        if self.extent.is_some() {
            return refuse(Feature::ExternalExtents);
        }
        self.extent = sectors;
        Ok(())
    }

    fn finish(self, header: &Header) -> Result<Subformat, ImageError> {
        let at = header.descriptor.start;
        let Some(kind) = self.kind else { return Err(bad("the descriptor has no type", at)) };
        match self.extent {
            None => Err(bad("the descriptor names no extent", at)),
            Some(sectors) if sectors.checked_mul(SECTOR) != Some(header.size) => {
                Err(bad("the extent and the header disagree on the size", at))
            }
            Some(_) => Ok(kind),
        }
    }
}

fn unquote(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}
