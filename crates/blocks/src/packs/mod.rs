//! Where packs are kept: in a directory, or in an object store.

mod local;
mod object;
mod options;
mod segments;

use std::{collections::BTreeSet, fmt, fs::File, io, ops::Range, sync::Arc};

pub(crate) use local::LocalPacks;
pub(crate) use object::ObjectPacks;
pub use options::ObjectOptions;

use crate::pack::{self, Listed, Scanned};

/// A pack that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    /// In the trash since this second of Unix time.
    pub(crate) since: Option<u64>,
}

/// A pack that was appended to.
pub(crate) type Appended = (u32, Arc<File>);

/// Keeps packs by number. Everything blocks; doing a thing again changes nothing.
pub(crate) trait PackStore: fmt::Debug + Send + Sync {
    /// Every pack there is, the trash included.
    fn list(&self) -> io::Result<Vec<Kept>>;

    /// The file of a pack to be appended to, with its header.
    fn create(&self, number: u32) -> io::Result<File>;

    /// Makes packs durable.
    fn sync(&self, packs: &[Appended]) -> io::Result<()>;

    /// Only a sealed pack can be made durable, and a failed attempt may be made again.
    fn takes_whole_packs(&self) -> bool;

    /// Fills `bytes` from a pack, wherever it lies.
    fn read_at(&self, number: u32, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same from where it is kept for good.
    fn read_kept(&self, number: u32, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(number, bytes, offset)
    }

    /// What was read of a pack was wrong: the next read is of where it is kept for good.
    fn distrust(&self, number: u32) {
        let _ = number;
    }

    /// What a sealed pack lists and where its records end; none without a sound footer.
    fn footer(&self, number: u32) -> io::Result<Option<(Vec<Listed>, u64)>> {
        let size = self.bytes(number)?;
        pack::read_footer(size, |bytes, offset| self.read_kept(number, bytes, offset))
    }

    /// Seals a pack that a crash left without a footer.
    fn reseal(&self, number: u32, listed: &[Listed], end: u64) -> io::Result<()>;

    /// The bytes of a pack.
    fn bytes(&self, number: u32) -> io::Result<u64>;

    /// Puts a pack into the trash, as of a second of Unix time.
    fn retire(&self, number: u32, since: u64) -> io::Result<()>;

    /// Deletes a pack from the trash.
    fn delete(&self, number: u32) -> io::Result<()>;

    /// Whether a stretch of a pack can be read without asking an object store.
    fn is_here(&self, number: u32, stretch: Range<u64>) -> bool {
        let _ = (number, stretch);
        true
    }

    /// Parts of a MiB fetched from an object store, and bytes of them held here; none if packs
    /// are not kept in one.
    fn fetched(&self) -> Option<(u64, u64)> {
        None
    }
}

/// What a pack lists, and the offsets of what of it is known to be bad; one without a sound
/// footer is walked, and sealed if there is room for it.
pub(crate) fn load_pack(
    packs: &dyn PackStore,
    number: u32,
) -> io::Result<(Vec<Listed>, BTreeSet<u32>)> {
    if let Some((listed, _)) = packs.footer(number)? {
        return Ok((listed, BTreeSet::new()));
    }
    // A pack is at most `Options::pack_bytes` and a batch long; only one a crash is like this.
    let mut bytes = vec![0; usize::try_from(packs.bytes(number)?).unwrap_or(0)];
    packs.read_kept(number, &mut bytes, 0)?;
    let Scanned { listed, rotten, end } = pack::scan(&bytes);
    if let Err(error) = packs.reseal(number, &listed, end) {
        tracing::warn!(number, %error, "a recovered pack stays unsealed");
    }
    Ok((listed, rotten))
}

/// The number that a pack's file name begins with.
fn number_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".pack")?.get(..8)?;
    u32::from_str_radix(stem, 16).ok()
}
