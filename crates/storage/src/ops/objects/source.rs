use std::{fs::File, io, os::unix::fs::FileExt as _, path::PathBuf};

use vmint_images::Source;

use crate::{Result, Storage, object::Object};

/// Files of one object that are held open, so that it is read whole although
/// it is replaced meanwhile. Of others each is opened as it is read.
const OPEN: usize = 64;

/// An object as an image's source.
#[derive(Debug)]
pub(crate) struct ObjectFile {
    /// In their order, each with where it ends in the object.
    parts: Vec<(u64, Part)>,
}

#[derive(Debug)]
enum Part {
    Open(File),
    At(PathBuf),
}

impl ObjectFile {
    /// Opens what an object lies in. Blocks.
    pub(crate) fn open(storage: &Storage, object: &Object) -> Result<Self> {
        let mut end = 0;
        let mut parts = Vec::with_capacity(object.segments.len());
        for (n, segment) in object.segments.iter().enumerate() {
            end += segment.bytes;
            let path = storage.object_file(segment.file);
            let part = if n < OPEN { Part::Open(File::open(path)?) } else { Part::At(path) };
            parts.push((end, part));
        }
        Ok(Self { parts })
    }
}

impl Source for ObjectFile {
    fn len(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let n = self.parts.partition_point(|(end, _)| *end <= at);
            let (end, part) = self.parts.get(n).ok_or(io::ErrorKind::UnexpectedEof)?;
            let start = n.checked_sub(1).map_or(0, |before| self.parts[before].0);
            let here = usize::try_from(end - at).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            match part {
                Part::Open(file) => file.read_exact_at(now, at - start)?,
                Part::At(path) => File::open(path)?.read_exact_at(now, at - start)?,
            }
            at += here as u64;
            rest = later;
        }
        Ok(())
    }
}
