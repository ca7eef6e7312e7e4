//! Key pairs, sizes, tags and changes, between messages and our own types.

use vmint_api::{launcher::v1 as pb, types::v1 as types};

use super::convert::on_poweroff;
use crate::{
    Change, INSTANCE_TYPES, InstanceType, KeyKind, KeyPair, LauncherError, Result, TagChange, clock,
};

pub(super) fn tags(given: Vec<types::Tag>) -> Vec<(String, String)> {
    given.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

pub(super) fn put(given: Vec<types::Tag>) -> TagChange {
    TagChange::Put(tags(given))
}

pub(super) fn take(given: Vec<pb::TagSelector>) -> TagChange {
    TagChange::Take(given.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

pub(super) fn kind(number: i32) -> KeyKind {
    match pb::KeyType::try_from(number) {
        Ok(pb::KeyType::Rsa) => KeyKind::Rsa,
        _ => KeyKind::Ed25519,
    }
}

pub(super) fn change(r: pb::ModifyInstanceRequest) -> Result<Change> {
    let size = match r.instance_type.as_str() {
        "" => None,
        name => Some(InstanceType::must_be(name)?),
    };
    Ok(Change {
        protected: r.disable_api_termination,
        on_poweroff: on_poweroff(r.shutdown_behavior),
        user_data: r.user_data.map(Into::into),
        size,
        ena_support: r.ena_support,
        devices: r
            .devices
            .into_iter()
            .map(|device| (device.device_name, device.delete_on_termination))
            .collect(),
        security_groups: r.security_group_ids,
    })
}

/// The sizes of these names, or all of them.
pub(super) fn types(names: &[String], most_mib: u64) -> Result<Vec<pb::InstanceType>> {
    if names.len() > 100 {
        return Err(LauncherError::field("names", "give at most 100"));
    }
    let wanted = names.iter().map(|name| InstanceType::must_be(name));
    let wanted = wanted.collect::<Result<Vec<_>>>()?;
    let shown = INSTANCE_TYPES.iter().filter(|t| wanted.is_empty() || wanted.contains(t));
    Ok(shown
        .map(|size| pb::InstanceType {
            name: size.name.to_owned(),
            cpus: size.cpus.into(),
            memory_mib: i32::try_from(size.memory_mib).unwrap_or(i32::MAX),
            fits_host: u64::from(size.memory_mib) <= most_mib,
        })
        .collect())
}

impl From<KeyPair> for pb::KeyPair {
    fn from(pair: KeyPair) -> Self {
        let key_type = match pair.kind() {
            KeyKind::Ed25519 => pb::KeyType::Ed25519,
            KeyKind::Rsa => pb::KeyType::Rsa,
        };
        Self {
            key_pair_id: pair.id.to_string(),
            name: pair.name.as_str().to_owned(),
            public_key: pair.public_key,
            fingerprint: pair.fingerprint,
            create_time: Some(clock::stamp(pair.created_at)),
            key_type: key_type.into(),
            ec2_fingerprint: pair.ec2_fingerprint,
            tags: pair.tags.into_iter().map(|(key, value)| types::Tag { key, value }).collect(),
        }
    }
}
