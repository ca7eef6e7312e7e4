//! What a request asks for.

use super::{S3Error, S3Kind};
use crate::query::decode_component;

/// One request, read from its method, path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    ListBuckets,
    CreateBucket {
        bucket: String,
    },
    HeadBucket {
        bucket: String,
    },
    DeleteBucket {
        bucket: String,
    },
    GetBucketLocation {
        bucket: String,
    },
    /// `ListObjectsV2`, or its first version.
    ListObjects {
        bucket: String,
        listing: Listing,
    },
    /// The body is a list of keys.
    DeleteObjects {
        bucket: String,
    },
    PutObject {
        bucket: String,
        key: String,
    },
    GetObject {
        bucket: String,
        key: String,
    },
    HeadObject {
        bucket: String,
        key: String,
    },
    DeleteObject {
        bucket: String,
        key: String,
    },
    StartMultipart {
        bucket: String,
        key: String,
    },
    UploadPart {
        bucket: String,
        key: String,
        upload: String,
        part: i32,
    },
    /// The body is a list of parts.
    CompleteMultipart {
        bucket: String,
        key: String,
        upload: String,
    },
    AbortMultipart {
        bucket: String,
        key: String,
        upload: String,
    },
    ListParts {
        bucket: String,
        key: String,
        upload: String,
        most: i32,
        after: String,
    },
}

/// Which objects of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub prefix: String,
    pub delimiter: String,
    pub start_after: String,
    pub token: String,
    /// 0 to 1000.
    pub most: i32,
    /// Keys are to be percent-encoded in the answer.
    pub encoded: bool,
    /// The first version's answer is wanted.
    pub first_version: bool,
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From one byte to another; to the end if there is none.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Range {
    /// Reads a header's value; what is no single range of bytes is as if it
    /// were not sent.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        match (first, last) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }
}

/// Sub-resources that S3 has and that are not here.
const OTHERS: [&str; 23] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "retention",
    "tagging",
    "versions",
    "website",
];

impl Route {
    /// Reads a request; `path` and `query` are as on the wire.
    pub fn parse(method: &str, path: &str, query: &str) -> Result<Self, S3Error> {
        let query = Query::read(query)?;
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let read = |text: &str| {
            decode_component(text).ok_or_else(|| S3Error::argument("The path is malformed."))
        };
        let (bucket, key) = (read(bucket)?, read(key)?);
        if let Some(other) = OTHERS.iter().find(|other| query.has(other)) {
            return Err(S3Error::not_implemented(other));
        }
        match (bucket.is_empty(), key.is_empty()) {
            (true, _) if method == "GET" && key.is_empty() => Ok(Self::ListBuckets),
            (true, _) => Err(not_allowed()),
            (false, true) => Self::of_bucket(method, bucket, &query),
            (false, false) => Self::of_object(method, bucket, key, &query),
        }
    }

    fn of_bucket(method: &str, bucket: String, query: &Query) -> Result<Self, S3Error> {
        Ok(match method {
            "PUT" => Self::CreateBucket { bucket },
            "HEAD" => Self::HeadBucket { bucket },
            "DELETE" => Self::DeleteBucket { bucket },
            "POST" if query.has("delete") => Self::DeleteObjects { bucket },
            "GET" if query.has("location") => Self::GetBucketLocation { bucket },
            "GET" if query.has("uploads") || query.has("versioning") => {
                return Err(S3Error::not_implemented("That listing"));
            }
            "GET" => {
                let first_version = query.get("list-type") != "2";
                let start = if first_version { "marker" } else { "start-after" };
                let listing = Listing {
                    prefix: query.get("prefix").to_owned(),
                    delimiter: query.get("delimiter").to_owned(),
                    start_after: query.get(start).to_owned(),
                    token: query.get("continuation-token").to_owned(),
                    most: query.most("max-keys")?,
                    encoded: query.get("encoding-type") == "url",
                    first_version,
                };
                Self::ListObjects { bucket, listing }
            }
            _ => return Err(not_allowed()),
        })
    }

    fn of_object(
        method: &str,
        bucket: String,
        key: String,
        query: &Query,
    ) -> Result<Self, S3Error> {
        let upload = query.get("uploadId").to_owned();
        let multipart = query.has("uploadId");
        Ok(match method {
            "PUT" if multipart || query.has("partNumber") => {
                let part = query.get("partNumber").parse::<i32>().ok().filter(|n| *n > 0);
                let part = part.filter(|_| !upload.is_empty()).ok_or_else(|| {
                    S3Error::argument("A part needs its partNumber, from 1, and its uploadId.")
                })?;
                Self::UploadPart { bucket, key, upload, part }
            }
            "PUT" => Self::PutObject { bucket, key },
            "GET" if multipart => {
                let after = query.get("part-number-marker").to_owned();
                let most = query.most("max-parts")?;
                Self::ListParts { bucket, key, upload, most, after }
            }
            "GET" | "HEAD" if query.has("partNumber") => {
                return Err(S3Error::not_implemented("Reading by partNumber"));
            }
            "GET" => Self::GetObject { bucket, key },
            "HEAD" => Self::HeadObject { bucket, key },
            "DELETE" if multipart => Self::AbortMultipart { bucket, key, upload },
            "DELETE" => Self::DeleteObject { bucket, key },
            "POST" if query.has("uploads") => Self::StartMultipart { bucket, key },
            "POST" if multipart => Self::CompleteMultipart { bucket, key, upload },
            _ => return Err(not_allowed()),
        })
    }

    /// S3's name of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket { .. } => "CreateBucket",
            Self::HeadBucket { .. } => "HeadBucket",
            Self::DeleteBucket { .. } => "DeleteBucket",
            Self::GetBucketLocation { .. } => "GetBucketLocation",
            Self::ListObjects { .. } => "ListObjectsV2",
            Self::DeleteObjects { .. } => "DeleteObjects",
            Self::PutObject { .. } => "PutObject",
            Self::GetObject { .. } => "GetObject",
            Self::HeadObject { .. } => "HeadObject",
            Self::DeleteObject { .. } => "DeleteObject",
            Self::StartMultipart { .. } => "CreateMultipartUpload",
            Self::UploadPart { .. } => "UploadPart",
            Self::CompleteMultipart { .. } => "CompleteMultipartUpload",
            Self::AbortMultipart { .. } => "AbortMultipartUpload",
            Self::ListParts { .. } => "ListParts",
        }
    }

    /// It changes nothing.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::ListBuckets
                | Self::HeadBucket { .. }
                | Self::GetBucketLocation { .. }
                | Self::ListObjects { .. }
                | Self::GetObject { .. }
                | Self::HeadObject { .. }
                | Self::ListParts { .. }
        )
    }
}

fn not_allowed() -> S3Error {
    let text = "The specified method is not allowed against this resource.";
    S3Error::new(S3Kind::MethodNotAllowed, text)
}

/// A query string's pairs; what belongs to a signature is left out.
struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Result<Self, S3Error> {
        let malformed = || S3Error::argument("The query string is malformed.");
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(64);
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let blank = value.replace('+', " ");
            let name = decode_component(name).ok_or_else(malformed)?;
            Ok((name, decode_component(&blank).ok_or_else(malformed)?))
        });
        Ok(Self(pairs.collect::<Result<_, S3Error>>()?))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn most(&self, name: &str) -> Result<i32, S3Error> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(1000);
        }
        let most = text.parse::<i32>().ok().filter(|most| *most >= 0);
        let most = most.ok_or_else(|| S3Error::argument(format!("{name} must be 0 or more.")))?;
        Ok(most.min(1000))
    }
}
