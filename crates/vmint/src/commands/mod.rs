//! What each command does, one noun a file.

mod access_key;
pub(crate) mod account;
pub(crate) mod api;
pub(crate) mod bundle;
pub(crate) mod console;
mod export;
pub(crate) mod image;
pub(crate) mod import;
pub(crate) mod instance;
pub(crate) mod key;
pub(crate) mod market;
pub(crate) mod snapshot;
pub(crate) mod ssh;
pub(crate) mod storage;
mod upload;
pub(crate) mod volume;
