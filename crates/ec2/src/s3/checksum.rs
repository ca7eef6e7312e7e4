//! Checksums that a writer declares.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use crc_fast::{CrcAlgorithm, Digest as Crc};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{S3Error, S3Kind};

/// A way to sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
    Md5,
}

impl Algorithm {
    const HEADERS: [(Self, &'static str); 6] = [
        (Self::Crc32, "x-amz-checksum-crc32"),
        (Self::Crc32c, "x-amz-checksum-crc32c"),
        (Self::Crc64Nvme, "x-amz-checksum-crc64nvme"),
        (Self::Sha1, "x-amz-checksum-sha1"),
        (Self::Sha256, "x-amz-checksum-sha256"),
        (Self::Md5, "content-md5"),
    ];

    /// The header, or trailer, that declares it.
    #[must_use]
    pub fn header(self) -> &'static str {
        Self::HEADERS.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// By its header or trailer, in lower case.
    #[must_use]
    pub fn of_header(name: &str) -> Option<Self> {
        Self::HEADERS.iter().find(|(_, known)| *known == name).map(|(found, _)| *found)
    }

    /// By its name, such as `crc32`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let header = format!("x-amz-checksum-{name}");
        Self::of_header(&header)
    }

    /// Its name, such as `crc32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.header().trim_start_matches("x-amz-checksum-")
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// Sums that were declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared(Vec<(Algorithm, Vec<u8>)>);

impl Declared {
    /// Adds one; a value that is no such sum is refused.
    pub fn add(&mut self, algorithm: Algorithm, value: &str) -> Result<(), S3Error> {
        let sum = BASE64_STANDARD.decode(value.trim()).ok();
        let sum = sum.filter(|sum| sum.len() == algorithm.bytes()).ok_or_else(|| {
            let text = format!("The value of {} is no such sum.", algorithm.header());
            S3Error::new(S3Kind::InvalidDigest, text)
        })?;
        self.0.push((algorithm, sum));
        Ok(())
    }

    /// The SHA-256 that a signature is over.
    pub fn add_sha256(&mut self, sum: [u8; 32]) {
        self.0.push((Algorithm::Sha256, sum.to_vec()));
    }

    fn wants(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|(known, _)| *known == algorithm)
    }
}

/// Sums what passes by; only what was asked for.
pub struct Sums {
    crc32: Option<crc32fast::Hasher>,
    crc32c: Option<u32>,
    crc64nvme: Option<Crc>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    md5: Option<md5::Md5>,
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sums")
    }
}

impl Sums {
    /// Of everything declared so far, and of what a trailer is to declare.
    #[must_use]
    pub fn new(declared: &Declared, trailer: Option<Algorithm>) -> Self {
        let wants = |algorithm| declared.wants(algorithm) || trailer == Some(algorithm);
        Self {
            crc32: wants(Algorithm::Crc32).then(crc32fast::Hasher::new),
            crc32c: wants(Algorithm::Crc32c).then_some(0),
            crc64nvme: wants(Algorithm::Crc64Nvme).then(|| Crc::new(CrcAlgorithm::Crc64Nvme)),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            sha256: wants(Algorithm::Sha256).then(Sha256::new),
            md5: wants(Algorithm::Md5).then(md5::Md5::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(bytes);
        }
        if let Some(crc32c) = &mut self.crc32c {
            *crc32c = crc32c::crc32c_append(*crc32c, bytes);
        }
        if let Some(crc64nvme) = &mut self.crc64nvme {
            crc64nvme.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// That everything declared is so.
    pub fn check(self, declared: &Declared) -> Result<(), S3Error> {
        let sums = [
            (Algorithm::Crc32, self.crc32.map(|crc| crc.finalize().to_be_bytes().to_vec())),
            (Algorithm::Crc32c, self.crc32c.map(|crc| crc.to_be_bytes().to_vec())),
            (Algorithm::Crc64Nvme, self.crc64nvme.map(|crc| crc.finalize().to_be_bytes().to_vec())),
            (Algorithm::Sha1, self.sha1.map(|sha| sha.finalize().to_vec())),
            (Algorithm::Sha256, self.sha256.map(|sha| sha.finalize().to_vec())),
            (Algorithm::Md5, self.md5.map(|md5| md5.finalize().to_vec())),
        ];
        for (algorithm, wanted) in &declared.0 {
            let found = sums.iter().find(|(known, _)| known == algorithm);
            if found.and_then(|(_, sum)| sum.as_ref()) != Some(wanted) {
                let text = format!(
                    "The content does not have the sum that {} declares.",
                    algorithm.header()
                );
                return Err(S3Error::new(S3Kind::BadDigest, text));
            }
        }
        Ok(())
    }
}
