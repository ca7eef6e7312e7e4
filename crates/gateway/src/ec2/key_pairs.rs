//! Key pairs.

use vmint_api::launcher::v1::{
    CreateKeyPairRequest, DeleteKeyPairRequest, ImportKeyPairRequest, KeyPair, ListKeyPairsRequest,
};
use vmint_ec2::{Code, Error, Operation, Xml, query::not_found};

use super::{Call, Entry, Refused, entries, entry::Answer, filter, service::Service, stamp};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_key_pair,
    writes IMPORT => import_key_pair,
    reads DESCRIBE => describe_key_pairs,
    writes DELETE => delete_key_pair,
};

/// Without a type it is ed25519 too: RSA keys are imported, not drawn.
const CREATE: Operation = Operation::new("CreateKeyPair", &["KeyName!"])
    .only(&[("KeyType", &["ed25519"]), ("KeyFormat", &["pem"])]);
const IMPORT: Operation = Operation::new("ImportKeyPair", &["KeyName!", "PublicKeyMaterial!"]);
const DESCRIBE: Operation = Operation::new(
    "DescribeKeyPairs",
    &["KeyName.N", "KeyPairId.N", "IncludePublicKey", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["fingerprint", "key-name", "key-pair-id"]);
const DELETE: Operation = Operation::new("DeleteKeyPair", &["KeyName", "KeyPairId"]);

async fn create_key_pair(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let name = call.params.need("KeyName")?;
    let request = CreateKeyPairRequest { name, request_id, ..Default::default() };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let made = launcher.create_key_pair(request).await?.into_inner();
    let pair = made.key_pair.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("keyName", &pair.name)
        .text("keyFingerprint", &pair.fingerprint)
        .text("keyMaterial", &made.private_key)
        .text("keyPairId", &pair.key_pair_id)
        .empty("tagSet");
    Ok(xml)
}

async fn import_key_pair(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let name = call.params.need("KeyName")?;
    let material = call.params.blob("PublicKeyMaterial")?.unwrap_or_default();
    let public_key = String::from_utf8(material)
        .map_err(|_| Error::new(Code::InvalidKeyFormat, "Key is not in valid OpenSSH format"))?;
    let public_key = public_key.trim().to_owned();
    let request = ImportKeyPairRequest { name, public_key, request_id, ..Default::default() };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let pair = launcher.import_key_pair(request).await?.into_inner().key_pair.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("keyName", &pair.name)
        .text("keyFingerprint", &pair.fingerprint)
        .text("keyPairId", &pair.key_pair_id)
        .empty("tagSet");
    Ok(xml)
}

async fn describe_key_pairs(mut call: Call) -> Answer {
    let (names, ids) = (call.params.list("KeyName")?, call.params.list("KeyPairId")?);
    let public = call.params.flag("IncludePublicKey")? == Some(true);
    let filters = call.params.filters()?;
    let pairs = all(&call).await?;
    for name in &names {
        if !pairs.iter().any(|pair| pair.name == *name) {
            return Err(not_found("key", name).into());
        }
    }
    for id in &ids {
        if !pairs.iter().any(|pair| pair.key_pair_id == *id) {
            return Err(not_found("key", id).into());
        }
    }
    let some = !names.is_empty() || !ids.is_empty();
    let shown = pairs.into_iter().filter(|pair| {
        let asked = !some || names.contains(&pair.name) || ids.contains(&pair.key_pair_id);
        asked
            && filter::all(&filters, |name| {
                vec![match name {
                    "key-name" => pair.name.clone(),
                    "fingerprint" => pair.fingerprint.clone(),
                    _ => pair.key_pair_id.clone(),
                }]
            })
    });
    let mut xml = Xml::new();
    xml.items("keySet", shown, |xml, pair| {
        let kind = if pair.public_key.starts_with("ssh-rsa") { "rsa" } else { "ed25519" };
        xml.text("keyPairId", &pair.key_pair_id)
            .text("keyName", &pair.name)
            .text("keyFingerprint", &pair.fingerprint)
            .text("keyType", kind)
            .empty("tagSet");
        if public {
            xml.text("publicKey", &pair.public_key);
        }
        if let Some(at) = stamp(pair.create_time.as_ref()) {
            xml.time("createTime", at);
        }
    });
    Ok(xml)
}

/// Deleting what is not there is no error, as in EC2.
async fn delete_key_pair(mut call: Call) -> Answer {
    let (name, id) = (call.params.text("KeyName")?, call.params.text("KeyPairId")?);
    let known = match (&name, &id) {
        (None, None) => return Err(Error::missing("KeyName").into()),
        (Some(_), Some(_)) => {
            return Err(Error::combination("Give KeyName or KeyPairId, not both.").into());
        }
        (Some(name), None) => all(&call).await?.into_iter().find(|pair| pair.name == *name),
        (None, Some(id)) => {
            let found = all(&call).await?.into_iter().find(|pair| pair.key_pair_id == *id);
            Some(found.ok_or_else(|| not_found("key", id))?)
        }
    };
    let mut xml = Xml::done();
    let Some(pair) = known else { return Ok(xml) };
    let request_id = call.request_id()?;
    let request = DeleteKeyPairRequest { name: pair.name, request_id, ..Default::default() };
    call.front.gateway.peers.instances(&call.caller).delete_key_pair(request).await?;
    xml.text("keyPairId", &pair.key_pair_id);
    Ok(xml)
}

async fn all(call: &Call) -> Result<Vec<KeyPair>, Refused> {
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let mut request = ListKeyPairsRequest { page_size: 1000, ..Default::default() };
    let mut pairs = Vec::new();
    loop {
        let page = launcher.list_key_pairs(request.clone()).await?.into_inner();
        pairs.extend(page.key_pairs);
        if page.next_page_token.is_empty() {
            return Ok(pairs);
        }
        request.page_token = page.next_page_token;
    }
}
