//! The formats we can name.

use std::fmt;
use std::str::FromStr;

/// A file format. Those of [`Format::READABLE`] can be opened as a disk; the others are
/// recognised so that nobody boots a container's bytes as if they were a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the formats' own
pub enum Format {
    Raw,
    Qcow2,
    Qed,
    Vmdk,
    Vhd,
    Vhdx,
    Vdi,
    Ova,
    Bundle,
    Parallels,
    Dmg,
    Luks,
    Iso,
    Tar,
    Zip,
    Gzip,
    Xz,
    Zstd,
    Bzip2,
    Lz4,
}

impl Format {
    /// Every format, in the order it is declared.
    pub const ALL: [Self; 20] = [
        Self::Raw,
        Self::Qcow2,
        Self::Qed,
        Self::Vmdk,
        Self::Vhd,
        Self::Vhdx,
        Self::Vdi,
        Self::Ova,
        Self::Bundle,
        Self::Parallels,
        Self::Dmg,
        Self::Luks,
        Self::Iso,
        Self::Tar,
        Self::Zip,
        Self::Gzip,
        Self::Xz,
        Self::Zstd,
        Self::Bzip2,
        Self::Lz4,
    ];

    /// The lower-case name people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Ova => "ova",
            Self::Bundle => "bundle",
            Self::Parallels => "parallels",
            Self::Dmg => "dmg",
            Self::Luks => "luks",
            Self::Iso => "iso",
            Self::Tar => "tar",
            Self::Zip => "zip",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        }
    }

    /// Those that can be opened; each may also be compressed once.
    pub const READABLE: [Self; 8] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vhd,
        Self::Vhdx,
        Self::Vdi,
        Self::Ova,
        Self::Bundle,
    ];

    /// Whether [`crate::open`] can read it.
    #[must_use]
    pub fn is_readable(self) -> bool {
        Self::READABLE.contains(&self)
    }

    /// Whether it is a compressed stream that [`crate::Opener`] can unfold.
    #[must_use]
    pub fn is_compression(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2)
    }

    /// What the owner of such a file can do to get it in.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Raw
            | Self::Qcow2
            | Self::Vmdk
            | Self::Vhd
            | Self::Vhdx
            | Self::Vdi
            | Self::Ova
            | Self::Bundle => "import it as it is",
            Self::Qed | Self::Parallels | Self::Dmg => {
                "convert it to qcow2 or raw on your machine and import the result"
            }
            Self::Luks => "decrypt the disk and import the plain raw image",
            Self::Iso => "install from it onto a disk and import that disk",
            Self::Tar | Self::Zip => "unpack it and import the disk inside",
            Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2 | Self::Lz4 => {
                "decompress it and import the disk inside"
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Case does not matter; `vpc` and `vhd` are the same thing.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let text = text.to_ascii_lowercase();
        let text = if text == "vpc" { "vhd" } else { text.as_str() };
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or(UnknownFormat)
    }
}

/// The text names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a disk format: use raw, qcow2, vmdk, vhd, vhdx, vdi, ova or bundle")]
pub struct UnknownFormat;
