//! A filter that tells most keys that a run does not have.

/// Bits a key; with six probes about one key in a hundred is let through in vain.
const BITS: usize = 10;
const PROBES: u32 = 6;

#[derive(Debug)]
pub(super) struct Bloom(Vec<u8>);

impl Bloom {
    pub(super) fn new(hashes: &[u64]) -> Self {
        let mut bloom = Self(vec![0; (hashes.len() * BITS).div_ceil(8).max(8)]);
        for hash in hashes {
            for bit in bloom.bits(*hash) {
                bloom.0[bit / 8] |= 1 << (bit % 8);
            }
        }
        bloom
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.bits(hash).all(|bit| self.0[bit / 8] >> (bit % 8) & 1 == 1)
    }

    fn bits(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let bits = self.0.len() as u64 * 8;
        let step = hash.rotate_left(32) | 1;
        // In range, so it fits.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is an index")]
        (0..PROBES).map(move |n| (hash.wrapping_add(step.wrapping_mul(n.into())) % bits) as usize)
    }
}

/// Spreads keys evenly; lies on disk, so it never changes.
pub(super) fn hash(key: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = K ^ key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    let mut mix = |word: u64| {
        let wide = u128::from(hash ^ word) * u128::from(K | 1);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        {
            hash = (wide >> 64) as u64 ^ wide as u64;
        }
    };
    for chunk in &mut chunks {
        mix(u64::from_le_bytes(*chunk.first_chunk().unwrap_or(&[0; 8])));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(u64::from_le_bytes(last));
    mix(K);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_all_of_its_keys_and_few_others() {
        let own: Vec<u64> = (0..10_000_u32).map(|n| hash(&n.to_be_bytes())).collect();
        let bloom = Bloom::new(&own);
        assert!(own.iter().all(|hash| bloom.may_hold(*hash)));
        let strangers = (10_000..110_000_u32).map(|n| hash(format!("{n}").as_bytes()));
        let passed = strangers.filter(|hash| bloom.may_hold(*hash)).count();
        assert!(passed < 2_500, "{passed} of 100,000 let through");
    }
}
