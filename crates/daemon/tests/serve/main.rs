//! A service process over real sockets, with real certificates.

mod ending;
mod faces;
mod stack;
mod trust;
