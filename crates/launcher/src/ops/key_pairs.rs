use vmint_ids::KeyPairId;
use vmint_store::Asked;

use super::Launcher;
use crate::{KeyName, KeyPair, LauncherError, Result, key_pair};

/// A key pair just made.
pub struct MadeKeyPair {
    pub pair: KeyPair,
    /// OpenSSH PEM; none if the pair was made by an earlier request of the same id.
    pub private_key: Option<String>,
}

impl std::fmt::Debug for MadeKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKeyPair").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl Launcher {
    /// Makes an ed25519 key pair; the private half is in the answer and nowhere else.
    pub async fn create_key_pair(
        &self,
        account: &str,
        name: KeyName,
        asked: Asked,
    ) -> Result<MadeKeyPair> {
        let drawn = key_pair::draw(&name)?;
        let pair = pair(account, name, drawn.public_key, drawn.fingerprint);
        let (pair, fresh) = self.records.add_key_pair(pair, asked).await?;
        Ok(MadeKeyPair { pair, private_key: fresh.then_some(drawn.private_key) })
    }

    /// Records a public key made elsewhere: ssh-ed25519 or ssh-rsa.
    pub async fn import_key_pair(
        &self,
        account: &str,
        name: KeyName,
        public_key: &str,
        asked: Asked,
    ) -> Result<KeyPair> {
        let (line, fingerprint) = key_pair::import(public_key)?;
        let pair = pair(account, name, line, fingerprint);
        Ok(self.records.add_key_pair(pair, asked).await?.0)
    }

    /// Lists the account's key pairs by name; at most `size`, and whether more follow.
    pub fn list_key_pairs(
        &self,
        account: &str,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<(Vec<KeyPair>, bool)> {
        let mut pairs = self.records.key_pairs(account, after, size + 1)?;
        let more = pairs.len() > size;
        pairs.truncate(size);
        Ok((pairs, more))
    }

    /// Forgets a key pair; machines that have it keep it.
    pub async fn delete_key_pair(&self, account: &str, name: &str, asked: Asked) -> Result<()> {
        // What cannot be a name was never one.
        match KeyName::parse(name) {
            Ok(name) => self.records.delete_key_pair(account.to_owned(), name, asked).await,
            Err(_) if name.is_empty() => Err(LauncherError::field("name", "must be set")),
            Err(_) => Ok(()),
        }
    }
}

fn pair(account: &str, name: KeyName, public_key: String, fingerprint: String) -> KeyPair {
    KeyPair {
        id: KeyPairId::random(),
        account: account.to_owned(),
        name,
        public_key,
        fingerprint,
        created_at: 0,
    }
}
