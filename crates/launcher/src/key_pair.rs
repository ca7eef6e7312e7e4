//! Key pairs: made here or brought along; only the public half is kept.

use md5::{Digest as _, Md5};
use rsa::{
    BoxedUint, PrivateKey as RsaPrivateKey, PublicKey as RsaPublicKey,
    pkcs1::EncodeRsaPrivateKey as _,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _},
    traits::PublicKeyParts as _,
};
use sha1::Sha1;
use ssh_key::{
    Algorithm, HashAlg, LineEnding, Mpint, PrivateKey, PublicKey,
    private::{Ed25519Keypair, KeypairData},
    public::KeyData,
};
use vmint_ids::KeyPairId;

use crate::{LauncherError, Result};

/// No RSA key of 16384 bits is longer than this, in characters.
const MAX_PUBLIC_KEY: usize = 8 << 10;
/// Of a key made here.
const RSA_BITS: usize = 2048;
/// Of a key brought along.
const RSA_SIZES: std::ops::RangeInclusive<usize> = 2048..=16_384;

/// A public key that can be put into machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub id: KeyPairId,
    pub account: String,
    pub name: KeyName,
    /// As in an authorized_keys line.
    pub public_key: String,
    /// "SHA256:…".
    pub fingerprint: String,
    /// As EC2 writes it for a key of this kind and origin.
    pub ec2_fingerprint: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    pub tags: Vec<(String, String)>,
}

/// What a key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    #[default]
    Ed25519,
    /// Of 2048 bits if made here.
    Rsa,
}

impl KeyPair {
    /// By which listings go on.
    pub(crate) fn key(&self) -> Vec<u8> {
        vmint_store::Key::encode(&(self.account.clone(), self.name.as_str().to_owned()))
    }

    #[must_use]
    pub fn kind(&self) -> KeyKind {
        if self.public_key.starts_with("ssh-rsa ") { KeyKind::Rsa } else { KeyKind::Ed25519 }
    }
}

/// A key pair's name: 1 to 255 printable ASCII characters, no space at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    pub fn parse(text: &str) -> Result<Self> {
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if (1..=255).contains(&text.len()) && printable && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(LauncherError::field("name", "use 1 to 255 printable ASCII characters"))
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key pair just drawn.
pub(crate) struct Drawn {
    /// Both as [`KeyPair`] has them.
    pub public_key: String,
    pub fingerprint: String,
    pub ec2_fingerprint: String,
    /// PEM: OpenSSH's for ed25519, PKCS#1 for RSA; kept nowhere.
    pub private_key: String,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawn").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Draws a key whose comment is `name`. RSA takes its time, up to a second or so.
pub(crate) fn draw(name: &KeyName, kind: KeyKind) -> Result<Drawn> {
    match kind {
        KeyKind::Ed25519 => draw_ed25519(name),
        KeyKind::Rsa => draw_rsa(name),
    }
}

fn draw_ed25519(name: &KeyName) -> Result<Drawn> {
    let broken = || LauncherError::KeyNotMade;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| broken())?;
    let data = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(data, name.as_str()).map_err(|_| broken())?;
    let private_key = key.to_openssh(LineEnding::LF).map_err(|_| broken())?.to_string();
    let public = key.public_key();
    Ok(Drawn {
        public_key: public.to_openssh().map_err(|_| broken())?,
        fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        ec2_fingerprint: padded(public),
        private_key,
    })
}

fn draw_rsa(name: &KeyName) -> Result<Drawn> {
    let broken = || LauncherError::KeyNotMade;
    let key = RsaPrivateKey::new(&mut rand::rng(), RSA_BITS).map_err(|_| broken())?;
    let part = |bytes: Box<[u8]>| Mpint::from_positive_bytes(&bytes).map_err(|_| broken());
    let data = KeyData::Rsa(ssh_key::public::RsaPublicKey {
        e: part(key.e_bytes())?,
        n: part(key.n_bytes())?,
    });
    let public = PublicKey::new(data, name.as_str());
    let pem = key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).map_err(|_| broken())?;
    let inner = key.to_pkcs8_der().map_err(|_| broken())?;
    Ok(Drawn {
        public_key: public.to_openssh().map_err(|_| broken())?,
        fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        ec2_fingerprint: pairs(&Sha1::digest(inner.as_bytes())),
        private_key: pem.to_string(),
    })
}

/// EC2's fingerprint of a public key that was made elsewhere, or of an ed25519 key; empty
/// if the line is not a key.
pub(crate) fn ec2_fingerprint_of(line: &str) -> String {
    let Ok(key) = PublicKey::from_openssh(line) else { return String::new() };
    let KeyData::Rsa(rsa) = key.key_data() else { return padded(&key) };
    let number = |part: &Mpint| part.as_positive_bytes().map(BoxedUint::from_be_slice_vartime);
    let (Some(n), Some(e)) = (number(&rsa.n), number(&rsa.e)) else { return String::new() };
    let Ok(key) = RsaPublicKey::new_with_size_limits(n, e, RSA_SIZES) else { return String::new() };
    key.to_public_key_der().map(|der| pairs(&Md5::digest(der.as_bytes()))).unwrap_or_default()
}

/// SHA-256 in base64, whose 32 bytes take one `=`.
fn padded(key: &PublicKey) -> String {
    let text = key.fingerprint(HashAlg::Sha256).to_string();
    format!("{}=", text.trim_start_matches("SHA256:"))
}

fn pairs(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

/// Reads one authorized_keys line without options: ssh-ed25519, or ssh-rsa of 2048
/// to 16384 bits. Answers it in canonical form, and its fingerprint.
pub(crate) fn import(text: &str) -> Result<(String, String)> {
    let bad = |why: &str| LauncherError::BadPublicKey { why: why.to_owned() };
    let text = text.trim();
    if text.len() > MAX_PUBLIC_KEY {
        return Err(bad("it is longer than 8 KiB"));
    }
    if text.contains("PRIVATE KEY") {
        return Err(bad(
            "this is a private key; give the .pub file, and keep this one to yourself",
        ));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(bad("give one line, as in an authorized_keys file"));
    }
    let key = PublicKey::from_openssh(text)
        .map_err(|_| bad("give a line such as `ssh-ed25519 AAAA… comment`"))?;
    match key.key_data() {
        KeyData::Ed25519(_) => {}
        KeyData::Rsa(rsa) => {
            let bits = rsa
                .n
                .as_positive_bytes()
                .map_or(0, |n| n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize));
            if !(2048..=16384).contains(&bits) {
                return Err(bad("an RSA key needs 2048 to 16384 bits"));
            }
        }
        _ => {
            let name = key.algorithm();
            let name = if name == Algorithm::Dsa { "ssh-dss" } else { name.as_str() };
            return Err(bad(&format!("{name} is not taken; use ssh-ed25519 or ssh-rsa")));
        }
    }
    let line = key.to_openssh().map_err(|_| bad("it cannot be written again"))?;
    Ok((line, key.fingerprint(HashAlg::Sha256).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    #[test]
    fn a_drawn_key_is_one_that_can_be_imported() {
        let drawn = draw(&name("me"), KeyKind::Ed25519).unwrap();
        assert!(drawn.private_key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert!(drawn.public_key.ends_with(" me"));
        let (line, fingerprint) = import(&drawn.public_key).unwrap();
        assert_eq!((line, fingerprint), (drawn.public_key.clone(), drawn.fingerprint));
        let read = PrivateKey::from_openssh(&drawn.private_key).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), drawn.public_key);
    }

    #[test]
    fn an_rsa_key_is_given_as_ec2_gives_it() {
        use rsa::pkcs1::DecodeRsaPrivateKey as _;
        let drawn = draw(&name("me"), KeyKind::Rsa).unwrap();
        assert!(drawn.private_key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        let key = RsaPrivateKey::from_pkcs1_pem(&drawn.private_key).unwrap();
        assert_eq!(key.size() * 8, RSA_BITS);
        let sha1 = pairs(&Sha1::digest(key.to_pkcs8_der().unwrap().as_bytes()));
        assert_eq!((drawn.ec2_fingerprint.len(), &drawn.ec2_fingerprint), (59, &sha1));
        let (line, fingerprint) = import(&drawn.public_key).unwrap();
        assert_eq!((line.as_str(), fingerprint), (drawn.public_key.as_str(), drawn.fingerprint));
        let der = key.to_public_key().to_public_key_der().unwrap();
        assert_eq!(ec2_fingerprint_of(&line), pairs(&Md5::digest(der.as_bytes())));
    }

    #[test]
    fn fingerprints_are_those_that_openssl_and_openssh_tell() {
        // Made with ssh-keygen; told by `openssl pkey -pubin -outform DER | openssl md5 -c`
        // and by `ssh-keygen -l`.
        let rsa = include_str!("../tests/keys/rsa.pub");
        assert_eq!(ec2_fingerprint_of(rsa.trim()), include_str!("../tests/keys/rsa.md5").trim());
        let ed25519 = include_str!("../tests/keys/ed25519.pub");
        let told = include_str!("../tests/keys/ed25519.sha256").trim();
        assert_eq!(ec2_fingerprint_of(ed25519.trim()), format!("{told}="));
    }

    #[test]
    fn what_is_not_a_public_key_is_refused() {
        let private = draw(&name("x"), KeyKind::Ed25519).unwrap().private_key;
        let short = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me";
        for bad in ["", "hello", &private, short, "command=\"x\" ssh-ed25519 AAAA", "a\nb"] {
            let refused = import(bad).unwrap_err();
            assert!(matches!(refused, LauncherError::BadPublicKey { .. }), "{bad}");
        }
    }

    #[test]
    fn names_are_bounded() {
        for bad in ["", " a", "a ", "a\n", &"x".repeat(256)] {
            assert!(KeyName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(name("my key").as_str(), "my key");
    }
}
