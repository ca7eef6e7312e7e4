//! What signs an instance-store bundle, and what encrypts its parts.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use vmint_ids::BundleTaskId;

use crate::{Result, StorageError};

/// Signs bundles of this deployment. Made of its secret, so that what was
/// signed once holds as long as the secret is there.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn of(secret: &[u8]) -> Result<Self> {
        let seed = blake3::derive_key("vmint 2026 instance-store bundle signatures", secret);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        pair.map(Self).map_err(|_| StorageError::Damaged)
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        // Ed25519's signatures have 64 bytes, so all of them are copied.
        for (to, from) in bytes.iter_mut().zip(self.0.sign(text).as_ref()) {
            *to = *from;
        }
        bytes
    }

    pub(crate) fn holds(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0.public_key());
        key.verify(text, signature).is_ok()
    }
}

/// Encrypts the parts of one bundle; drawn for it alone, so that a part's
/// number can be its nonce.
pub(crate) struct PartKey {
    cipher: LessSafeKey,
    of: BundleTaskId,
}

impl PartKey {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn new(of: BundleTaskId, secret: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, secret).map_err(|_| StorageError::Damaged)?;
        Ok(Self { cipher: LessSafeKey::new(key), of })
    }

    /// What a bundle's data key is bound to where it is wrapped.
    pub(crate) fn context(of: BundleTaskId) -> Vec<u8> {
        format!("vmint instance-store bundle {of}").into_bytes()
    }

    /// Encrypts part `index` and puts its tag behind it.
    pub(crate) fn seal(&self, index: usize, part: &mut Vec<u8>) -> Result<()> {
        let sealed = self.cipher.seal_in_place_append_tag(nonce(index), self.bound(), part);
        sealed.map_err(|_| StorageError::Damaged)
    }

    /// The part again; none if it is another.
    pub(crate) fn open<'a>(&self, index: usize, part: &'a mut [u8]) -> Option<&'a [u8]> {
        self.cipher.open_in_place(nonce(index), self.bound(), part).ok().map(|part| &*part)
    }

    fn bound(&self) -> Aad<[u8; 16]> {
        Aad::from(self.of.to_key())
    }
}

fn nonce(index: usize) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&(index as u64).to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_of_one_deployment_and_one_text() {
        let (ours, theirs) = (Signer::of(&[1; 32]).unwrap(), Signer::of(&[2; 32]).unwrap());
        let signature = ours.sign(b"text");
        assert!(Signer::of(&[1; 32]).unwrap().holds(b"text", &signature));
        assert!(!ours.holds(b"text ", &signature) && !theirs.holds(b"text", &signature));
        for bit in 0..512 {
            let mut other = signature;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!ours.holds(b"text", &other), "bit {bit}");
        }
    }

    #[test]
    fn parts_open_in_their_place_of_their_bundle_only() {
        let (one, other) = (BundleTaskId::random(), BundleTaskId::random());
        let key = PartKey::new(one, &[7; PartKey::BYTES]).unwrap();
        let mut part = b"a part".to_vec();
        key.seal(3, &mut part).unwrap();
        assert_eq!(key.open(3, &mut part.clone()), Some(&b"a part"[..]));
        assert_eq!(key.open(2, &mut part.clone()), None);
        let stranger = PartKey::new(other, &[7; PartKey::BYTES]).unwrap();
        assert_eq!(stranger.open(3, &mut part.clone()), None);
    }
}
