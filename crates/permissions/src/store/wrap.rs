//! How secrets lie on disk: sealed under a key that the store does not hold.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload};
use zeroize::Zeroizing;

use super::record::damaged;
use crate::{AccessKeyId, Result, Secret};

const KEY: usize = 32;
const NONCE: usize = 12;

/// The key that access keys' secrets are wrapped with. Wiped when dropped.
#[derive(Clone)]
pub struct WrappingKey(Zeroizing<[u8; KEY]>);

impl WrappingKey {
    /// Reads the key in `path`, or makes one there that only its owner may
    /// read. Blocks.
    ///
    /// Fails on a file of another length: without the key that it held, every
    /// access key's secret is lost, so it is never replaced.
    pub fn load_or_make(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    /// A key that is nowhere.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut key = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *key).expect("the kernel gives random bytes");
        Self(key)
    }

    fn read(file: File, path: &Path) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY + 1));
        file.take(KEY as u64 + 1).read_to_end(&mut bytes)?;
        let key = bytes.as_slice().try_into().map_err(|_| {
            let text = format!("{} does not hold {KEY} bytes: restore it", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Durable before it is used, under its name only when whole.
    fn make(path: &Path) -> io::Result<Self> {
        let key = Self::random();
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let fresh = path.with_extension("fresh");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&*key.0)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(dir)?.sync_all()?;
        Ok(key)
    }

    /// Seals the secret of `id`: it opens for no other.
    pub(super) fn wrap(&self, id: &AccessKeyId, secret: &Secret) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: id.as_str().as_bytes() };
        let sealed = self.cipher().encrypt(&nonce.into(), payload);
        let sealed = sealed.expect("a secret is far shorter than the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    pub(super) fn unwrap(&self, id: &AccessKeyId, wrapped: &[u8]) -> Result<Secret> {
        let lost = || damaged("access key");
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE>().ok_or_else(lost)?;
        let payload = Payload { msg: sealed, aad: id.as_str().as_bytes() };
        let open = self.cipher().decrypt(&(*nonce).into(), payload).map_err(|_| lost())?;
        let open = Zeroizing::new(open);
        Secret::chosen(std::str::from_utf8(&open).map_err(|_| lost())?).map_err(|_| lost())
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_for_its_id_alone() {
        let (key, other) = (WrappingKey::random(), WrappingKey::random());
        let (id, secret) = (AccessKeyId::random(), Secret::random());
        let wrapped = key.wrap(&id, &secret);
        assert_eq!(key.unwrap(&id, &wrapped).unwrap(), secret);
        assert!(other.unwrap(&id, &wrapped).is_err());
        assert!(key.unwrap(&AccessKeyId::random(), &wrapped).is_err());
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(key.unwrap(&id, &changed).is_err(), "{at}");
        }
        assert!(key.unwrap(&id, &wrapped[..5]).is_err());
        assert_ne!(key.wrap(&id, &secret), wrapped, "the nonce did not change");
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/wrapping.key");
        let first = WrappingKey::load_or_make(&path).unwrap();
        let again = WrappingKey::load_or_make(&path).unwrap();
        assert_eq!(first.0, again.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for bad in [31, 33] {
            std::fs::write(&path, vec![0; bad]).unwrap();
            assert!(WrappingKey::load_or_make(&path).is_err());
        }
    }
}
