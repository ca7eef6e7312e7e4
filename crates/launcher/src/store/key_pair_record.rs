//! A key pair as it lies on disk. Fields are only ever added.

use super::record::TagRecord;
use crate::{KeyName, KeyPair, LauncherError, key_pair};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyPairRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    public_key: String,
    #[prost(string, tag = "5")]
    fingerprint: String,
    #[prost(int64, tag = "6")]
    created_at: i64,
    #[prost(message, repeated, tag = "7")]
    tags: Vec<TagRecord>,
    /// Empty in old records, which are all ed25519 or imported.
    #[prost(string, tag = "8")]
    ec2_fingerprint: String,
}

impl KeyPairRecord {
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    pub(super) fn key_line(&self) -> &str {
        &self.public_key
    }
}

impl From<&KeyPair> for KeyPairRecord {
    fn from(pair: &KeyPair) -> Self {
        Self {
            id: pair.id.to_string(),
            account: pair.account.clone(),
            name: pair.name.as_str().to_owned(),
            public_key: pair.public_key.clone(),
            fingerprint: pair.fingerprint.clone(),
            created_at: pair.created_at,
            tags: pair.tags.iter().map(Into::into).collect(),
            ec2_fingerprint: pair.ec2_fingerprint.clone(),
        }
    }
}

impl TryFrom<KeyPairRecord> for KeyPair {
    type Error = LauncherError;

    fn try_from(r: KeyPairRecord) -> Result<Self, LauncherError> {
        Ok(Self {
            id: r.id.parse().map_err(|_| LauncherError::Damaged { what: "key pair" })?,
            account: r.account,
            name: KeyName::parse(&r.name)?,
            ec2_fingerprint: match r.ec2_fingerprint {
                old if old.is_empty() => key_pair::ec2_fingerprint_of(&r.public_key),
                known => known,
            },
            public_key: r.public_key,
            fingerprint: r.fingerprint,
            created_at: r.created_at,
            tags: r.tags.into_iter().map(|t| (t.key, t.value)).collect(),
        })
    }
}
