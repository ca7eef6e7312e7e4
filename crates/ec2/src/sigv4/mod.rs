//! Verifies Signature Version 4, in the header and in the query string.
//!
//! In two steps, so that the secret stays with whoever owns it: [`parse`] says
//! which key signed and for what, then [`Signed::verify`] holds the request
//! against the [`SigningKey`] derived from that key's secret.

mod canonical;
mod credential;
mod error;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use canonical::{canonical_headers, canonical_path, canonical_query};
pub use credential::{Scope, Signed, parse};
pub use error::SigError;
pub use sign::Signer;
pub use verify::{Body, SigningKey, body_hash};

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As on the wire, still encoded.
    pub path: &'a str,
    /// As on the wire, without the `?`.
    pub query: &'a str,
    /// Lower-case names in the order they came. `host` must be among them, from
    /// the authority where HTTP/2 has no such header.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Request<'a> {
    /// The header's value, if it came exactly once and is plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut found = self.headers.iter().filter(|(known, _)| *known == name);
        let (_, value) = found.next()?;
        match found.next() {
            None => std::str::from_utf8(value).ok().map(str::trim),
            Some(_) => None,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| *known == name)
    }
}

/// What is known of the body's hash before the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Nothing was declared: what is signed is the body's own SHA-256.
    Body,
    /// The SHA-256 that the body must have.
    Sha256([u8; 32]),
    /// The body is not signed; only where something else that is signed vouches
    /// for it, or the service is S3.
    Unsigned,
    /// S3's chunked uploads, whose chunks carry signatures or a checksum.
    Streaming,
}
