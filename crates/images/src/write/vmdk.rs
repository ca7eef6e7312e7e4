//! VMDK, streamOptimized: each grain deflated, the tables behind what they map.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::blocks::Blocks;
use super::{Export, SECTOR, Sink, WriteError, is_zero};
use crate::Format;

const GRAIN: u64 = 64 << 10;
const GRAIN_LEN: usize = 64 << 10;
/// Entries of a grain table.
const GRAINS: u64 = 512;
/// Sectors in front of the first grain: the header and the descriptor.
const OVERHEAD: u64 = 128;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Sectors are numbered in four bytes.
const MAX_FILE: u64 = (1 << 32) * SECTOR;

/// What follows a marker.
mod marker {
    pub(super) const TABLE: u32 = 1;
    pub(super) const DIRECTORY: u32 = 2;
    pub(super) const FOOTER: u32 = 3;
}

/// Writes the disk as a streamOptimized VMDK. The extents are walked once, and so are the data.
///
/// Errors: [`WriteError::TooLarge`] once the file would grow beyond 2 TiB.
pub fn vmdk(export: &Export<'_>, out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let size = export.size();
    let head = header(size, u64::MAX);
    let mut text = descriptor(size, export.id).into_bytes();
    text.resize(usize::try_from((OVERHEAD - 1) * SECTOR).unwrap_or(0), 0);
    out.put(&head)?;
    out.put(&text)?;
    let mut stream = Stream { out, sector: OVERHEAD, directory: Vec::new(), table: Vec::new() };
    let mut deflate = Compress::new(Compression::fast(), true);
    let mut grain = vec![0; GRAIN_LEN];
    let mut packed = Vec::with_capacity(GRAIN_LEN + GRAIN_LEN / 8);
    let mut table = 0;
    for index in Blocks::new(export.source, GRAIN) {
        let index = index?;
        export.tick(index * GRAIN)?;
        export.read(index * GRAIN, &mut grain)?;
        if is_zero(&grain) {
            continue;
        }
        if index / GRAINS != table {
            stream.end_table(table)?;
            table = index / GRAINS;
        }
        deflate.reset();
        packed.clear();
        match deflate.compress_vec(&grain, &mut packed, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => stream.grain(index, &packed)?,
            _ => return Err(std::io::Error::other("a grain could not be deflated").into()),
        }
    }
    stream.end_table(table)?;
    let directory = stream.end(size.div_ceil(GRAIN * GRAINS))?;
    out.put(&header(size, directory))?;
    // The end marker.
    out.hole(SECTOR)?;
    export.tick(size)
}

struct Stream<'a, S: ?Sized> {
    out: &'a mut S,
    /// Where the next byte goes.
    sector: u64,
    directory: Vec<u32>,
    table: Vec<u32>,
}

impl<S: Sink + ?Sized> Stream<'_, S> {
    fn here(&self) -> Result<u32, WriteError> {
        let limit = MAX_FILE;
        let error = WriteError::TooLarge { format: Format::Vmdk, limit };
        u32::try_from(self.sector).map_err(|_| error)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let len = bytes.len() as u64;
        self.out.put(bytes)?;
        self.out.hole(len.next_multiple_of(SECTOR) - len)?;
        self.sector += len.div_ceil(SECTOR);
        Ok(())
    }

    fn grain(&mut self, index: u64, packed: &[u8]) -> Result<(), WriteError> {
        let slot = usize::try_from(index % GRAINS).unwrap_or(0);
        self.table.resize(slot, 0);
        self.table.push(self.here()?);
        let len = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        let first = index * (GRAIN / SECTOR);
        self.put(&[&first.to_le_bytes()[..], &len.to_le_bytes(), packed].concat())
    }

    /// Writes the table of the grains so far, the one at `index` of the directory.
    fn end_table(&mut self, index: u64) -> Result<(), WriteError> {
        if self.table.is_empty() {
            return Ok(());
        }
        self.table.resize(usize::try_from(GRAINS).unwrap_or(0), 0);
        self.marker(GRAINS * 4 / SECTOR, marker::TABLE)?;
        self.directory.resize(usize::try_from(index).unwrap_or(0), 0);
        self.directory.push(self.here()?);
        let table = std::mem::take(&mut self.table);
        self.put(&table.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>())
    }

    /// Writes the directory and the footer's marker; returns the directory's sector.
    fn end(mut self, tables: u64) -> Result<u64, WriteError> {
        self.marker((tables * 4).div_ceil(SECTOR), marker::DIRECTORY)?;
        let at = self.here()?;
        self.directory.resize(usize::try_from(tables).unwrap_or(0), 0);
        let directory = std::mem::take(&mut self.directory);
        self.put(&directory.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>())?;
        self.marker(1, marker::FOOTER)?;
        Ok(at.into())
    }

    fn marker(&mut self, sectors: u64, kind: u32) -> Result<(), WriteError> {
        self.put(&[&sectors.to_le_bytes()[..], &[0; 4], &kind.to_le_bytes()].concat())
    }
}

fn header(size: u64, directory: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"KDMV");
    put(4, &3_u32.to_le_bytes());
    // Line ends can be checked; grains are compressed and have markers.
    put(8, &0x0003_0001_u32.to_le_bytes());
    put(12, &(size / SECTOR).to_le_bytes());
    put(20, &(GRAIN / SECTOR).to_le_bytes());
    put(28, &1_u64.to_le_bytes());
    put(36, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(44, &512_u32.to_le_bytes());
    put(56, &directory.to_le_bytes());
    put(64, &OVERHEAD.to_le_bytes());
    put(73, b"\n \r\n");
    put(77, &1_u16.to_le_bytes());
    bytes
}

fn descriptor(size: u64, id: [u8; 16]) -> String {
    let sectors = size / SECTOR;
    let cylinders = (sectors / (255 * 63)).clamp(1, 65_535);
    let id = u32::from_be_bytes([id[0], id[1], id[2], id[3]]).clamp(1, u32::MAX - 2);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\n# Extent description\n\
         RW {sectors} SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.virtualHWVersion = \"10\"\n"
    )
}
