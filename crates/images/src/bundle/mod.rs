//! Bundles: an image and its disks as an OCI image layout, packed as a tar.
//!
//! `oci-layout` and `index.json` are those of the layout. The one manifest of artifact type
//! [`ARTIFACT`] has a config ([`CONFIG`]), which says what the image is and what the Merkle root
//! of each disk is, and as layers, disk after disk, a map ([`MAP`]) and the chunks it lists
//! ([`CHUNKS`]). Read in place: no member is ever written anywhere, and a name in it is used only
//! to find another member of it. Every blob is held to its SHA-256 before a byte of it is used;
//! whoever stores a disk holds it to its root.

mod config;
pub(crate) mod manifest;
mod map;

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use config::{DiskNote, Mapping, Note, Registration};
pub use map::{Record, chunk_bound};

pub(crate) use manifest::Descriptor;
use manifest::{Index, Manifest};
use map::Packed;

use crate::tar::{self, Member, Rules};
use crate::work::Work;
use crate::write::hex;
use crate::{Feature, Format, ImageError, Limits, Source};

/// The artifact type of our manifests.
pub const ARTIFACT: &str = "application/vnd.vmint.image.v1";
/// The media type of a config: a [`Note`] as JSON.
pub const CONFIG: &str = "application/vnd.vmint.image.config.v1+json";
/// The media type of a disk's map: [`Record`]s, ascending.
pub const MAP: &str = "application/vnd.vmint.image.map.v1";
/// The media type of chunks, one after the other as the map lists them.
pub const CHUNKS: &str = "application/vnd.vmint.image.chunks.v1";
/// The media type of an OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The most disks of one bundle.
pub const MAX_DISKS: usize = 64;
/// The most layers of one disk.
pub const MAX_LAYERS: u64 = 2048;

const FORMAT: Format = Format::Bundle;
const MARK: &[u8] = b"oci-layout";
const BLOBS: &str = "blobs/sha256/";
/// Of a disk each layer, its map; and the manifest, the config, the index and the mark.
const MOST: usize = 16_384;
const RULES: Rules =
    Rules { format: FORMAT, most: MOST, hint: "a bundle has at most 16384 files", folders: true };
/// The largest manifest, config or index.
const MAX_TEXT: u64 = 4 << 20;

/// Whether a tar is meant to be a bundle, by its first file.
pub(crate) fn is_one<S: Source + ?Sized>(source: &S) -> bool {
    let first = tar::first(source, RULES).ok().flatten();
    first.is_some_and(|member| {
        let name = member.name.as_slice();
        name == MARK || name == b"index.json" || name.starts_with(BLOBS.as_bytes())
    })
}

/// What a bundle holds, as its config says; the disks are not looked at.
///
/// Errors: those of [`crate::open`].
pub fn describe(source: impl Source + 'static, limits: &Limits) -> Result<Note, ImageError> {
    let detected = crate::detect(&source)?;
    if detected != FORMAT {
        return Err(ImageError::Mismatch { declared: FORMAT, detected });
    }
    Ok(Bundle::read(Arc::new(source), &Work::new(limits, None))?.note)
}

/// Opens disk `index` of the bundle, or its only one, and checks every digest on the way.
pub(crate) fn open(
    source: Box<dyn Source>,
    index: Option<usize>,
    work: &Work<'_>,
) -> Result<Packed, ImageError> {
    let bundle = Bundle::read(Arc::from(source), work)?;
    let count = bundle.disks.len();
    let feature = |feature| ImageError::Feature { format: FORMAT, feature };
    let index = match (index, count) {
        (Some(index), _) if index < count => index,
        (Some(_), _) => return Err(feature(Feature::NoSuchDisk(count))),
        (None, 1) => 0,
        (None, _) => return Err(feature(Feature::SeveralDisks(count))),
    };
    let Layout { map, layers } = &bundle.disks[index];
    let note = &bundle.note.disks[index];
    if note.size_bytes > work.limits.virtual_limit() {
        let limit = work.limits.virtual_limit();
        return Err(ImageError::TooLarge { size: note.size_bytes, limit });
    }
    let root = note.root().ok_or_else(|| bad("a root is not 64 hexadecimal digits", 0))?;
    let map = bundle.verified(map, work)?;
    let mut found = Vec::with_capacity(layers.len());
    for layer in layers {
        found.push(bundle.verified(layer, work)?);
    }
    Packed::open(bundle.source, map, found, (note.size_bytes, root), work)
}

/// A disk's blobs.
struct Layout {
    map: Descriptor,
    layers: Vec<Descriptor>,
}

struct Bundle {
    source: Arc<dyn Source>,
    /// By name.
    members: Vec<Member>,
    note: Note,
    disks: Vec<Layout>,
}

impl Bundle {
    fn read(source: Arc<dyn Source>, work: &Work<'_>) -> Result<Self, ImageError> {
        let mut members = tar::members(&*source, RULES, work)?;
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut bundle = Self { source, members, note: Note::default(), disks: Vec::new() };
        let mark = bundle.member(MARK, "the bundle has no `oci-layout`")?;
        manifest::check_mark(&bundle.text(&mark)?, mark.start)?;
        let index = bundle.member(b"index.json", "the bundle has no `index.json`")?;
        let Index { manifests } = manifest::parse(&bundle.text(&index)?, index.start)?;
        let mut ours = manifests.into_iter().filter(Descriptor::is_ours);
        let (Some(chosen), None) = (ours.next(), ours.next()) else {
            return Err(bad("the index does not name one image of ours", index.start));
        };
        let (text, at) = bundle.blob(&chosen, work)?;
        let Manifest { config, layers, .. } = manifest::manifest(&text, at)?;
        let (text, at) = bundle.blob(&config, work)?;
        bundle.note = manifest::parse(&text, at)?;
        bundle.note.check().map_err(|what| bad(what, at))?;
        bundle.disks = disks(layers, at)?;
        if bundle.disks.len() != bundle.note.disks.len() {
            return Err(bad("the manifest and the config disagree on the disks", at));
        }
        Ok(bundle)
    }

    fn member(&self, name: &[u8], missing: &'static str) -> Result<Range<u64>, ImageError> {
        let found = self.members.binary_search_by(|member| member.name.as_slice().cmp(name));
        found.map(|at| self.members[at].data.clone()).map_err(|_| bad(missing, 0))
    }

    /// Where a blob lies, which has the size that was said.
    fn find(&self, wanted: &Descriptor) -> Result<(Range<u64>, [u8; 32]), ImageError> {
        let digest = wanted.sha256().ok_or_else(|| bad("a digest is not a SHA-256", 0))?;
        let name = format!("{BLOBS}{}", hex(&digest));
        let range = self.member(name.as_bytes(), "a blob is missing")?;
        if range.end - range.start != wanted.size {
            return Err(bad("a blob has another size than is said", range.start));
        }
        Ok((range, digest))
    }

    /// Where a blob lies, once it has the digest it is named by.
    fn verified(&self, wanted: &Descriptor, work: &Work<'_>) -> Result<Range<u64>, ImageError> {
        let (range, digest) = self.find(wanted)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; 256 << 10];
        let mut at = range.start;
        while at < range.end {
            work.tick(at)?;
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(piece.len());
            self.source.read_at(at, &mut piece[..len])?;
            hash.update(&piece[..len]);
            at += len as u64;
        }
        if hash.finalize().as_slice() != digest {
            return Err(bad("a blob does not match its digest", range.start));
        }
        Ok(range)
    }

    /// A small blob, verified.
    fn blob(&self, wanted: &Descriptor, work: &Work<'_>) -> Result<(Vec<u8>, u64), ImageError> {
        if wanted.size > MAX_TEXT {
            return Err(bad("a manifest or config is larger than 4 MiB", 0));
        }
        let range = self.verified(wanted, work)?;
        Ok((self.text(&range)?, range.start))
    }

    fn text(&self, range: &Range<u64>) -> Result<Vec<u8>, ImageError> {
        let len = range.end - range.start;
        if len > MAX_TEXT {
            return Err(bad("a manifest, config or index is larger than 4 MiB", range.start));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_at(range.start, &mut bytes)?;
        Ok(bytes)
    }
}

/// The layers, disk by disk: a map begins each.
fn disks(layers: Vec<Descriptor>, at: u64) -> Result<Vec<Layout>, ImageError> {
    let mut disks: Vec<Layout> = Vec::new();
    for layer in layers {
        if layer.media_type == MAP {
            if disks.len() == MAX_DISKS {
                return Err(bad("there are too many disks", at));
            }
            disks.push(Layout { map: layer, layers: Vec::new() });
            continue;
        }
        let disk = disks
            .last_mut()
            .filter(|disk| layer.media_type == CHUNKS && (disk.layers.len() as u64) < MAX_LAYERS);
        let disk = disk.ok_or_else(|| bad("the layers are not maps, each with its chunks", at))?;
        disk.layers.push(layer);
    }
    Ok(disks)
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}
