//! One number for a whole state, kept up to date write by write.

/// The sum of the hashes of all rows: equal states have equal digests, in
/// whatever order they came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest([u64; 4]);

impl Digest {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(row(key, value)) {
            *sum = sum.wrapping_add(part);
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(row(key, value)) {
            *sum = sum.wrapping_sub(part);
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (to, part) in out.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&part.to_le_bytes());
        }
        out
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(words(&bytes))
    }
}

fn row(key: &[u8], value: &[u8]) -> [u64; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(key).update(value);
    words(hasher.finalize().as_bytes())
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut out = [0; 4];
    for (word, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    }
    out
}
