//! What an object is copied from.

use super::S3Error;
use crate::query::decode_component;

/// An object, as the header `x-amz-copy-source` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: String,
    pub key: String,
}

impl CopySource {
    /// Reads `/bucket/key` or `bucket/key`, percent-encoded.
    pub fn parse(header: &str) -> Result<Self, S3Error> {
        let (path, query) = header.split_once('?').unwrap_or((header, ""));
        if query.split('&').any(|pair| pair.starts_with("versionId=")) {
            return Err(S3Error::not_implemented("Copying versions"));
        }
        let wrong = || S3Error::argument("x-amz-copy-source must be a bucket, a slash and a key.");
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').ok_or_else(wrong)?;
        let bucket = decode_component(bucket).filter(|text| !text.is_empty()).ok_or_else(wrong)?;
        let key = decode_component(key).filter(|text| !text.is_empty()).ok_or_else(wrong)?;
        Ok(Self { bucket, key })
    }
}
