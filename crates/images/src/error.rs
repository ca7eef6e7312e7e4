//! Why an image is refused.

use std::io;
use std::time::Duration;

use crate::Format;

/// Why a file was not opened, or a disk in it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the image file could not be read: {0}")]
    Io(#[from] io::Error),
    #[error("the image is empty: a disk has at least one byte")]
    Empty,
    #[error("the file is {} at the same time: send a file of one format", list(.0))]
    Ambiguous(Vec<Format>),
    #[error("the file was declared to be {declared} but is {detected}: declare {detected}")]
    Mismatch { declared: Format, detected: Format },
    #[error("{format} cannot be imported: {}", .format.advice())]
    Unsupported { format: Format },
    #[error("the {format} image {feature}")]
    Feature { format: Format, feature: Feature },
    #[error("the disk is {size} bytes, more than the {limit} allowed: shrink it or ask for more")]
    TooLarge { size: u64, limit: u64 },
    #[error("the disk unfolds to more than the {limit} bytes of data allowed")]
    TooMuchData { limit: u64 },
    #[error("opening this image took more than the {} s of processor time allowed", .limit.as_secs())]
    TooSlow { limit: Duration },
    #[error("the import was cancelled")]
    Cancelled,
    #[error("reading this image needs more than {limit} bytes of memory: {hint}")]
    TooComplex { limit: u64, hint: &'static str },
    #[error("the {format} image is damaged or hostile: {what} (at byte {at})")]
    Malformed { format: Format, what: &'static str, at: u64 },
    #[error("bytes {offset}+{len} lie outside the disk of {size} bytes")]
    OutOfRange { offset: u64, len: u64, size: u64 },
}

impl ImageError {
    /// A stable word for this refusal, fit for a reason code.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Empty => "empty",
            Self::Ambiguous(_) => "ambiguous-format",
            Self::Mismatch { .. } => "format-mismatch",
            Self::Unsupported { .. } => "unsupported-format",
            Self::Feature { feature, .. } => feature.reason(),
            Self::TooLarge { .. } => "too-large",
            Self::TooMuchData { .. } => "too-much-data",
            Self::TooSlow { .. } => "too-slow",
            Self::Cancelled => "cancelled",
            Self::TooComplex { .. } => "too-complex",
            Self::Malformed { .. } => "malformed",
            Self::OutOfRange { .. } => "out-of-range",
        }
    }

    /// Whether the file's sender, not this machine, has to change something.
    #[must_use]
    pub fn is_senders_fault(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::OutOfRange { .. } | Self::Cancelled)
    }
}

/// Something a format can do and we refuse to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Feature {
    #[error("names a backing file: flatten it first (`qemu-img convert -O qcow2 in out`)")]
    BackingFile,
    #[error("keeps its data in an external file: convert it to a plain image first")]
    DataFile,
    #[error("is the difference to a parent: merge the two and send the result")]
    Differencing,
    #[error(
        "is not whole in one file: make it so (`qemu-img convert -O vmdk -o subformat=streamOptimized in out`)"
    )]
    ExternalExtents,
    #[error(
        "says that its log holds writes, and it holds none that are whole: open it once where it was made, or convert it there"
    )]
    DirtyLog,
    #[error("holds a suspended machine's state: shut the machine down and send the disk again")]
    SavedState,
    #[error("has sectors of {0} bytes: convert it to a disk with sectors of 512")]
    SectorSize(u32),
    #[error("is compressed more than once: decompress it down to one layer")]
    Twice,
    #[error("holds {0} disks: say which one is wanted, counted from 0")]
    SeveralDisks(usize),
    #[error("holds no such disk: it has {0}, counted from 0")]
    NoSuchDisk(usize),
    #[error("is encrypted: decrypt it before the import")]
    Encrypted,
    #[error("holds internal snapshots: delete them (`qemu-img snapshot -d`) or convert it")]
    Snapshots,
    #[error("uses extended L2 entries: convert it with `-o extended_l2=off`")]
    ExtendedL2,
    #[error("is marked corrupt: repair it (`qemu-img check -r all`)")]
    Corrupt,
    #[error("has version {0}, which is not supported: convert it with a current tool")]
    Version(u32),
    #[error(
        "uses unknown incompatible features ({0:#x}): convert it to a plain qcow2 or raw image"
    )]
    Unknown(u64),
    #[error("compresses with method {0}, which is not supported: convert it without compression")]
    Compression(u8),
}

impl Feature {
    fn reason(self) -> &'static str {
        match self {
            Self::BackingFile => "backing-file",
            Self::DataFile => "data-file",
            Self::Differencing => "differencing",
            Self::ExternalExtents => "external-extents",
            Self::DirtyLog => "dirty-log",
            Self::SavedState => "saved-state",
            Self::SectorSize(_) => "sector-size",
            Self::Twice => "compressed-twice",
            Self::SeveralDisks(_) => "several-disks",
            Self::NoSuchDisk(_) => "no-such-disk",
            Self::Encrypted => "encrypted",
            Self::Snapshots => "internal-snapshots",
            Self::ExtendedL2 => "extended-l2",
            Self::Corrupt => "marked-corrupt",
            Self::Version(_) => "version",
            Self::Unknown(_) => "unknown-feature",
            Self::Compression(_) => "compression",
        }
    }
}

fn list(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(" and ")
}
