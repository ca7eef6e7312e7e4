//! From a file to the disk in it: layer by layer, each declared or found out.

use std::fmt;
use std::path::Path;

use crate::disk::Reader;
use crate::work::{Watch, Work};
use crate::{Disk, Feature, Format, ImageError, Limits, Source};
use crate::{bundle, detect, ova, qcow2, raw, stream, vdi, vhd, vhdx, vmdk};

/// How an image is to be opened.
///
/// ```
/// # use vmint_images::{Format, Limits, Opener};
/// let limits = Limits::default();
/// let dir = std::env::temp_dir();
/// let disk = Opener::new(&limits).declared(Some(Format::Raw)).staging(&dir).open(vec![7; 512]);
/// assert_eq!(disk?.size_bytes(), 512);
/// # Ok::<(), vmint_images::ImageError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    limits: &'a Limits,
    declared: Option<Format>,
    staging: Option<&'a Path>,
    disk: Option<usize>,
    watch: Option<Watch<'a>>,
}

impl<'a> Opener<'a> {
    /// Opens within `limits` what needs no other file.
    #[must_use]
    pub fn new(limits: &'a Limits) -> Self {
        Self { limits, declared: None, staging: None, disk: None, watch: None }
    }

    /// What the sender says the file is, compression aside; the bytes must agree.
    #[must_use]
    pub fn declared(self, declared: Option<Format>) -> Self {
        Self { declared, ..self }
    }

    /// The folder where a compressed file may be unfolded, into a file without a name.
    #[must_use]
    pub fn staging(self, dir: &'a Path) -> Self {
        Self { staging: Some(dir), ..self }
    }

    /// Which disk of an OVA or a bundle is wanted, counted from 0; without it there must be only one.
    #[must_use]
    pub fn disk(self, index: usize) -> Self {
        Self { disk: Some(index), ..self }
    }

    /// Asked now and then with the bytes worked through; `false` ends in
    /// [`ImageError::Cancelled`].
    #[must_use]
    pub fn watch(self, watch: &'a dyn Fn(u64) -> bool) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Opens `source` as a disk after checking all of its structure.
    ///
    /// A file that matches no known format is a raw disk; it is rounded up to 512 bytes, the rest
    /// reads zero. Errors: any [`ImageError`] but `OutOfRange`.
    pub fn open(&self, source: impl Source + 'static) -> Result<Disk, ImageError> {
        let work = Work::new(self.limits, self.watch);
        self.outer(Box::new(source), &work)
    }

    /// Opens `source` as a raw disk whatever its bytes look like: it comes from where that is known.
    ///
    /// Errors: [`ImageError::Empty`], [`ImageError::TooLarge`].
    pub fn open_raw(&self, source: impl Source + 'static) -> Result<Disk, ImageError> {
        let raw = raw::Raw::open(Box::new(source), self.limits)?;
        Ok(Disk::new(Box::new(raw), vec![Format::Raw]))
    }

    /// The file as it was sent: perhaps compressed.
    fn outer(&self, source: Box<dyn Source>, work: &Work<'_>) -> Result<Disk, ImageError> {
        let detected = detect::only(&detect::all(&*source)?)?;
        let Some(dir) = self.staging.filter(|_| detected.is_compression()) else {
            return self.inner(source, detected, self.declared, Vec::new(), work);
        };
        let declared = self.declared.filter(|declared| *declared != detected);
        let unfolded = stream::unfold(&*source, detected, dir, work)?;
        let within = inside(&unfolded)?;
        self.inner(Box::new(unfolded), within, declared, vec![detected], work)
    }

    /// A file that is not compressed: a disk, or a package of disks.
    fn inner(
        &self,
        source: Box<dyn Source>,
        detected: Format,
        declared: Option<Format>,
        mut layers: Vec<Format>,
        work: &Work<'_>,
    ) -> Result<Disk, ImageError> {
        agree(declared, detected)?;
        layers.push(detected);
        if detected == Format::Bundle {
            return Ok(Disk::new(Box::new(bundle::open(source, self.disk, work)?), layers));
        }
        if detected != Format::Ova {
            return disk(source, detected, layers, work);
        }
        let found = ova::find(source, self.disk, work)?;
        let (mut file, mut detected) = (found.file, detect::only(&detect::all(&*found.probe)?)?);
        match (found.compression, self.staging) {
            (None, _) if detected.is_compression() => {
                return Err(ova::bad("a file is compressed and the OVF does not say so", 0));
            }
            (None, _) => {}
            (Some(_), _) if layers.iter().any(|layer| layer.is_compression()) => {
                return Err(ImageError::Feature { format: detected, feature: Feature::Twice });
            }
            (Some(compression), Some(dir)) => {
                agree(Some(compression), detected)?;
                let unfolded = stream::unfold(&*file, detected, dir, work)?;
                layers.push(detected);
                detected = inside(&unfolded)?;
                file = Box::new(unfolded);
            }
            (Some(format), None) => return Err(ImageError::Unsupported { format }),
        }
        if matches!(detected, Format::Ova | Format::Bundle) {
            return Err(ova::bad("the package's disk is a package again", 0));
        }
        agree(found.declared, detected)?;
        layers.push(detected);
        let disk = disk(file, detected, layers, work)?;
        if found.capacity.is_some_and(|capacity| disk.size_bytes() > capacity) {
            return Err(ova::bad("the disk is larger than the OVF says", 0));
        }
        Ok(disk)
    }
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("limits", &self.limits)
            .field("declared", &self.declared)
            .field("staging", &self.staging)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

fn disk(
    source: Box<dyn Source>,
    format: Format,
    layers: Vec<Format>,
    work: &Work<'_>,
) -> Result<Disk, ImageError> {
    let reader: Box<dyn Reader> = match format {
        Format::Raw => Box::new(raw::Raw::open(source, work.limits)?),
        Format::Qcow2 => Box::new(qcow2::Qcow2::open(source, work)?),
        Format::Vmdk => vmdk::open(source, work)?,
        Format::Vhd => vhd::open(source, work)?,
        Format::Vhdx => Box::new(vhdx::open(source, work)?),
        Format::Vdi => Box::new(vdi::open(source, work)?),
        format => return Err(ImageError::Unsupported { format }),
    };
    Ok(Disk::new(reader, layers))
}

fn agree(declared: Option<Format>, detected: Format) -> Result<(), ImageError> {
    match declared {
        Some(declared) if declared != detected => Err(ImageError::Mismatch { declared, detected }),
        _ => Ok(()),
    }
}

/// What a compressed stream holds; another compressed one is a bomb's trick.
fn inside(unfolded: &std::fs::File) -> Result<Format, ImageError> {
    let format = detect::only(&detect::all(unfolded)?)?;
    if format.is_compression() {
        return Err(ImageError::Feature { format, feature: Feature::Twice });
    }
    Ok(format)
}
