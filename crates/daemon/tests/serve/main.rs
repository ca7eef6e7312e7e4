//! A service process over real sockets, with real certificates.
#![allow(clippy::unwrap_used)] // a helper may fail its test

mod ending;
mod faces;
mod stack;
mod trust;
