//! A part of S3: buckets and objects, by path.

mod body;
mod checksum;
mod chunked;
mod error;
mod route;
mod source;
#[cfg(test)]
mod tests;

pub use body::{
    Completion, Deletion, Entry, ListPage, PartEntry, PartPage, completed, copied, deleted,
    initiated, last_modified, listed_buckets, listed_objects, listed_parts, location,
    read_completion, read_deletion,
};
pub use checksum::{Algorithm, Declared, Sums};
pub use chunked::{Chunked, Signing};
pub use error::{S3Error, S3Kind};
pub use route::{Listing, Range, Route};
pub use source::CopySource;

/// The longest body of a request that is not an object: a list of parts or keys.
pub const MAX_XML_BYTES: usize = 2 << 20;
