//! The service again with its packs in a bucket of a real S3 server: import, volume, snapshot, copy
//! and collection.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]
// The suites are modules here, each with the harness it has as a test of its own.
#![allow(clippy::duplicate_mod)]

#[path = "imports.rs"]
mod imports;
#[path = "space.rs"]
mod space;
