use std::collections::BTreeSet;

use vmint_ids::KeyPairId;
use vmint_store::Asked;

use super::Launcher;
use crate::{
    BadFilter, KeyKind, KeyName, KeyPair, LauncherError, Result, filter::matches, key_pair,
    store::Which, tag,
};

/// Key pairs looked at in one step.
const STEP: usize = 200;
const MOST: usize = 1000;

/// Which key pairs to list.
#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    /// Only these, and those of `ids`; all must exist.
    pub names: Vec<String>,
    pub ids: Vec<String>,
    /// EC2's names, and values of which one must match.
    pub filters: Vec<(String, Vec<String>)>,
}

/// A key pair just made.
pub struct MadeKeyPair {
    pub pair: KeyPair,
    /// PEM: OpenSSH's for ed25519, PKCS#1 for RSA; none if the pair was made by an earlier request of the same id.
    pub private_key: Option<String>,
}

impl std::fmt::Debug for MadeKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKeyPair").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl Launcher {
    /// Makes a key pair; the private half is in the answer and nowhere else.
    pub async fn create_key_pair(
        &self,
        account: &str,
        name: KeyName,
        kind: KeyKind,
        tags: Vec<(String, String)>,
        asked: Asked,
    ) -> Result<MadeKeyPair> {
        tag::check_all(&tags)?;
        let named = name.clone();
        let drawing = tokio::task::spawn_blocking(move || key_pair::draw(&named, kind));
        let drawn = drawing.await.map_err(|_| LauncherError::KeyNotMade)??;
        let pair = KeyPair {
            id: KeyPairId::random(),
            account: account.to_owned(),
            name,
            public_key: drawn.public_key,
            fingerprint: drawn.fingerprint,
            ec2_fingerprint: drawn.ec2_fingerprint,
            created_at: 0,
            tags,
        };
        let (pair, fresh) = self.records.add_key_pair(pair, asked).await?;
        Ok(MadeKeyPair { pair, private_key: fresh.then_some(drawn.private_key) })
    }

    /// Records a public key made elsewhere: ssh-ed25519 or ssh-rsa.
    pub async fn import_key_pair(
        &self,
        account: &str,
        name: KeyName,
        public_key: &str,
        tags: Vec<(String, String)>,
        asked: Asked,
    ) -> Result<KeyPair> {
        tag::check_all(&tags)?;
        let (line, fingerprint) = key_pair::import(public_key)?;
        let pair = KeyPair {
            id: KeyPairId::random(),
            account: account.to_owned(),
            name,
            ec2_fingerprint: key_pair::ec2_fingerprint_of(&line),
            public_key: line,
            fingerprint,
            created_at: 0,
            tags,
        };
        Ok(self.records.add_key_pair(pair, asked).await?.0)
    }

    /// Lists the account's key pairs that `query` admits, by name; at most `size`, and
    /// whether more follow.
    pub fn list_key_pairs(
        &self,
        account: &str,
        query: &KeyQuery,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<(Vec<KeyPair>, bool)> {
        query.check()?;
        if query.is_open() {
            let mut pairs = self.records.key_pairs(account, after, size + 1)?;
            let more = pairs.len() > size;
            pairs.truncate(size);
            return Ok((pairs, more));
        }
        let mut pairs = Vec::new();
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let mut cursor = None::<Vec<u8>>;
        loop {
            let step = self.records.key_pairs(account, cursor.as_deref(), STEP)?;
            let Some(last) = step.last() else { break };
            cursor = Some(last.key());
            for pair in step {
                let by_name = query.names.iter().any(|n| n == pair.name.as_str());
                let by_id = query.ids.iter().any(|id| *id == pair.id.to_string());
                if by_name {
                    names.insert(pair.name.as_str().to_owned());
                }
                if by_id {
                    ids.insert(pair.id.to_string());
                }
                let wanted = query.names.is_empty() && query.ids.is_empty() || by_name || by_id;
                if wanted && query.admits(&pair) {
                    pairs.push(pair);
                }
            }
        }
        let missing = query.names.iter().filter(|n| !names.contains(*n));
        let missing = missing.chain(query.ids.iter().filter(|id| !ids.contains(*id)));
        let missing = missing.take(20).map(|m| m.chars().take(64).collect());
        let missing = missing.collect::<Vec<String>>();
        if !missing.is_empty() {
            return Err(LauncherError::NoSuchKeyPair { name: missing.join(", ") });
        }
        pairs.retain(|pair| after.is_none_or(|after| pair.key().as_slice() > after));
        let more = pairs.len() > size;
        pairs.truncate(size);
        Ok((pairs, more))
    }

    /// Forgets a key pair, by its id or its name; machines that have it keep it. Answers
    /// its id; none if it was not there.
    pub async fn delete_key_pair(
        &self,
        account: &str,
        id: &str,
        name: &str,
        asked: Asked,
    ) -> Result<Option<KeyPairId>> {
        if name.is_empty() && id.is_empty() {
            return Err(LauncherError::field("name", "must be set, or `key_pair_id`"));
        }
        let which = match (id, KeyName::parse(name)) {
            // What cannot be a name was never one.
            ("", Err(_)) => return Ok(None),
            ("", Ok(name)) => Which::Named(name),
            (id, _) => match id.parse() {
                Ok(id) => Which::Numbered(id),
                Err(_) => return Err(LauncherError::field("key_pair_id", "must be a key pair's")),
            },
        };
        self.records.delete_key_pair(account.to_owned(), which, asked).await
    }
}

impl KeyQuery {
    fn is_open(&self) -> bool {
        self.names.is_empty() && self.ids.is_empty() && self.filters.is_empty()
    }

    fn check(&self) -> Result<()> {
        let most = |field, n| match n {
            0..=MOST => Ok(()),
            _ => Err(LauncherError::field(field, "give at most 1000")),
        };
        most("names", self.names.len())?;
        most("key_pair_ids", self.ids.len())?;
        for (name, values) in &self.filters {
            let plain =
                matches!(name.as_str(), "key-pair-id" | "key-name" | "fingerprint" | "tag-key");
            let tag = name.strip_prefix("tag:").is_some_and(|key| !key.is_empty());
            let bad = |problem: &str| {
                let name = name.chars().take(64).collect();
                Err(BadFilter { name, problem: problem.to_owned() }.into())
            };
            if !plain && !tag {
                return bad(
                    "is not known; use key-pair-id, key-name, fingerprint, tag-key or tag:<key>",
                );
            }
            let long = values.iter().any(|v| v.len() > 256);
            if values.is_empty() || values.len() > 200 || long {
                return bad("needs 1 to 200 values of at most 256 bytes");
            }
        }
        match self.filters.len() {
            0..=50 => Ok(()),
            _ => Err(LauncherError::field("filters", "give at most 50")),
        }
    }

    fn admits(&self, pair: &KeyPair) -> bool {
        self.filters.iter().all(|(name, values)| {
            let is = |text: &str| values.iter().any(|v| matches(v.as_bytes(), text.as_bytes()));
            match name.as_str() {
                "key-pair-id" => is(&pair.id.to_string()),
                "key-name" => is(pair.name.as_str()),
                "fingerprint" => is(&pair.ec2_fingerprint) || is(&pair.fingerprint),
                "tag-key" => pair.tags.iter().any(|(key, _)| is(key)),
                other => {
                    let key = other.trim_start_matches("tag:");
                    pair.tags.iter().any(|(k, value)| k == key && is(value))
                }
            }
        })
    }
}
