//! The metadata service a machine finds at 169.254.169.254.
//!
//! Every connection to a machine's socket is one its guest made, so nobody else can
//! ask. Version 2 only: a session token first, then everything with it.

mod server;
mod token;
mod tree;

pub(crate) use server::Server;
pub(crate) use tree::Facts;
