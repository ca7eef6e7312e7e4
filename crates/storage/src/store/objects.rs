//! Buckets, objects and parts as records.

use std::collections::BTreeMap;

use vmint_ids::AccountId;
use vmint_store::{Read, Table, Tx, TxError, prefix};

use super::record::parse;
use crate::{
    ObjectError, Result, StorageError as E,
    object::{
        Beside, Bucket, BucketName, FileId, Multipart, Object, ObjectKey, ObjectName, ObjectPart,
        Segment,
    },
};

type Work<T> = Result<T, TxError<E>>;

static BUCKETS: Table<String, BucketRecord> = Table::new("buckets.v1")
    .with_index("account", |_, it: &BucketRecord| vec![it.account.clone().into_bytes()]);
static OBJECTS: Table<(String, String), ObjectRecord> = Table::new("objects.v1");
static MULTIPARTS: Table<String, MultipartRecord> = Table::new("multiparts.v1")
    .with_index("account", |_, it: &MultipartRecord| vec![it.account.clone().into_bytes()])
    .with_index("bucket", |_, it: &MultipartRecord| vec![it.bucket.clone().into_bytes()]);
static PARTS: Table<(String, u32), PartRecord> = Table::new("parts.v1");
static HELD: Table<Vec<u8>, HeldRecord> = Table::new("object_bytes.v1");

/// The bucket, if it is `account`'s.
pub(crate) fn bucket(read: &impl Read, name: &BucketName, account: AccountId) -> Result<Bucket> {
    let found = any_bucket(read, name)?;
    match found {
        Some(bucket) if bucket.account == account => Ok(bucket),
        Some(_) => Err(E::Object(ObjectError::BucketDenied { bucket: name.to_string() })),
        None => Err(E::Object(ObjectError::NoSuchBucket { bucket: name.to_string() })),
    }
}

/// The bucket, whoever's it is.
pub(crate) fn any_bucket(read: &impl Read, name: &BucketName) -> Result<Option<Bucket>> {
    BUCKETS.get(read, &name.to_string())?.map(|record| record.read(name.clone())).transpose()
}

/// Up to `limit` of an account's buckets after the one of this name.
pub(crate) fn buckets(
    read: &impl Read,
    account: AccountId,
    after: Option<&String>,
    limit: usize,
) -> Result<Vec<Bucket>> {
    let after = after.map(vmint_store::Key::encode);
    let account = account.to_string();
    let rows = BUCKETS.equal(read, "account", account.as_bytes(), after.as_deref(), limit)?;
    rows.into_iter().map(|(name, record)| record.read(parse(&name)?)).collect()
}

pub(crate) fn put_bucket(tx: &mut Tx<'_>, bucket: &Bucket) -> Work<()> {
    let record =
        BucketRecord { account: bucket.account.to_string(), created_ms: bucket.created_ms };
    Ok(BUCKETS.put(tx, &bucket.name.to_string(), &record)?)
}

pub(crate) fn remove_bucket(tx: &mut Tx<'_>, name: &BucketName) -> Work<()> {
    Ok(BUCKETS.remove(tx, &name.to_string())?)
}

/// Whether nothing is in a bucket or about to be.
pub(crate) fn is_empty(read: &impl Read, name: &BucketName) -> Result<bool> {
    let objects = OBJECTS.scan(read, &prefix(&[&name.to_string()]), None, 1)?;
    let begun = MULTIPARTS.equal(read, "bucket", name.to_string().as_bytes(), None, 1)?;
    Ok(objects.is_empty() && begun.is_empty())
}

pub(crate) fn object(
    read: &impl Read,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Option<Object>> {
    let at = (bucket.to_string(), key.to_string());
    OBJECTS.get(read, &at)?.map(|record| record.read(bucket.clone(), key.clone())).transpose()
}

/// The object, which must be there and in a bucket of `account`'s.
pub(crate) fn named(read: &impl Read, at: &ObjectName, account: AccountId) -> Result<Object> {
    bucket(read, &at.bucket, account)?;
    let found = object(read, &at.bucket, &at.key)?;
    found.ok_or_else(|| E::Object(ObjectError::NoSuchObject { key: at.key.to_string() }))
}

pub(crate) fn put_object(tx: &mut Tx<'_>, object: &Object) -> Work<()> {
    let at = (object.bucket.to_string(), object.key.to_string());
    Ok(OBJECTS.put(tx, &at, &ObjectRecord::of(object))?)
}

pub(crate) fn remove_object(tx: &mut Tx<'_>, bucket: &BucketName, key: &ObjectKey) -> Work<()> {
    Ok(OBJECTS.remove(tx, &(bucket.to_string(), key.to_string()))?)
}

/// Where a listing goes on: behind a key, or behind all that begin with it.
#[derive(Debug, Clone)]
pub(crate) enum After {
    Nothing,
    Key(String),
    AllOf(String),
}

/// Up to `limit` objects whose keys begin with `start`, in their order.
pub(crate) fn objects(
    read: &impl Read,
    bucket: &BucketName,
    start: &str,
    after: &After,
    limit: usize,
) -> Result<Vec<Object>> {
    let mut begin = prefix(&[&bucket.to_string()]);
    let after = match after {
        After::Nothing => None,
        After::Key(key) => Some(prefix(&[&bucket.to_string(), key])),
        // No text has such a byte, so it stands behind all that begin so.
        After::AllOf(key) => Some([begin.as_slice(), key.as_bytes(), &[0xff]].concat()),
    };
    begin.extend_from_slice(start.as_bytes());
    let rows = OBJECTS.scan(read, &begin, after.as_deref(), limit)?;
    let read = |((_, key), record): ((String, String), ObjectRecord)| {
        record.read(bucket.clone(), parse(&key)?)
    };
    rows.into_iter().map(read).collect()
}

/// The multipart upload `id` of this object, if it is `account`'s.
pub(crate) fn multipart(
    read: &impl Read,
    id: &str,
    bucket: &BucketName,
    key: &ObjectKey,
    account: AccountId,
) -> Result<Multipart> {
    let id = id.chars().take(64).collect::<String>();
    let found = MULTIPARTS.get(read, &id)?.map(|record| record.read(id.clone())).transpose()?;
    let ours = |it: &Multipart| it.bucket == *bucket && it.key == *key && it.account == account;
    found.filter(ours).ok_or(E::Object(ObjectError::NoSuchMultipart { id }))
}

/// Up to `limit` of an account's multipart uploads.
pub(crate) fn multiparts(
    read: &impl Read,
    account: AccountId,
    limit: usize,
) -> Result<Vec<Multipart>> {
    let rows = MULTIPARTS.equal(read, "account", account.to_string().as_bytes(), None, limit)?;
    rows.into_iter().map(|(id, record)| record.read(id)).collect()
}

/// Every multipart upload that was begun before `before`.
pub(crate) fn old_multiparts(read: &impl Read, before: u64) -> Result<Vec<Multipart>> {
    let mut old = Vec::new();
    MULTIPARTS.walk(read, |id, record| {
        if record.created_ms < before {
            old.push(record.read(id)?);
        }
        Ok::<_, E>(())
    })?;
    Ok(old)
}

pub(crate) fn put_multipart(tx: &mut Tx<'_>, it: &Multipart) -> Work<()> {
    Ok(MULTIPARTS.put(tx, &it.id, &MultipartRecord::of(it))?)
}

pub(crate) fn remove_multipart(tx: &mut Tx<'_>, id: &str) -> Work<()> {
    Ok(MULTIPARTS.remove(tx, &id.to_owned())?)
}

/// Up to `limit` parts of a multipart upload behind number `after`.
pub(crate) fn parts(
    read: &impl Read,
    id: &str,
    after: u32,
    limit: usize,
) -> Result<Vec<ObjectPart>> {
    let (id, after) = (id.to_owned(), prefix(&[&id.to_owned(), &after]));
    let rows = PARTS.scan(read, &prefix(&[&id]), Some(&after), limit)?;
    rows.into_iter().map(|((_, number), record)| record.read(number)).collect()
}

pub(crate) fn part(read: &impl Read, id: &str, number: u32) -> Result<Option<ObjectPart>> {
    PARTS.get(read, &(id.to_owned(), number))?.map(|record| record.read(number)).transpose()
}

pub(crate) fn put_part(tx: &mut Tx<'_>, id: &str, part: &ObjectPart) -> Work<()> {
    let record = PartRecord {
        segment: Some(SegmentRecord::of(&part.segment)),
        md5: part.md5.to_vec(),
        modified_ms: part.modified_ms,
    };
    Ok(PARTS.put(tx, &(id.to_owned(), part.number), &record)?)
}

pub(crate) fn remove_part(tx: &mut Tx<'_>, id: &str, number: u32) -> Work<()> {
    Ok(PARTS.remove(tx, &(id.to_owned(), number))?)
}

/// Ids of uploads that parts are of although they are no more.
pub(crate) fn orphans(read: &impl Read) -> Result<Vec<String>> {
    let mut orphans = Vec::new();
    PARTS.walk(read, |(id, _), _| {
        if orphans.last() != Some(&id) && MULTIPARTS.get(read, &id)?.is_none() {
            orphans.push(id);
        }
        Ok::<_, E>(())
    })?;
    Ok(orphans)
}

/// Every file that something is in.
pub(crate) fn files(read: &impl Read, mut visit: impl FnMut(FileId)) -> Result<()> {
    OBJECTS.walk(read, |_, record| {
        for segment in &record.segments {
            visit(segment.read()?.file);
        }
        Ok::<_, E>(())
    })?;
    PARTS.walk(read, |_, record| {
        visit(record.segment.ok_or(E::Damaged)?.read()?.file);
        Ok::<_, E>(())
    })
}

/// How much an account's files hold.
pub(crate) fn held(read: &impl Read, account: AccountId) -> Result<u64> {
    Ok(HELD.get(read, &account.to_string().into_bytes())?.unwrap_or_default().bytes)
}

/// Keeps how much an account's files hold; refuses what is beyond `limit`.
pub(crate) fn hold(tx: &mut Tx<'_>, account: AccountId, change: i64, limit: u64) -> Work<()> {
    let key = account.to_string().into_bytes();
    let before = HELD.get(tx, &key)?.unwrap_or_default().bytes;
    let bytes = before.saturating_add_signed(change);
    if change > 0 && bytes > limit {
        let over = crate::OverQuota { what: "bytes of objects", wanted: bytes, limit };
        return Err(TxError::Refused(over.into()));
    }
    Ok(HELD.put(tx, &key, &HeldRecord { bytes })?)
}

#[derive(Clone, PartialEq, prost::Message)]
struct BucketRecord {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(uint64, tag = "2")]
    created_ms: u64,
}

impl BucketRecord {
    fn read(self, name: BucketName) -> Result<Bucket> {
        Ok(Bucket { name, account: parse(&self.account)?, created_ms: self.created_ms })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct SegmentRecord {
    #[prost(bytes = "vec", tag = "1")]
    file: Vec<u8>,
    #[prost(uint64, tag = "2")]
    bytes: u64,
}

impl SegmentRecord {
    fn of(segment: &Segment) -> Self {
        Self { file: segment.file.to_vec(), bytes: segment.bytes }
    }

    fn read(&self) -> Result<Segment> {
        let file = self.file.as_slice().try_into().map_err(|_| E::Damaged)?;
        Ok(Segment { file, bytes: self.bytes })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ObjectRecord {
    #[prost(message, repeated, tag = "1")]
    segments: Vec<SegmentRecord>,
    #[prost(string, tag = "2")]
    etag: String,
    #[prost(uint64, tag = "3")]
    modified_ms: u64,
    #[prost(string, tag = "4")]
    content_type: String,
    #[prost(btree_map = "string, string", tag = "5")]
    metadata: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    checksum_algorithm: String,
    #[prost(string, tag = "7")]
    checksum: String,
}

impl ObjectRecord {
    fn of(it: &Object) -> Self {
        Self {
            segments: it.segments.iter().map(SegmentRecord::of).collect(),
            etag: it.etag.clone(),
            modified_ms: it.modified_ms,
            content_type: it.beside.content_type.clone(),
            metadata: it.beside.metadata.clone(),
            checksum_algorithm: it.checksum_algorithm.clone(),
            checksum: it.checksum.clone(),
        }
    }

    fn read(self, bucket: BucketName, key: ObjectKey) -> Result<Object> {
        Ok(Object {
            bucket,
            key,
            segments: self.segments.iter().map(SegmentRecord::read).collect::<Result<_>>()?,
            etag: self.etag,
            modified_ms: self.modified_ms,
            beside: Beside { content_type: self.content_type, metadata: self.metadata },
            checksum_algorithm: self.checksum_algorithm,
            checksum: self.checksum,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct MultipartRecord {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, tag = "3")]
    account: String,
    #[prost(uint64, tag = "4")]
    created_ms: u64,
    #[prost(string, tag = "5")]
    content_type: String,
    #[prost(btree_map = "string, string", tag = "6")]
    metadata: BTreeMap<String, String>,
}

impl MultipartRecord {
    fn of(it: &Multipart) -> Self {
        Self {
            bucket: it.bucket.to_string(),
            key: it.key.to_string(),
            account: it.account.to_string(),
            created_ms: it.created_ms,
            content_type: it.beside.content_type.clone(),
            metadata: it.beside.metadata.clone(),
        }
    }

    fn read(self, id: String) -> Result<Multipart> {
        Ok(Multipart {
            id,
            bucket: parse(&self.bucket)?,
            key: parse(&self.key)?,
            account: parse(&self.account)?,
            created_ms: self.created_ms,
            beside: Beside { content_type: self.content_type, metadata: self.metadata },
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartRecord {
    #[prost(message, optional, tag = "1")]
    segment: Option<SegmentRecord>,
    #[prost(bytes = "vec", tag = "2")]
    md5: Vec<u8>,
    #[prost(uint64, tag = "3")]
    modified_ms: u64,
}

impl PartRecord {
    fn read(self, number: u32) -> Result<ObjectPart> {
        Ok(ObjectPart {
            number,
            segment: self.segment.ok_or(E::Damaged)?.read()?,
            md5: self.md5.as_slice().try_into().map_err(|_| E::Damaged)?,
            modified_ms: self.modified_ms,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeldRecord {
    #[prost(uint64, tag = "1")]
    bytes: u64,
}
