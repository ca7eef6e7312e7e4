//! Key pairs.

use vmint_api::{
    launcher::v1::{
        CreateKeyPairRequest, DeleteKeyPairRequest, ImportKeyPairRequest, KeyPair, KeyType,
        ListKeyPairsRequest,
    },
    types::v1::{Filter, Tag},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml};

use super::{Call, Entry, entries, entry::Answer, instances::tags, service::Service, stamp};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes CREATE => create_key_pair,
    writes IMPORT => import_key_pair,
    reads DESCRIBE => describe_key_pairs,
    writes DELETE => delete_key_pair,
};

const CREATE: Operation = Operation::new(
    "CreateKeyPair",
    &[
        "KeyName!",
        "KeyType",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[("KeyFormat", &["pem"])]);
const IMPORT: Operation = Operation::new(
    "ImportKeyPair",
    &[
        "KeyName!",
        "PublicKeyMaterial!",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
);
const DESCRIBE: Operation = Operation::new(
    "DescribeKeyPairs",
    &["KeyName.N", "KeyPairId.N", "IncludePublicKey", "Filter.N.Name", "Filter.N.Value.N"],
)
.filters(&["fingerprint", "key-name", "key-pair-id", "tag-key", "tag:*"]);
const DELETE: Operation = Operation::new("DeleteKeyPair", &["KeyName", "KeyPairId"]);

async fn create_key_pair(mut call: Call) -> Answer {
    let types = [("rsa", KeyType::Rsa), ("ed25519", KeyType::Ed25519)];
    let request = CreateKeyPairRequest {
        request_id: call.request_id()?,
        name: call.params.need("KeyName")?,
        // EC2's default.
        key_type: call.params.choice("KeyType", &types)?.unwrap_or(KeyType::Rsa).into(),
        tags: given_tags(&mut call.params)?,
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let made = launcher.create_key_pair(request).await?.into_inner();
    let pair = made.key_pair.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("keyName", &pair.name)
        .text("keyFingerprint", &pair.ec2_fingerprint)
        .text("keyMaterial", &made.private_key)
        .text("keyPairId", &pair.key_pair_id);
    tags(&mut xml, &pair.tags);
    Ok(xml)
}

async fn import_key_pair(mut call: Call) -> Answer {
    let material = call.params.blob("PublicKeyMaterial")?.unwrap_or_default();
    let public_key = String::from_utf8(material)
        .map_err(|_| Error::new(Code::InvalidKeyFormat, "Key is not in valid OpenSSH format"))?;
    let request = ImportKeyPairRequest {
        request_id: call.request_id()?,
        name: call.params.need("KeyName")?,
        public_key: public_key.trim().to_owned(),
        tags: given_tags(&mut call.params)?,
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let pair = launcher.import_key_pair(request).await?.into_inner().key_pair.unwrap_or_default();
    let mut xml = Xml::new();
    xml.text("keyName", &pair.name)
        .text("keyFingerprint", &pair.ec2_fingerprint)
        .text("keyPairId", &pair.key_pair_id);
    tags(&mut xml, &pair.tags);
    Ok(xml)
}

async fn describe_key_pairs(mut call: Call) -> Answer {
    let public = call.params.flag("IncludePublicKey")? == Some(true);
    let filters = call.params.filters()?.into_iter();
    let mut request = ListKeyPairsRequest {
        page_size: 1000,
        names: call.params.list("KeyName")?,
        key_pair_ids: call.params.list("KeyPairId")?,
        filters: filters.map(|it| Filter { name: it.name, values: it.values }).collect(),
        ..ListKeyPairsRequest::default()
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let mut pairs = Vec::new();
    loop {
        let page = launcher.list_key_pairs(request.clone()).await?.into_inner();
        pairs.extend(page.key_pairs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let mut xml = Xml::new();
    xml.items("keySet", pairs, |xml, pair| write(xml, &pair, public));
    Ok(xml)
}

fn write(xml: &mut Xml, pair: &KeyPair, public: bool) {
    let kind = match pair.key_type() {
        KeyType::Rsa => "rsa",
        KeyType::Ed25519 | KeyType::Unspecified => "ed25519",
    };
    xml.text("keyPairId", &pair.key_pair_id)
        .text("keyName", &pair.name)
        .text("keyFingerprint", &pair.ec2_fingerprint)
        .text("keyType", kind);
    tags(xml, &pair.tags);
    if public {
        xml.text("publicKey", &pair.public_key);
    }
    if let Some(at) = stamp(pair.create_time.as_ref()) {
        xml.time("createTime", at);
    }
}

/// Deleting what is not there is no error, as in EC2.
async fn delete_key_pair(mut call: Call) -> Answer {
    let (name, id) = (call.params.text("KeyName")?, call.params.text("KeyPairId")?);
    match (&name, &id) {
        (None, None) => return Err(Error::missing("KeyName").into()),
        (Some(_), Some(_)) => {
            return Err(Error::combination("Give KeyName or KeyPairId, not both.").into());
        }
        _ => {}
    }
    let request = DeleteKeyPairRequest {
        name: name.unwrap_or_default(),
        key_pair_id: id.unwrap_or_default(),
        request_id: call.request_id()?,
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let gone = launcher.delete_key_pair(request).await?.into_inner();
    let mut xml = Xml::done();
    xml.filled("keyPairId", gone.key_pair_id);
    Ok(xml)
}

fn given_tags(params: &mut Params) -> Result<Vec<Tag>, Error> {
    let specifications = params.tag_specifications(&["key-pair"])?;
    let tags = Params::tags_for(&specifications, "key-pair").into_iter();
    Ok(tags.map(|tag| Tag { key: tag.key, value: tag.value }).collect())
}
