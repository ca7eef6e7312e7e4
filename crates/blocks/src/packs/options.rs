//! What is said of a bucket.

use std::{fmt, time::Duration};

/// An S3 bucket, or what speaks its protocol.
#[derive(Clone)]
pub struct ObjectOptions {
    pub bucket: String,
    /// Put before each object's name, so that a bucket may hold several stores.
    pub prefix: String,
    /// Where it is served; Amazon's own place if unset. `http` is spoken if it says so.
    pub endpoint: Option<String>,
    pub region: String,
    /// Id and secret; from the environment (`AWS_ACCESS_KEY_ID` and others) if unset.
    pub access_key: Option<(String, String)>,
    /// Parts of packs held on this host, bytes.
    pub cache_bytes: u64,
    /// How long an operation may take, its retries included.
    pub deadline: Duration,
    /// Write to the bucket although another directory did so before, which is gone.
    pub take_over: bool,
}

impl fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectOptions")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
