//! A value as it lies in the view: version, checksum, bytes.
//!
//! The checksum covers the key too, so that a right value in a wrong place is
//! found as well.

use crate::{StoreError, space};

const VERSION: u8 = 1;
const HEAD: usize = 5;

pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.push(VERSION);
    out.extend_from_slice(&sum(key, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

pub(crate) fn open<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let parts = sealed.split_first().and_then(|(version, rest)| {
        let (check, body) = rest.split_first_chunk::<4>()?;
        (*version == VERSION && u32::from_le_bytes(*check) == sum(key, body)).then_some(body)
    });
    parts.ok_or_else(|| StoreError::Corrupt { place: space::name(key) })
}

fn sum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}
