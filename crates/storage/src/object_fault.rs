//! What can be wrong with buckets and objects.

use vmint_api::storage::v1::StorageErrorReason as Reason;
use vmint_rpc::{Fault, Kind};

use crate::error::name;

/// Why something was not done with a bucket or an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("there is no bucket `{bucket}`")]
    NoSuchBucket { bucket: String },
    #[error("the bucket `{bucket}` is another account's")]
    BucketDenied { bucket: String },
    #[error("there is a bucket `{bucket}`: names are the deployment's own, choose another")]
    BucketExists { bucket: String, own: bool },
    #[error("the bucket `{bucket}` is not empty: delete its objects and uploads first")]
    BucketNotEmpty { bucket: String },
    #[error("`{bucket}` is no bucket's name: {why}")]
    BucketName { bucket: String, why: &'static str },
    #[error("the key serves no object: {why}")]
    Key { why: &'static str },
    #[error("there is no object `{key}`")]
    NoSuchObject { key: String },
    #[error("there is an object `{key}` already: delete it first, or choose another name")]
    AlreadyThere { key: String },
    #[error("the object `{key}` has another etag: it was written meanwhile")]
    OtherThere { key: String },
    #[error("the object has {size} bytes and nothing of that range")]
    NoSuchRange { size: u64 },
    #[error("there is no upload `{id}` of that object")]
    NoSuchMultipart { id: String },
    #[error("part {number} did not come, or with another etag")]
    NoSuchPart { number: u32 },
    #[error("parts must be named in the order of their numbers")]
    PartOrder,
    #[error("part {number} is smaller than 5 MiB; only the last may be")]
    PartTooSmall { number: u32 },
    #[error("an object in one piece may have {limit} bytes: send it in parts")]
    TooLarge { limit: u64 },
    #[error("an object's metadata may have 2048 bytes, its content type 256")]
    MetadataTooLarge,
}

impl ObjectError {
    pub(crate) fn fault(&self) -> Fault {
        let fault = |kind, reason| Fault::new(kind, name(reason));
        match self {
            Self::NoSuchBucket { bucket } => {
                fault(Kind::NotFound, Reason::BucketNotFound).with("bucket", bucket)
            }
            Self::BucketDenied { bucket } => {
                fault(Kind::Forbidden, Reason::BucketDenied).with("bucket", bucket)
            }
            Self::BucketExists { bucket, own: false } => {
                fault(Kind::AlreadyExists, Reason::BucketExists).with("bucket", bucket)
            }
            Self::BucketExists { bucket, own: true } => {
                fault(Kind::AlreadyExists, Reason::BucketOwned).with("bucket", bucket)
            }
            Self::BucketNotEmpty { bucket } => {
                fault(Kind::Precondition, Reason::BucketNotEmpty).with("bucket", bucket)
            }
            Self::BucketName { why, .. } => {
                fault(Kind::BadRequest, Reason::BucketNameInvalid).field("bucket", *why)
            }
            Self::Key { why } => {
                fault(Kind::BadRequest, Reason::ObjectKeyInvalid).field("key", *why)
            }
            Self::NoSuchObject { key } => {
                fault(Kind::NotFound, Reason::ObjectNotFound).with("key", key)
            }
            Self::AlreadyThere { key } | Self::OtherThere { key } => {
                fault(Kind::Precondition, Reason::ObjectConditionFailed).with("key", key)
            }
            Self::NoSuchRange { size } => {
                fault(Kind::BadRequest, Reason::ObjectRangeInvalid).with("size_bytes", size)
            }
            Self::NoSuchMultipart { id } => {
                fault(Kind::NotFound, Reason::MultipartNotFound).with("upload_id", id)
            }
            Self::NoSuchPart { number } => {
                fault(Kind::Precondition, Reason::PartInvalid).with("part_number", number)
            }
            Self::PartOrder => fault(Kind::BadRequest, Reason::PartOrderInvalid),
            Self::PartTooSmall { number } => {
                fault(Kind::Precondition, Reason::PartTooSmall).with("part_number", number)
            }
            Self::TooLarge { limit } => {
                fault(Kind::BadRequest, Reason::ObjectTooLarge).with("limit_bytes", limit)
            }
            Self::MetadataTooLarge => fault(Kind::BadRequest, Reason::ObjectMetadataTooLarge),
        }
    }
}
