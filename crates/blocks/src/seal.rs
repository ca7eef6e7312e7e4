//! Encryption of chunks at rest, with the data key of a lineage.
//!
//! AES-256-GCM under a fresh nonce; the chunk's name, length and form go into the additional
//! data. A leaf says which name stands at which place, and the root names the leaves: so a chunk
//! that was moved, exchanged or taken back from an older version does not authenticate.

use std::{fmt, sync::Arc};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

use crate::{ChunkId, pack::Record};

/// Bytes that sealing adds: nonce and tag.
pub(crate) const SEAL_BYTES: u32 = 12 + 16;

/// The key that chunks of one lineage are encrypted with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataKey([u8; 32]);

impl DataKey {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Another key that follows from this one: for what `label` names, such as a volume.
    #[must_use]
    pub fn derive(self, label: &str) -> [u8; 64] {
        let mut derived = [0; 64];
        let mut hasher = blake3::Hasher::new_derive_key("vmint blocks 1 derived key");
        hasher.update(&self.0).update(label.as_bytes());
        hasher.finalize_xof().fill(&mut derived);
        derived
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(secret)")
    }
}

/// A data key, ready for use.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: Arc<LessSafeKey>,
    random: SystemRandom,
}

impl Sealer {
    pub(crate) fn new(key: DataKey) -> Self {
        let key = blake3::derive_key("vmint blocks 1 chunk encryption", &key.0);
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key");
        Self { key: Arc::new(LessSafeKey::new(key)), random: SystemRandom::new() }
    }

    /// Puts `nonce · ciphertext · tag` of `payload` into `out`; `None` if the kernel gives no
    /// random bytes. `record` is that of the chunk, but for its stored size.
    pub(crate) fn seal(&self, record: &Record, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        out.clear();
        out.extend(nonce);
        out.extend_from_slice(payload);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = &mut out[NONCE_LEN..];
        let tag = self.key.seal_in_place_separate_tag(nonce, additional(record), body).ok()?;
        out.extend(tag.as_ref());
        Some(())
    }

    /// What was sealed; `None` if a bit of it, or what it belongs to, is not the same.
    pub(crate) fn open(&self, record: &Record, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut body = body.to_vec();
        let length = self.key.open_in_place(nonce, additional(record), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

fn additional(record: &Record) -> Aad<[u8; 37]> {
    let ChunkId(id) = record.id;
    let mut bytes = [0; 37];
    bytes[..32].copy_from_slice(&id);
    bytes[32..36].copy_from_slice(&record.raw.to_le_bytes());
    bytes[36] = u8::from(record.zstd);
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_as_what_it_is() {
        let sealer = Sealer::new(DataKey([3; 32]));
        let record =
            Record { id: ChunkId([1; 32]), raw: 4096, stored: 0, zstd: false, sealed: true };
        let mut out = Vec::new();
        sealer.seal(&record, &[9; 4096], &mut out).unwrap();
        assert_eq!(out.len(), 4096 + SEAL_BYTES as usize);
        assert_eq!(sealer.open(&record, &out).unwrap(), [9; 4096]);
        let others = [
            Record { id: ChunkId([2; 32]), ..record },
            Record { raw: 4095, ..record },
            Record { zstd: true, ..record },
        ];
        assert!(others.iter().all(|other| sealer.open(other, &out).is_none()));
        assert!(Sealer::new(DataKey([4; 32])).open(&record, &out).is_none());
        for at in [0, NONCE_LEN, out.len() - 1] {
            out[at] ^= 1;
            assert!(sealer.open(&record, &out).is_none());
            out[at] ^= 1;
        }
        assert!(sealer.open(&record, &[0; 5]).is_none());
    }
}
