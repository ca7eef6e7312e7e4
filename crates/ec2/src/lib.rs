//! The wire of EC2's protocols; knows no service.
//!
//! - [`query`] reads Query requests into [`Params`], [`xml`] and [`reply`]
//!   write their answers, [`Error`] with its [`Code`] is their refusal.
//! - [`Operation`] says which parameters an operation takes. The check before
//!   the handler and the compatibility page both come from it.
//! - [`sigv4`] verifies signatures, in headers and in query strings.
//! - [`ebs`] and [`json`] are the REST-JSON and JSON-1.1 services, [`ssm`] what
//!   parameters are asked for. [`s3`] is what of S3 there is.
//!
//! Everything here is bounded: bodies, parameters, depth, list indexes, values.

mod code;
pub mod ebs;
mod error;
pub mod json;
mod operation;
pub mod query;
pub mod reply;
pub mod s3;
pub mod sigv4;
pub mod ssm;
pub mod stamp;
pub mod xml;

pub use code::Code;
pub use error::Error;
pub use operation::Operation;
pub use query::Params;
pub use reply::Reply;
pub use xml::Xml;
