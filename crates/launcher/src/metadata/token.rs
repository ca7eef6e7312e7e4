//! Session tokens: an end time and its seal, bound to one instance's secret.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// The longest life of a token, in seconds: six hours.
pub(super) const LONGEST: u64 = 21_600;

const CONTEXT: &str = "vmint 2026 instance metadata token";

/// A token that holds for `seconds` from `now` (milliseconds since 1970).
pub(super) fn issue(secret: &[u8; 32], now: i64, seconds: u64) -> String {
    let life = i64::try_from(seconds.min(LONGEST) * 1000).unwrap_or(0);
    let end = now.saturating_add(life).to_be_bytes();
    let mut token = end.to_vec();
    token.extend_from_slice(seal(secret, end).as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(token)
}

/// Whether `token` was issued under this secret and still holds.
pub(super) fn holds(secret: &[u8; 32], now: i64, token: &str) -> bool {
    if token.len() > 64 {
        return false;
    }
    let Ok(token) = BASE64_URL_SAFE_NO_PAD.decode(token) else { return false };
    let Some((end, given)) = token.split_first_chunk::<8>() else { return false };
    let Ok(given) = <[u8; 32]>::try_from(given) else { return false };
    // blake3's hashes are compared in constant time.
    seal(secret, *end) == blake3::Hash::from_bytes(given) && now < i64::from_be_bytes(*end)
}

fn seal(secret: &[u8; 32], end: [u8; 8]) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(CONTEXT, secret), &end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_life_and_its_instance_only() {
        let token = issue(&[1; 32], 1_000, 60);
        assert!(holds(&[1; 32], 60_999, &token));
        assert!(!holds(&[1; 32], 61_000, &token));
        assert!(!holds(&[2; 32], 1_000, &token));
    }

    #[test]
    fn whatever_else_is_no_token() {
        let token = issue(&[1; 32], 1_000, 60);
        let longer = format!("{token}AAAA");
        for bad in ["", "x", "====", &token[1..], &longer, &"A".repeat(54), &"A".repeat(1 << 20)] {
            assert!(!holds(&[1; 32], 1_000, bad));
        }
        for at in 0..token.len() - 1 {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!holds(&[1; 32], 1_000, std::str::from_utf8(&changed).unwrap()), "{at}");
        }
    }
}
