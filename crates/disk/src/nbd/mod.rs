//! The block server: the NBD protocol (fixed newstyle) on a unix socket.

mod export;
mod negotiate;
mod proto;
mod reply;
mod serve;

pub use export::Export;
