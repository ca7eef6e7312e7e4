//! Where a listing goes on.

use std::sync::OnceLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use prost::Message;

/// Longer than any key with room to spare.
const MAX_TOKEN_BYTES: usize = 4096;
const TAG_BYTES: usize = 16;

static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Sets the key that tokens of this process are sealed with.
///
/// A service does so at start, so that tokens outlive a restart; the first one
/// in a process wins. Without it the key is drawn at random.
pub fn seal_page_tokens(secret: &[u8]) {
    let _first_wins = KEY.set(blake3::derive_key("vmint 2026 page token key", secret));
}

/// Where a listing goes on: a key sealed together with the account and the
/// query it was given out for. Opaque to whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    sealed: Vec<u8>,
}

/// The token was not given out for this listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page token does not belong to this listing: start again without one")]
pub struct BadToken;

impl PageToken {
    /// A token to go on after `after`, for the request that `canonical` spells
    /// out without its paging, asked by `account`.
    #[must_use]
    pub fn new(after: &[u8], canonical: &impl Message, account: &str) -> Self {
        let tag = tag(after, &canonical.encode_to_vec(), account);
        let mut sealed = tag.to_vec();
        sealed.extend_from_slice(after);
        mask(&tag, &mut sealed[TAG_BYTES..]);
        Self { sealed }
    }

    #[must_use]
    pub fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.sealed)
    }

    /// The key to go on after, or none at the start.
    pub fn read(
        text: &str,
        canonical: &impl Message,
        account: &str,
    ) -> Result<Option<Vec<u8>>, BadToken> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(BadToken);
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken)?;
        let (given, masked) = sealed.split_first_chunk::<TAG_BYTES>().ok_or(BadToken)?;
        let mut after = masked.to_vec();
        mask(given, &mut after);
        let expected = tag(&after, &canonical.encode_to_vec(), account);
        // Compared in constant time, as blake3's own hashes are.
        let same = expected.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0;
        same.then_some(Some(after)).ok_or(BadToken)
    }
}

fn key() -> &'static [u8; 32] {
    KEY.get_or_init(rand::random)
}

/// Of everything the token is bound to; also the nonce of its mask.
fn tag(after: &[u8], canonical: &[u8], account: &str) -> [u8; TAG_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key());
    for part in [account.as_bytes(), canonical, after] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let mut tag = [0; TAG_BYTES];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

/// Keys may name what the caller must not see, so they are not left readable.
fn mask(tag: &[u8; TAG_BYTES], bytes: &mut [u8]) {
    let mut stream = vec![0; bytes.len()];
    let context = blake3::derive_key("vmint 2026 page token mask", key());
    blake3::Hasher::new_keyed(&context).update(tag).finalize_xof().fill(&mut stream);
    bytes.iter_mut().zip(stream).for_each(|(b, s)| *b ^= s);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Query {
        #[prost(string, tag = "1")]
        filter: String,
    }

    fn query(filter: &str) -> Query {
        Query { filter: filter.to_owned() }
    }

    #[test]
    fn no_token_is_the_start() {
        assert_eq!(PageToken::read("", &query("a"), "1"), Ok(None));
    }

    #[test]
    fn a_token_serves_only_its_own_listing() {
        let text = PageToken::new(b"ami-1", &query("a"), "111111111111").to_text();

        let own = PageToken::read(&text, &query("a"), "111111111111");
        let other_query = PageToken::read(&text, &query("b"), "111111111111");
        let other_account = PageToken::read(&text, &query("a"), "222222222222");

        assert_eq!(own, Ok(Some(b"ami-1".to_vec())));
        assert_eq!(other_query, Err(BadToken));
        assert_eq!(other_account, Err(BadToken));
    }

    #[test]
    fn the_key_is_not_readable_in_the_token() {
        let token = PageToken::new(b"ami-0123456789abcdef0", &query("a"), "1");
        assert!(!token.sealed.windows(4).any(|w| w == b"ami-"));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(after: Vec<u8>, at: usize, flip in 1u8..) {
            let mut token = PageToken::new(&after, &query("a"), "1");
            let at = at % token.sealed.len();
            token.sealed[at] ^= flip;
            prop_assert_eq!(PageToken::read(&token.to_text(), &query("a"), "1"), Err(BadToken));
        }

        #[test]
        fn arbitrary_text_is_refused(text in ".{1,200}") {
            prop_assert_eq!(PageToken::read(&text, &query("a"), "1"), Err(BadToken));
        }
    }
}
