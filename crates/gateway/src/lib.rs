//! The gateway: the one public door, and the sagas behind it.
//!
//! It keeps the log of sagas, the ledger of request ids, and the security groups
//! that only tools look at; nothing else.
//!
//! Invariants:
//! * Only public methods are reachable, only with a session (reflection and
//!   health apart), and nobody can lend an identity to a call.
//! * A mutation that was answered is in the ledger; asked again, it has the same
//!   effect and answer.
//! * Every saga that was begun ends: done, or undone with nothing left behind.
//!
//! Rooms: [`door`](self) takes calls in, authenticates them, and passes them on
//! as bytes, to `grpc` or, where they speak EC2's protocols, to `ec2`; `ops` has the verbs that need several services, each
//! with its saga; `saga` brings those to their end; `reconcile` and `health`
//! look after the rest.

#![allow(clippy::single_match_else, reason = "replayed or new: a match shows both ways")]

mod config;
mod door;
mod ec2;
mod error;
mod grpc;
mod health;
mod ops;
mod peers;
mod reconcile;
mod run;
mod saga;

#[cfg(test)]
mod testing;

pub use config::{Config, Limits};
pub use run::{Bound, StartError, bind, run};

pub(crate) use error::{DiskError, GatewayError};
