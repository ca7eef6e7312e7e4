//! OVA: a tar of an OVF, perhaps its digests, and the disks it names. Read in place; no member is
//! ever written anywhere, and no name in it is used but to find another member of it.

mod digests;
mod ovf;

use std::ops::Range;
use std::sync::Arc;

use crate::tar::{self, Member, Rules};
use crate::window::Window;
use crate::work::Work;
use crate::{Feature, Format, ImageError, Source};

const FORMAT: Format = Format::Ova;
/// All files lie in the top folder.
const RULES: Rules =
    Rules { format: FORMAT, most: MOST, hint: "a package has at most 1024 files", folders: false };
const MOST: usize = 1024;
/// The largest OVF, and the largest list of digests.
const MAX_TEXT: u64 = 1 << 20;

/// The disk's file inside the package, not opened yet.
pub(crate) struct Found {
    pub(crate) file: Box<dyn Source>,
    /// The same bytes, to look at.
    pub(crate) probe: Box<dyn Source>,
    /// What the OVF says of it.
    pub(crate) compression: Option<Format>,
    pub(crate) declared: Option<Format>,
    /// The most bytes the disk may have.
    pub(crate) capacity: Option<u64>,
}

/// Whether a tar is meant to be an OVA: its first file is an OVF.
pub(crate) fn is_one<S: Source + ?Sized>(source: &S) -> bool {
    tar::first(source, RULES).is_ok_and(|member| member.is_some_and(|member| is_ovf(&member.name)))
}

/// How many disks with data the package's OVF names.
pub(crate) fn count(source: &dyn Source, work: &Work<'_>) -> Result<usize, ImageError> {
    let members = tar::members(source, RULES, work)?;
    Ok(ovf::parse(&text(source, &members)?)?.disks.len())
}

/// The one OVF, which comes first.
fn text(source: &dyn Source, members: &[Member]) -> Result<Vec<u8>, ImageError> {
    let (first, rest) = members.split_first().ok_or_else(|| bad("the package is empty", 0))?;
    if rest.iter().any(|member| is_ovf(&member.name)) {
        return Err(bad("the package holds several OVFs", 0));
    }
    read(source, &first.data)
}

/// Finds disk `index` of the package, or its only one, and checks every digest on the way.
pub(crate) fn find(
    source: Box<dyn Source>,
    index: Option<usize>,
    work: &Work<'_>,
) -> Result<Found, ImageError> {
    let source: Arc<dyn Source> = Arc::from(source);
    let members = tar::members(&*source, RULES, work)?;
    let text = text(&*source, &members)?;
    let (first, rest) = members.split_first().ok_or_else(|| bad("the package is empty", 0))?;
    let package = ovf::parse(&text)?;
    let disk = match (index, package.disks.as_slice()) {
        (_, []) => return Err(bad("the OVF names no disk with data", first.data.start)),
        (None, [disk]) => disk,
        (None, several) => {
            let feature = Feature::SeveralDisks(several.len());
            return Err(ImageError::Feature { format: FORMAT, feature });
        }
        (Some(index), disks) => {
            let feature = Feature::NoSuchDisk(disks.len());
            disks.get(index).ok_or(ImageError::Feature { format: FORMAT, feature })?
        }
    };
    let file = package.file(disk)?;
    let member = rest.iter().find(|member| member.name == file.href);
    let member = member.ok_or_else(|| bad("the OVF names a file that is not there", 0))?;
    let range = member.data.clone();
    if file.size.is_some_and(|size| size != range.end - range.start) {
        return Err(bad("the OVF and the archive disagree on a file's size", range.start));
    }
    verify(&source, &members, member, &text, work)?;
    let window = Window { source, range };
    Ok(Found {
        probe: Box::new(window.clone()),
        file: Box::new(window),
        compression: file.compression,
        declared: disk.format,
        capacity: disk.capacity,
    })
}

/// Holds the OVF and the disk against the list of digests, if the package has one.
fn verify(
    source: &Arc<dyn Source>,
    members: &[Member],
    disk: &Member,
    ovf: &[u8],
    work: &Work<'_>,
) -> Result<(), ImageError> {
    let mut lists = members.iter().filter(|member| has_suffix(&member.name, b".mf"));
    let Some(list) = lists.next() else { return Ok(()) };
    if lists.next().is_some() {
        return Err(bad("the package holds several lists of digests", list.data.start));
    }
    let digests = digests::parse(&read(&**source, &list.data)?, list.data.start)?;
    for (member, text) in [(&members[0], Some(ovf)), (disk, None)] {
        let digest = digests.iter().find(|digest| digest.name == member.name);
        let Some(digest) = digest else {
            return Err(bad("the list of digests leaves a file out", list.data.start));
        };
        let mut hasher = digest.hasher();
        match text {
            Some(text) => hasher.update(text),
            None => each_piece(&**source, &member.data, work, &mut |piece| hasher.update(piece))?,
        }
        if !digest.holds(hasher) {
            return Err(bad("a file does not match its digest", member.data.start));
        }
    }
    Ok(())
}

fn each_piece(
    source: &dyn Source,
    range: &Range<u64>,
    work: &Work<'_>,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), ImageError> {
    let mut piece = vec![0; 256 << 10];
    let mut at = range.start;
    while at < range.end {
        work.tick(at)?;
        let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(piece.len());
        source.read_at(at, &mut piece[..len])?;
        take(&piece[..len]);
        at += len as u64;
    }
    Ok(())
}

fn read(source: &dyn Source, range: &Range<u64>) -> Result<Vec<u8>, ImageError> {
    let len = range.end - range.start;
    if len > MAX_TEXT {
        return Err(bad("the OVF or its digests are larger than 1 MiB", range.start));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    source.read_at(range.start, &mut bytes)?;
    Ok(bytes)
}

fn is_ovf(name: &[u8]) -> bool {
    has_suffix(name, b".ovf")
}

fn has_suffix(name: &[u8], suffix: &[u8]) -> bool {
    let at = name.len().checked_sub(suffix.len());
    at.is_some_and(|at| name[at..].eq_ignore_ascii_case(suffix))
}

pub(crate) fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}
