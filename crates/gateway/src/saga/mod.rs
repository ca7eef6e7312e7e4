//! Sagas: several services brought to one end, whatever crashes meanwhile.
//!
//! A saga is a line of steps. What it is asked is logged before its first
//! step, with every id it will need; so a step is repeated rather than
//! remembered. Up to the pivot a failure is undone backwards; after it there
//! is only forwards. What was begun is brought to its end at the next start.

mod any;
mod drive;
mod executor;
mod failure;
mod id;
mod interfere;
mod kind;
mod log;

pub(crate) use executor::{Executor, Kinds, Listed, Tuning};
pub(crate) use failure::Failure;
pub(crate) use id::SagaId;
#[cfg(any(test, feature = "failpoints"))]
pub(crate) use interfere::Moment;
pub(crate) use interfere::{Calm, Interfere};
pub(crate) use kind::{At, Kind, StepError};
pub(crate) use log::{BeginError, SagaRow, State};

#[cfg(test)]
mod tests;
