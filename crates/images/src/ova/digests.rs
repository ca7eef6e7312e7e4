//! The list of digests (`.mf`) that may stand in a package.

use sha1::digest::DynDigest;

use super::bad;
use crate::ImageError;

/// One line: a file and what its bytes must hash to.
pub(super) struct Digest {
    pub(super) name: Vec<u8>,
    method: Method,
    wanted: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Method {
    Sha1,
    Sha256,
    Sha512,
}

/// Reads lines such as `SHA256(disk.vmdk)= 01ab…`; `at` is where the list stands.
pub(super) fn parse(text: &[u8], at: u64) -> Result<Vec<Digest>, ImageError> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut digests: Vec<Digest> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let digest = digest(line).ok_or_else(|| bad("a digest's line is not understood", at))?;
        if digests.len() >= super::MOST || digests.iter().any(|d| d.name == digest.name) {
            return Err(bad("the list of digests names a file twice, or too many", at));
        }
        digests.push(digest);
    }
    Ok(digests)
}

fn digest(line: &[u8]) -> Option<Digest> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let (method, len) = match line[..open].trim_ascii().to_ascii_uppercase().as_slice() {
        b"SHA1" => (Method::Sha1, 20),
        b"SHA256" => (Method::Sha256, 32),
        b"SHA512" => (Method::Sha512, 64),
        _ => return None,
    };
    let text = line[close + 1..].trim_ascii().strip_prefix(b"=")?.trim_ascii();
    let wanted = unhex(text).filter(|bytes| bytes.len() == len)?;
    Some(Digest { name: line[open + 1..close].to_vec(), method, wanted })
}

impl Digest {
    /// What the file's bytes go into.
    pub(super) fn hasher(&self) -> Box<dyn DynDigest> {
        match self.method {
            Method::Sha1 => Box::new(sha1::Sha1::default()),
            Method::Sha256 => Box::new(sha2::Sha256::default()),
            Method::Sha512 => Box::new(sha2::Sha512::default()),
        }
    }

    /// Whether what went in is what the list says.
    pub(super) fn holds(&self, hasher: Box<dyn DynDigest>) -> bool {
        *hasher.finalize() == *self.wanted
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}
