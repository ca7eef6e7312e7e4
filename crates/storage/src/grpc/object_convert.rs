//! Between messages and what storage has of buckets and objects.

use std::collections::BTreeMap;

use vmint_api::storage::v1 as pb;
use vmint_ids::AccountId;
use vmint_rpc::PageToken;

use super::convert::{number, time};
use crate::{
    ObjectError, Result, StorageError,
    object::{
        Beside, Bucket, BucketName, MAX_PARTS, Object, ObjectKey, ObjectName, ObjectPart, Only,
        Wanted, hex,
    },
    ops::{NewObject, Original},
    store::objects::After,
};

pub(super) fn new_object(account: AccountId, head: pb::PutObjectHead) -> Result<NewObject> {
    let part = match head.upload_id.as_str() {
        "" => None,
        _ => Some((head.upload_id.clone(), part_number(head.part_number)?)),
    };
    Ok(NewObject {
        account,
        bucket: bucket_name(&head.bucket)?,
        key: object_key(&head.key)?,
        beside: beside(head.content_type, head.metadata.into_iter().collect())?,
        part,
        bytes: head.size_bytes.map(|bytes| positive("head.size_bytes", bytes)).transpose()?,
        only: only(head.condition),
    })
}

/// What must be in an object's place.
pub(super) fn only(condition: Option<pb::ObjectCondition>) -> Only {
    match condition.unwrap_or_default() {
        pb::ObjectCondition { absent: true, .. } => Only::IfAbsent,
        pb::ObjectCondition { etag, .. } if etag.is_empty() => Only::Always,
        pb::ObjectCondition { etag, .. } => Only::IfMatch(etag),
    }
}

pub(super) fn object_name(at: &pb::ObjectName) -> Result<ObjectName> {
    Ok(ObjectName { bucket: bucket_name(&at.bucket)?, key: object_key(&at.key)? })
}

/// What to copy where.
pub(super) fn copy(
    account: AccountId,
    request: pb::CopyObjectRequest,
) -> Result<(Original, NewObject)> {
    let end = |field, given: Option<i64>| given.map(|at| positive(field, at)).transpose();
    let original = Original {
        at: object_name(&request.source.unwrap_or_default())?,
        etag: request.source_etag,
        wanted: Wanted {
            first: end("first_byte", request.first_byte)?,
            last: end("last_byte", request.last_byte)?,
            suffix: None,
        },
        beside: !request.replace_metadata,
    };
    let target = request.target.unwrap_or_default();
    let head = pb::PutObjectHead {
        bucket: target.bucket,
        key: target.key,
        content_type: request.content_type,
        metadata: request.metadata,
        upload_id: request.upload_id,
        part_number: request.part_number,
        condition: request.condition,
        ..pb::PutObjectHead::default()
    };
    Ok((original, new_object(account, head)?))
}

pub(super) fn beside(content_type: String, metadata: BTreeMap<String, String>) -> Result<Beside> {
    let beside = Beside { content_type, metadata };
    if beside.fits() {
        Ok(beside)
    } else {
        Err(StorageError::Object(ObjectError::MetadataTooLarge))
    }
}

pub(super) fn bucket_name(text: &str) -> Result<BucketName> {
    text.parse().map_err(|why| {
        let bucket = text.chars().take(64).collect();
        StorageError::Object(ObjectError::BucketName { bucket, why })
    })
}

pub(super) fn object_key(text: &str) -> Result<ObjectKey> {
    text.parse().map_err(|why| StorageError::Object(ObjectError::Key { why }))
}

pub(super) fn positive(field: &'static str, given: i64) -> Result<u64> {
    u64::try_from(given).map_err(|_| StorageError::Invalid {
        field,
        what: "number",
        value: given.to_string(),
        rule: "it must not be negative".to_owned(),
    })
}

pub(super) fn part_number(given: i32) -> Result<u32> {
    let most = u32::try_from(MAX_PARTS).unwrap_or(u32::MAX);
    u32::try_from(given).ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
        StorageError::Invalid {
            field: "part_number",
            what: "number",
            value: given.to_string(),
            rule: format!("use 1 to {MAX_PARTS}; for larger files use larger parts"),
        }
    })
}

pub(super) fn size(asked: i32) -> usize {
    usize::try_from(asked).ok().filter(|size| (1..=1000).contains(size)).unwrap_or(1000)
}

pub(super) fn listed_after(
    token: &str,
    canonical: &pb::ListObjectsRequest,
    account: AccountId,
) -> Result<After> {
    let Some(at) = PageToken::read(token, canonical, &account.to_string())? else {
        let start = canonical.start_after.clone();
        // One that is listed under is behind all that it stands for.
        let delimiter = &canonical.delimiter;
        let under = !delimiter.is_empty() && start.ends_with(delimiter);
        return Ok(match start {
            start if start.is_empty() => After::Nothing,
            start if under => After::AllOf(start),
            start => After::Key(start),
        });
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| StorageError::Damaged);
    match at.split_first() {
        Some((b'k', key)) => Ok(After::Key(text(key)?)),
        Some((b'a', key)) => Ok(After::AllOf(text(key)?)),
        _ => Ok(After::Nothing),
    }
}

pub(super) fn bucket(it: &Bucket) -> pb::Bucket {
    pb::Bucket { name: it.name.to_string(), create_time: Some(time(it.created_ms)) }
}

pub(super) fn object(it: &Object) -> pb::Object {
    pb::Object {
        bucket: it.bucket.to_string(),
        key: it.key.to_string(),
        size_bytes: number(it.bytes()),
        etag: it.etag.clone(),
        modify_time: Some(time(it.modified_ms)),
        content_type: it.beside.content_type.clone(),
        metadata: it.beside.metadata.clone().into_iter().collect(),
        checksum_algorithm: it.checksum_algorithm.clone(),
        checksum: it.checksum.clone(),
    }
}

pub(super) fn part(it: &ObjectPart) -> pb::ObjectPart {
    pb::ObjectPart {
        part_number: i32::try_from(it.number).unwrap_or(i32::MAX),
        etag: hex(&it.md5),
        size_bytes: number(it.segment.bytes),
        modify_time: Some(time(it.modified_ms)),
    }
}
