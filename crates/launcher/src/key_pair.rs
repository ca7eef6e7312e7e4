//! Key pairs: made here or brought along; only the public half is kept.

use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey,
    private::{Ed25519Keypair, KeypairData},
    public::KeyData,
};
use vmint_ids::KeyPairId;

use crate::{LauncherError, Result};

/// No RSA key of 16384 bits is longer than this, in characters.
const MAX_PUBLIC_KEY: usize = 8 << 10;

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
    /// Milliseconds since 1970.
    pub created_at: i64,
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
    /// OpenSSH PEM; kept nowhere.
    pub private_key: String,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawn").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Draws an ed25519 key whose comment is `name`.
pub(crate) fn draw(name: &KeyName) -> Result<Drawn> {
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
        private_key,
    })
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
        let drawn = draw(&name("me")).unwrap();
        assert!(drawn.private_key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert!(drawn.public_key.ends_with(" me"));
        let (line, fingerprint) = import(&drawn.public_key).unwrap();
        assert_eq!((line, fingerprint), (drawn.public_key.clone(), drawn.fingerprint));
        let read = PrivateKey::from_openssh(&drawn.private_key).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), drawn.public_key);
    }

    #[test]
    fn what_is_not_a_public_key_is_refused() {
        let private = draw(&name("x")).unwrap().private_key;
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
