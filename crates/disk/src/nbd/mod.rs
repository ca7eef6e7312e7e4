//! The block server: the NBD protocol (fixed newstyle) on a unix socket.

mod export;
mod negotiate;
mod proto;
mod serve;

pub use export::Export;
