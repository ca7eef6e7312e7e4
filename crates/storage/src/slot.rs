//! One block in a file of blocks: a header, the block, and its seal.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

use crate::{Result, StorageError};

/// The bytes of a block.
pub(crate) const BLOCK: u64 = 512 << 10;
const HEADER: u64 = 64;
const TAG: u64 = 16;
pub(crate) const SLOT: u64 = HEADER + BLOCK + TAG;
const MAGIC: &[u8; 8] = b"vmintblk";
/// A block without a single bit set takes no room behind its header.
const ZERO: u8 = 1;
const DATA: u8 = 0;
const SEALED: u8 = 2;
/// Where the header's own checksum stands.
const CHECK: usize = 57;

/// What a block hashes to.
pub(crate) type Sum = [u8; 32];

/// Where a block lies and what it hashes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) slot: u64,
    pub(crate) zero: bool,
    pub(crate) sum: Sum,
    nonce: [u8; NONCE_LEN],
}

/// What bytes hash to.
pub(crate) fn sum(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

impl Place {
    pub(crate) fn new(slot: u64, zero: bool, sum: Sum) -> Result<Self> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { slot, zero, sum, nonce })
    }
}

/// A key to seal blocks with.
pub(crate) fn sealing_key(bytes: [u8; 32]) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| StorageError::Damaged)?;
    Ok(LessSafeKey::new(key))
}

/// A slot's block; none if it was never whole, or is not under this key.
pub(crate) fn read_slot(
    file: &File,
    place: &Place,
    key: Option<&LessSafeKey>,
) -> io::Result<Option<Vec<u8>>> {
    let length = usize::try_from(BLOCK).map_err(io::Error::other)?;
    let sealed = key.filter(|_| !place.zero);
    let tag = if sealed.is_some() { usize::try_from(TAG).map_err(io::Error::other)? } else { 0 };
    let mut content = vec![0; length + tag];
    if !place.zero {
        match file.read_exact_at(&mut content, place.slot * SLOT + HEADER) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
    }
    if let Some(key) = sealed {
        let nonce = Nonce::assume_unique_for_key(place.nonce);
        if key.open_in_place(nonce, Aad::empty(), &mut content).is_err() {
            return Ok(None);
        }
    }
    content.truncate(length);
    Ok(Some(content))
}

/// The bytes of a slot.
pub(crate) fn write_slot(
    index: u32,
    place: &Place,
    content: &[u8],
    key: Option<&LessSafeKey>,
) -> Result<Vec<u8>> {
    let mut bytes = header(index, place, key.is_some());
    if place.zero {
        return Ok(bytes);
    }
    let start = bytes.len();
    bytes.extend_from_slice(content);
    if let Some(key) = key {
        let nonce = Nonce::assume_unique_for_key(place.nonce);
        let (_, content) = bytes.split_at_mut(start);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), content);
        let tag = tag.map_err(|_| StorageError::Damaged)?;
        bytes.extend_from_slice(tag.as_ref());
    }
    Ok(bytes)
}

fn header(index: u32, place: &Place, sealed: bool) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.push(match (place.zero, sealed) {
        (true, _) => ZERO,
        (false, true) => SEALED,
        (false, false) => DATA,
    });
    // What sealed bytes hash to would say what they are.
    bytes.extend_from_slice(if sealed { &[0; 32] } else { &place.sum });
    bytes.extend_from_slice(&place.nonce);
    let check = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&check.to_be_bytes());
    bytes.resize(usize::try_from(HEADER).unwrap_or(64), 0);
    bytes
}

/// The block in a slot; none if its header was never whole.
pub(crate) fn read_header(file: &File, slot: u64) -> io::Result<Option<(u32, Place)>> {
    let mut bytes = [0; 64];
    match file.read_exact_at(&mut bytes, slot * SLOT) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let word = |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    let (Some(index), Some(check)) = (word(8), word(CHECK)) else { return Ok(None) };
    let sum = bytes[13..45].try_into().ok();
    let nonce = bytes[45..CHECK].try_into().ok();
    let zero = match bytes[12] {
        ZERO => true,
        DATA | SEALED => false,
        _ => return Ok(None),
    };
    let whole =
        bytes[..8] == *MAGIC && crc32c::crc32c(&bytes[..CHECK]) == u32::from_be_bytes(check);
    let place = sum.zip(nonce).filter(|_| whole);
    let place = place.map(|(sum, nonce)| Place { slot, zero, sum, nonce });
    Ok(place.map(|place| (u32::from_be_bytes(index), place)))
}
