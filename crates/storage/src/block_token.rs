//! What lets one account read one block for a while.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use vmint_ids::{AccountId, SnapshotId};

/// How long a token serves, in milliseconds.
pub(crate) const LIFE_MS: u64 = 15 * 60 * 1000;
const MAC_BYTES: usize = 24;

/// Seals and opens block tokens. Says nothing of whether the account may still
/// read the snapshot: that is asked again at every use.
#[derive(Clone)]
pub(crate) struct BlockTokens {
    key: [u8; 32],
}

impl std::fmt::Debug for BlockTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockTokens")
    }
}

impl BlockTokens {
    /// Tokens outlive a restart, so the key comes from a secret that does.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { key: blake3::derive_key("vmint 2026 block token key", secret) }
    }

    /// Lets `account` read block `index` of `snapshot` until `until_ms`.
    pub(crate) fn seal(
        &self,
        account: AccountId,
        snapshot: SnapshotId,
        index: u32,
        until_ms: u64,
    ) -> String {
        let mut token = until_ms.to_be_bytes().to_vec();
        token.extend_from_slice(&self.mac(account, snapshot, index, until_ms));
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// Whether `token` lets `account` read the block at `now_ms`.
    pub(crate) fn admits(
        &self,
        token: &str,
        account: AccountId,
        snapshot: SnapshotId,
        index: u32,
        now_ms: u64,
    ) -> bool {
        if token.len() > 64 {
            return false;
        }
        let Ok(token) = BASE64_URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((until, given)) = token.split_first_chunk::<8>() else { return false };
        let until = u64::from_be_bytes(*until);
        let expected = self.mac(account, snapshot, index, until);
        // Compared without saying where they first differ.
        let same = given.len() == MAC_BYTES
            && expected.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0;
        same && now_ms < until
    }

    fn mac(
        &self,
        account: AccountId,
        snapshot: SnapshotId,
        index: u32,
        until_ms: u64,
    ) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // Ids have one length each, so nothing can be read two ways.
        hasher.update(account.to_string().as_bytes());
        hasher.update(snapshot.to_string().as_bytes());
        hasher.update(&index.to_be_bytes());
        hasher.update(&until_ms.to_be_bytes());
        let mut mac = [0; MAC_BYTES];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_one_account_for_one_block_for_a_while() {
        let tokens = BlockTokens::new(b"secret");
        let (ann, bob) = ("100000000001".parse().unwrap(), "200000000002".parse().unwrap());
        let (one, two) = (SnapshotId::random(), SnapshotId::random());
        let token = tokens.seal(ann, one, 7, 1000);
        assert!(tokens.admits(&token, ann, one, 7, 999));
        assert!(!tokens.admits(&token, ann, one, 7, 1000), "expired");
        assert!(!tokens.admits(&token, bob, one, 7, 999));
        assert!(!tokens.admits(&token, ann, two, 7, 999));
        assert!(!tokens.admits(&token, ann, one, 8, 999));
        assert!(!BlockTokens::new(b"other").admits(&token, ann, one, 7, 999));
        let later = BASE64_URL_SAFE_NO_PAD.encode([0xff; 32]);
        for bad in ["", "AAAA", "%", later.as_str(), &"A".repeat(1000), &token[..token.len() - 2]] {
            assert!(!tokens.admits(bad, ann, one, 7, 999), "{bad}");
        }
    }
}
