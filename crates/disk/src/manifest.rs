//! The small file that says what a volume is made of.
//!
//! A few lines of text with a checksum, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::DiskError;

const NAME: &str = "manifest";
const FIRST_LINE: &str = "vmint-volume 1";
pub(crate) const MAX_LABEL: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) size: u64,
    /// What the base is called by whoever can find it again.
    pub(crate) base: Option<String>,
    /// Layer numbers, oldest first; never empty.
    pub(crate) layers: Vec<u64>,
    /// What its key is known by; none if the volume is not encrypted.
    pub(crate) key: Option<String>,
}

impl Manifest {
    pub(crate) fn read(dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            // Empty: created, then the power went before anything was flushed.
            Ok(bytes) if bytes.is_empty() => Err(DiskError::Missing(dir.to_owned())),
            Ok(bytes) => Self::parse(&bytes)
                .ok_or(DiskError::Damaged { path, what: "its checksum does not match" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DiskError::Missing(dir.to_owned()))
            }
            Err(error) => Err(DiskError::io("read the volume's manifest")(error)),
        }
    }

    /// Writes the next manifest beside the present one. [`publish`] makes it the present one.
    pub(crate) fn prepare(&self, dir: &Path, sync: bool) -> io::Result<()> {
        let mut file = File::create(dir.join("manifest.next"))?;
        file.write_all(self.text().as_bytes())?;
        if sync { file.sync_all() } else { Ok(()) }
    }

    fn text(&self) -> String {
        let layers: Vec<_> = self.layers.iter().map(u64::to_string).collect();
        let base = self.base.as_ref().map_or_else(|| "none".into(), |label| format!("={label}"));
        let (size, layers) = (self.size, layers.join(" "));
        let key = self.key.as_ref().map(|key| format!("key {key}\n")).unwrap_or_default();
        let text = format!("{FIRST_LINE}\nsize {size}\nbase {base}\nlayers {layers}\n{key}");
        format!("{text}crc32c {:08x}\n", crc32c::crc32c(text.as_bytes()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let body = &text[..text.rfind("crc32c ")?];
        let mut lines = body.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let size = lines.next()?.strip_prefix("size ")?.parse().ok()?;
        let base = lines.next()?.strip_prefix("base ")?;
        let base = base.strip_prefix('=').map(str::to_owned);
        let layers = lines.next()?.strip_prefix("layers ")?;
        let layers = layers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let key = lines.next().and_then(|line| line.strip_prefix("key ")).map(str::to_owned);
        let manifest = Self { size, base, layers, key };
        // Only what we would write ourselves is intact.
        (manifest.text() == text).then_some(manifest)
    }
}

/// Makes the prepared manifest the present one.
pub(crate) fn publish(dir: &Path) -> io::Result<()> {
    fs::rename(dir.join("manifest.next"), dir.join(NAME))
}

/// Puts the present manifest and the names of the volume's files on disk.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir.join(NAME))?.sync_all()?;
    File::open(dir)?.sync_all()?;
    dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
