//! Bundles: chunks of disks, their maps and what they are, as an OCI image layout in a tar.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::tar::{BLOCK, header};
use super::{WriteError, hex};
use crate::Source;
use crate::bundle::{
    self, CHUNKS, CONFIG, Descriptor, DiskNote, MANIFEST, MAP, MAX_LAYERS, Note, Record,
    Registration, manifest,
};

/// The grid of chunks, bytes, and the span of a region, in blocks.
const GRID: u64 = 4096;
const REGION: u64 = 4096;

/// Writes a bundle, chunk by chunk. It holds one chunk and 40 bytes a layer; a disk's map grows
/// in a file without a name. The same disks and words are the same bytes each time.
///
/// ```
/// # use vmint_images::{Limits, Opener, write::BundleWriter};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = std::env::temp_dir();
/// let mut out = BundleWriter::new(tempfile::tempfile_in(&dir)?, &dir);
/// out.begin_disk(1 << 20)?;
/// out.chunk(3, &[7; 4096])?;
/// out.end_disk([9; 32])?;
/// let file = out.finish(None)?;
/// let disk = Opener::new(&Limits::default()).open(file)?;
/// assert_eq!((disk.size_bytes(), disk.promised()), (1 << 20, Some([9; 32])));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BundleWriter {
    tar: Tar,
    staging: PathBuf,
    layers: Vec<Descriptor>,
    disks: Vec<DiskNote>,
    disk: Option<Disk>,
}

/// The disk under way.
#[derive(Debug)]
struct Disk {
    size: u64,
    /// Regions of one layer.
    span: u64,
    /// The layer that is open.
    layer: Option<u64>,
    chunks: Vec<Descriptor>,
    map: File,
    map_bytes: u64,
    records: Vec<u8>,
    /// Bytes of chunks so far, and where the next one may begin.
    offset: u64,
    free: u64,
}

impl BundleWriter {
    /// Into `file`, which is empty; `staging` is where maps grow.
    #[must_use]
    pub fn new(file: File, staging: &Path) -> Self {
        let tar = Tar { file, at: 0, open: None, names: HashSet::new() };
        let (layers, disks) = (Vec::new(), Vec::new());
        Self { tar, staging: staging.to_owned(), layers, disks, disk: None }
    }

    /// Begins the next disk, of `size` bytes.
    ///
    /// Errors: [`WriteError::Io`], also if the disk before has not ended or the size is not a
    /// multiple of 512.
    pub fn begin_disk(&mut self, size: u64) -> Result<(), WriteError> {
        if self.disk.is_some() || size == 0 || !size.is_multiple_of(512) {
            return Err(misuse());
        }
        if self.disks.is_empty() {
            // First, so that the file can be told from other tars.
            let mark = manifest::mark().map_err(io::Error::other)?;
            self.tar.file("oci-layout", &mark)?;
        }
        let regions = size.div_ceil(GRID * REGION);
        self.disk = Some(Disk {
            size,
            span: regions.div_ceil(MAX_LAYERS),
            layer: None,
            chunks: Vec::new(),
            map: tempfile::tempfile_in(&self.staging)?,
            map_bytes: 0,
            records: Vec::new(),
            offset: 0,
            free: 0,
        });
        Ok(())
    }

    /// Adds a chunk that begins at block `first`, of whole blocks, at most 64, within one region
    /// of 4096; chunks ascend.
    pub fn chunk(&mut self, first: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let disk = self.disk.as_mut().ok_or_else(misuse)?;
        let blocks = u8::try_from(bytes.len() as u64 / GRID).unwrap_or(u8::MAX);
        let end = first.saturating_add(u64::from(blocks));
        let fits = (1..=64).contains(&blocks)
            && bytes.len() as u64 == bundle::chunk_bound(blocks)
            && first >= disk.free
            && first % REGION + u64::from(blocks) <= REGION
            && end <= disk.size.div_ceil(GRID);
        if !fits {
            return Err(misuse());
        }
        let layer = first / REGION / disk.span;
        if disk.layer != Some(layer) {
            if disk.layer.is_some() {
                disk.chunks.push(self.tar.end_blob(CHUNKS)?);
            }
            self.tar.begin_blob();
            disk.layer = Some(layer);
        }
        let small = zstd::bulk::compress(bytes, 1)?;
        let zstd = small.len() < bytes.len();
        let stored = if zstd { small.as_slice() } else { bytes };
        self.tar.put(stored)?;
        let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let record = Record { first, blocks, zstd, offset: disk.offset, stored: length };
        disk.records.extend(record.encode());
        (disk.offset, disk.free) = (disk.offset + u64::from(length), end);
        if disk.records.len() >= 256 << 10 { disk.keep() } else { Ok(()) }
    }

    /// Ends the disk, whose bytes have this Merkle root.
    pub fn end_disk(&mut self, root: [u8; 32]) -> Result<(), WriteError> {
        let mut disk = self.disk.take().ok_or_else(misuse)?;
        if disk.layer.is_some() {
            disk.chunks.push(self.tar.end_blob(CHUNKS)?);
        }
        disk.keep()?;
        self.tar.begin_blob();
        let mut piece = vec![0; 256 << 10];
        let mut at = 0;
        while at < disk.map_bytes {
            let len = usize::try_from(disk.map_bytes - at).unwrap_or(usize::MAX).min(piece.len());
            Source::read_at(&disk.map, at, &mut piece[..len])?;
            self.tar.put(&piece[..len])?;
            at += len as u64;
        }
        self.layers.push(self.tar.end_blob(MAP)?);
        self.layers.append(&mut disk.chunks);
        self.disks.push(DiskNote::new(disk.size, root));
        Ok(())
    }

    /// Ends the bundle with what its image is registered as. The file is not synchronised.
    pub fn finish(mut self, image: Option<Registration>) -> Result<File, WriteError> {
        if self.disk.is_some() || self.disks.is_empty() {
            return Err(misuse());
        }
        let name = image.as_ref().map_or_else(|| "disk".to_owned(), |image| image.name.clone());
        let note = Note::new(image, self.disks);
        let config = serde_json::to_vec(&note).map_err(io::Error::other)?;
        let config = self.tar.blob(CONFIG, &config)?;
        let manifest = manifest::write(&config, &self.layers).map_err(io::Error::other)?;
        let mut manifest = self.tar.blob(MANIFEST, &manifest)?;
        bundle::ARTIFACT.clone_into(&mut manifest.artifact_type);
        let index = manifest::index(&manifest, &name).map_err(io::Error::other)?;
        self.tar.file("index.json", &index)?;
        Ok(self.tar.finish()?)
    }
}

impl Disk {
    /// Moves records from memory to the map's file.
    fn keep(&mut self) -> Result<(), WriteError> {
        self.map.write_all_at(&self.records, self.map_bytes)?;
        self.map_bytes += self.records.len() as u64;
        self.records.clear();
        Ok(())
    }
}

/// A tar whose blobs are named once their bytes are known.
#[derive(Debug)]
struct Tar {
    file: File,
    at: u64,
    /// The blob under way: where its header goes, and its hash so far.
    open: Option<(u64, Sha256)>,
    /// The blobs that are there: no name comes twice.
    names: HashSet<[u8; 32]>,
}

impl Tar {
    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(&header(name, bytes.len() as u64), self.at)?;
        self.file.write_all_at(bytes, self.at + BLOCK)?;
        self.at += BLOCK + bytes.len() as u64;
        self.fill()
    }

    fn begin_blob(&mut self) {
        self.open = Some((self.at, Sha256::new()));
        self.at += BLOCK;
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (_, hash) = self.open.as_mut().ok_or(io::ErrorKind::InvalidInput)?;
        hash.update(bytes);
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn end_blob(&mut self, media_type: &str) -> io::Result<Descriptor> {
        let (start, hash) = self.open.take().ok_or(io::ErrorKind::InvalidInput)?;
        let (digest, size) = (<[u8; 32]>::from(hash.finalize()), self.at - start - BLOCK);
        let name = hex(&digest);
        if self.names.insert(digest) {
            self.file.write_all_at(&header(&format!("blobs/sha256/{name}"), size), start)?;
            self.fill()?;
        } else {
            self.at = start;
        }
        let (media_type, artifact_type) = (media_type.to_owned(), String::new());
        Ok(Descriptor { media_type, digest: format!("sha256:{name}"), size, artifact_type })
    }

    /// Fills up the last block, which may lie over a blob that was taken back.
    fn fill(&mut self) -> io::Result<()> {
        let fill = usize::try_from(self.at.next_multiple_of(BLOCK) - self.at).unwrap_or(0);
        self.file.write_all_at(&[0; 512][..fill], self.at)?;
        self.at += fill as u64;
        Ok(())
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> io::Result<Descriptor> {
        self.begin_blob();
        self.put(bytes)?;
        self.end_blob(media_type)
    }

    /// Two empty blocks end the archive.
    fn finish(self) -> io::Result<File> {
        self.file.set_len(self.at)?;
        self.file.set_len(self.at + 2 * BLOCK)?;
        Ok(self.file)
    }
}

fn misuse() -> WriteError {
    io::Error::from(io::ErrorKind::InvalidInput).into()
}
