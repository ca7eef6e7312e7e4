//! Where keys lie, and how data keys are kept under them.
//!
//! The wrapped data keys are with the provider too and not in the service's records: a journal
//! cannot forget, and destroying a data key must leave no copy of it.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use vmint_blocks::DataKey;
use vmint_ids::{KmsKeyId, LineageId};

/// Keeps keys. All methods block, and doing one again changes nothing.
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// Makes a key, if there is none of this id.
    fn create(&self, key: KmsKeyId) -> io::Result<()>;

    /// Destroys a key for good. One that is not there is no error.
    fn destroy(&self, key: KmsKeyId) -> io::Result<()>;

    /// The data key of a lineage, drawn if there is none yet.
    fn new_data_key(&self, key: KmsKeyId, lineage: LineageId) -> io::Result<DataKey>;

    /// The data key of a lineage; none if it was destroyed, or never was.
    fn data_key(&self, key: KmsKeyId, lineage: LineageId) -> io::Result<Option<DataKey>>;

    /// Destroys a data key for good. One that is not there is no error.
    fn destroy_data_key(&self, lineage: LineageId) -> io::Result<()>;

    /// Wraps a secret that is kept elsewhere; it opens again under the same key and with the same
    /// `context`, 17 bytes at least.
    fn wrap(&self, key: KmsKeyId, context: &[u8], secret: &[u8]) -> io::Result<Vec<u8>>;

    /// The secret that was wrapped; none if its key was destroyed, or it was not wrapped so.
    fn unwrap(&self, key: KmsKeyId, context: &[u8], wrapped: &[u8]) -> io::Result<Option<Vec<u8>>>;
}

/// Keys as files that their owner alone may read, in a directory of their own.
#[derive(Debug)]
pub struct FileKeys {
    dir: PathBuf,
}

impl FileKeys {
    /// In `dir`, which is made with the first key.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn key_path(&self, key: KmsKeyId) -> PathBuf {
        self.dir.join("keys").join(key.to_string())
    }

    fn data_path(&self, lineage: LineageId) -> PathBuf {
        self.dir.join("data").join(lineage.to_string())
    }

    fn key(&self, id: KmsKeyId) -> io::Result<Option<LessSafeKey>> {
        let Some(bytes) = read(&self.key_path(id))? else { return Ok(None) };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| damaged("key", id))?;
        Ok(Some(LessSafeKey::new(key)))
    }
}

impl KeyProvider for FileKeys {
    fn create(&self, key: KmsKeyId) -> io::Result<()> {
        write_new(&self.key_path(key), &random::<32>()?)
    }

    fn destroy(&self, key: KmsKeyId) -> io::Result<()> {
        wipe(&self.key_path(key))
    }

    fn new_data_key(&self, key: KmsKeyId, lineage: LineageId) -> io::Result<DataKey> {
        let Some(cipher) = self.key(key)? else { return Err(gone(key)) };
        let (nonce, mut data) = (random::<NONCE_LEN>()?, random::<32>()?.to_vec());
        let sealed = cipher.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            additional(key, lineage),
            &mut data,
        );
        sealed.map_err(|_| damaged("key", key))?;
        write_new(&self.data_path(lineage), &[&nonce[..], &data].concat())?;
        // As it is there: another call may have been first.
        self.data_key(key, lineage)?.ok_or_else(|| gone(lineage))
    }

    fn data_key(&self, key: KmsKeyId, lineage: LineageId) -> io::Result<Option<DataKey>> {
        let Some(mut bytes) = read(&self.data_path(lineage))? else { return Ok(None) };
        let Some(cipher) = self.key(key)? else { return Ok(None) };
        let bad = || damaged("data key", lineage);
        let (nonce, wrapped) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(bad)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let data = cipher.open_in_place(nonce, additional(key, lineage), wrapped);
        let data = data.map_err(|_| bad())?;
        Ok(Some(DataKey::from_bytes((&*data).try_into().map_err(|_| bad())?)))
    }

    fn destroy_data_key(&self, lineage: LineageId) -> io::Result<()> {
        wipe(&self.data_path(lineage))
    }

    fn wrap(&self, key: KmsKeyId, context: &[u8], secret: &[u8]) -> io::Result<Vec<u8>> {
        let Some(cipher) = self.key(key)? else { return Err(gone(key)) };
        let (nonce, mut data) = (random::<NONCE_LEN>()?, secret.to_vec());
        let sealed = cipher.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            bound(key, context)?,
            &mut data,
        );
        sealed.map_err(|_| damaged("key", key))?;
        Ok([&nonce[..], &data].concat())
    }

    fn unwrap(&self, key: KmsKeyId, context: &[u8], wrapped: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(cipher) = self.key(key)? else { return Ok(None) };
        let Some((nonce, sealed)) = wrapped.split_first_chunk::<NONCE_LEN>() else {
            return Ok(None);
        };
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let opened = cipher.open_in_place(nonce, bound(key, context)?, &mut sealed);
        Ok(opened.ok().map(|secret| secret.to_vec()))
    }
}

/// Longer than what data keys are bound to, so that neither passes for the other.
fn bound(key: KmsKeyId, context: &[u8]) -> io::Result<Aad<Vec<u8>>> {
    if context.len() <= 16 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(Aad::from([&key.to_key()[..], context].concat()))
}

fn additional(key: KmsKeyId, lineage: LineageId) -> Aad<[u8; 32]> {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&key.to_key());
    bytes[16..].copy_from_slice(&lineage.to_key());
    Aad::from(bytes)
}

fn damaged(what: &str, id: impl fmt::Display) -> io::Error {
    let text = format!("the file of {what} {id} is damaged: restore it from its own backup");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn gone(id: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{id} is destroyed"))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Writes a file as a whole, on disk; one that is there stays.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    match fs::hard_link(&new, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::remove_file(&new)?,
    }
    File::open(dir)?.sync_all()
}

/// Writes over a file before it goes. A disk that keeps old versions of a block may keep this
/// one too: then the key above it must go as well.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn data_keys_read_back_until_they_or_their_key_are_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = FileKeys::new(dir.path().join("k"));
        let (key, other) = (KmsKeyId::random(), KmsKeyId::random());
        let (first, second) = (LineageId::random(), LineageId::random());
        assert!(keys.new_data_key(key, first).is_err());
        for id in [key, other] {
            keys.create(id).unwrap();
        }
        let data = keys.new_data_key(key, first).unwrap();
        // Again: neither is drawn anew.
        keys.create(key).unwrap();
        assert_eq!(keys.new_data_key(key, first).unwrap(), data);
        assert_ne!(keys.new_data_key(key, second).unwrap(), data);
        assert_eq!(keys.data_key(key, first).unwrap(), Some(data));
        assert!(keys.data_key(other, first).is_err(), "another key does not open it");
        // Nor does a file that was exchanged for another.
        fs::copy(keys.data_path(second), keys.data_path(first)).unwrap();
        assert!(keys.data_key(key, first).is_err());
        for path in [keys.key_path(key), keys.data_path(second)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let (context, secret) = (b"of a bundle with an id", b"secret");
        let wrapped = keys.wrap(key, context, secret).unwrap();
        assert_ne!(keys.wrap(key, context, secret).unwrap(), wrapped);
        assert_eq!(keys.unwrap(key, context, &wrapped).unwrap().as_deref(), Some(&secret[..]));
        assert_eq!(keys.unwrap(other, context, &wrapped).unwrap(), None);
        assert_eq!(keys.unwrap(key, b"of a bundle with another", &wrapped).unwrap(), None);
        assert_eq!(keys.unwrap(key, context, &wrapped[..11]).unwrap(), None);
        assert!(keys.wrap(key, b"short", secret).is_err());
        keys.destroy_data_key(first).unwrap();
        keys.destroy_data_key(first).unwrap();
        assert_eq!(keys.data_key(key, first).unwrap(), None);
        keys.destroy(key).unwrap();
        assert_eq!(keys.data_key(key, second).unwrap(), None);
    }
}
