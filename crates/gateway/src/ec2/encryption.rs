//! Whether all that is new of an account's is encrypted, and with which key.

use vmint_api::storage::v1::{
    GetDefaultKeyRequest, GetEncryptionByDefaultRequest, Key, ResetDefaultKeyRequest,
    SetDefaultKeyRequest, SetEncryptionByDefaultRequest,
};
use vmint_ec2::{Operation, Xml};

use super::{Call, Entry, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes Operation::new("EnableEbsEncryptionByDefault", &[]) => enable,
    writes Operation::new("DisableEbsEncryptionByDefault", &[]) => disable,
    reads Operation::new("GetEbsEncryptionByDefault", &[]) => get,
    reads Operation::new("GetEbsDefaultKmsKeyId", &[]) => get_key,
    writes Operation::new("ModifyEbsDefaultKmsKeyId", &["KmsKeyId!"]) => modify_key,
    writes Operation::new("ResetEbsDefaultKmsKeyId", &[]) => reset_key,
};

/// What EC2 calls the key that is made when it is first needed.
const UNMADE: &str = "alias/aws/ebs";

async fn enable(call: Call) -> Answer {
    set(call, true).await
}

async fn disable(call: Call) -> Answer {
    set(call, false).await
}

async fn set(mut call: Call, enabled: bool) -> Answer {
    let request = SetEncryptionByDefaultRequest { enabled, request_id: call.request_id()? };
    call.front.gateway.peers.keys(&call.caller).set_encryption_by_default(request).await?;
    Ok(shown(enabled))
}

async fn get(call: Call) -> Answer {
    let mut keys = call.front.gateway.peers.keys(&call.caller);
    let found = keys.get_encryption_by_default(GetEncryptionByDefaultRequest {}).await?;
    Ok(shown(found.into_inner().enabled))
}

fn shown(enabled: bool) -> Xml {
    let mut xml = Xml::new();
    xml.value("ebsEncryptionByDefault", enabled);
    xml
}

async fn get_key(call: Call) -> Answer {
    let mut keys = call.front.gateway.peers.keys(&call.caller);
    let found = keys.get_default_key(GetDefaultKeyRequest {}).await?.into_inner().key;
    Ok(shown_key(found))
}

async fn reset_key(mut call: Call) -> Answer {
    let request = ResetDefaultKeyRequest { request_id: call.request_id()? };
    let mut keys = call.front.gateway.peers.keys(&call.caller);
    Ok(shown_key(keys.reset_default_key(request).await?.into_inner().key))
}

fn shown_key(key: Option<Key>) -> Xml {
    let mut xml = Xml::new();
    xml.text("kmsKeyId", key.map_or_else(|| UNMADE.to_owned(), |key| key.kms_key_id));
    xml
}

async fn modify_key(mut call: Call) -> Answer {
    let kms_key_id = call.params.need("KmsKeyId")?;
    let request = SetDefaultKeyRequest { kms_key_id, request_id: call.request_id()? };
    let mut keys = call.front.gateway.peers.keys(&call.caller);
    let key = keys.set_default_key(request).await?.into_inner().key.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("kmsKeyId", key.kms_key_id);
    Ok(xml)
}
